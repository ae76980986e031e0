//! Structured logs: one JSON object per line, which CloudWatch Logs Insights reads field by field.

use tracing::level_filters::LevelFilter;

/// The environment variable that names the log level.
pub const LOG_LEVEL: &str = "LOG_LEVEL";

/// Starts logging to standard output at the level that `LOG_LEVEL` names. An unknown level logs at `info`:
/// the configuration, which is read next, refuses it by name together with every other bad variable.
pub fn init() {
    let level = std::env::var(LOG_LEVEL).ok().and_then(|text| text.parse().ok()).unwrap_or(LevelFilter::INFO);
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_max_level(level)
        .init();
}
