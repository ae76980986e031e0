//! Structured logs: one JSON object per line, which CloudWatch Logs Insights reads field by field.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// The environment variable that names the log level.
pub const LOG_LEVEL: &str = "LOG_LEVEL";

/// Libraries that at `trace` log events and requests as they are, with tokens and messages in them. They log at `debug`
/// at most.
const QUIET: [&str; 9] = [
    "aws_config",
    "aws_runtime",
    "aws_sigv4",
    "aws_smithy_runtime",
    "aws_smithy_runtime_api",
    "h2",
    "hyper",
    "hyper_util",
    "lambda_runtime",
];

/// Starts logging to standard output at the level that `LOG_LEVEL` names. An unknown level logs at `info`:
/// the configuration, which is read next, refuses it by name together with every other bad variable.
pub fn init() {
    let level = std::env::var(LOG_LEVEL).ok().and_then(|text| text.parse().ok()).unwrap_or(LevelFilter::INFO);
    let others = QUIET.iter().map(|target| (*target, level.min(LevelFilter::DEBUG)));
    let targets = Targets::new().with_default(level).with_targets(others);
    let format =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
    tracing_subscriber::registry().with(format).with(targets).init();
}
