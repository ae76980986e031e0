//! `roomcast smoke`: tries a deployed stack from end to end, with a step for each thing that can break.
//!
//! Everything happens in rooms with random names. All that is left of them is removed at the end, whatever the result.

mod ground;
mod optional;
mod steps;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use self::{ground::Ground, steps::STEPS};
use crate::{failure::Failure, output::Output, stack::Stack};

/// The time for all steps together.
const ALL_WITHIN: Duration = Duration::from_secs(50);

/// Options of `roomcast smoke`.
#[derive(Args, Debug)]
pub struct Options {
    /// Seconds that one answer may take. The first call of a function starts it.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=45))]
    pub within: u64,
    /// End at the first step that fails.
    #[arg(long)]
    pub fail_fast: bool,
}

/// The result of a step.
#[derive(Debug, Serialize)]
struct Report<'a> {
    step: &'a str,
    outcome: Outcome,
    milliseconds: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    look: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Passed,
    Failed,
}

/// Tries the stack. The exit code is 1 when a step failed.
///
/// # Errors
/// When it could not begin, was interrupted, or could not remove what it made.
pub async fn run(options: Options, stack: &Stack, output: &Output) -> Result<ExitCode, Failure> {
    let mut ground = Ground::new(stack, Duration::from_secs(options.within))?;
    output.line(&format!("room {}", ground.room));
    let mut terminated = signal(SignalKind::terminate()).map_err(Failure::call("signals were to be listened to"))?;
    let tried = tokio::select! {
        passed = try_all(&mut ground, options.fail_fast, *output) => Ok(passed),
        _ = tokio::signal::ctrl_c() => Err(Failure::Met("interrupted".to_owned())),
        _ = terminated.recv() => Err(Failure::Met("terminated".to_owned())),
    };
    let started = Instant::now();
    ground.hang_up().await;
    let removed = ground.traces().remove(stack).await;
    let why = removed.as_ref().err().map(ToString::to_string);
    let hint = format!("rows of rooms that begin with {} expire by themselves", ground.room);
    say(*output, "clean up", started, why, hint);
    let has_passed = tried?;
    removed?;
    Ok(if has_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes every step in turn; returns whether all passed. The steps after a failed one are taken too, since their
/// results help to find the fault.
async fn try_all(ground: &mut Ground<'_>, is_fail_fast: bool, output: Output) -> bool {
    let begun = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    let steps: Vec<_> = STEPS.into_iter().filter(|step| step.is_for(ground)).collect();
    for step in &steps {
        let started = Instant::now();
        let left = ALL_WITHIN.saturating_sub(begun.elapsed());
        let outcome = match tokio::time::timeout(left, step.take(ground)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Met(format!("no time was left of {ALL_WITHIN:?}"))),
        };
        passed += usize::from(outcome.is_ok());
        failed += usize::from(outcome.is_err());
        let why = outcome.err().map(|failure| failure.to_string());
        say(output, step.name(), started, why, format!("roomcast {} {}", ground.stack.named_by, step.look()));
        if failed > 0 && is_fail_fast {
            break;
        }
    }
    output.line(&format!("{passed} of {} steps passed in {:.1?}", steps.len(), begun.elapsed()));
    failed == 0
}

fn say(output: Output, step: &str, started: Instant, why: Option<String>, look: String) {
    let outcome = if why.is_some() { Outcome::Failed } else { Outcome::Passed };
    let look = why.is_some().then_some(look);
    let report = Report { step, outcome, milliseconds: started.elapsed().as_millis(), why, look };
    output.item(&report, || {
        let verdict = if outcome == Outcome::Passed { "passed" } else { "FAILED" };
        let mut line = format!("{verdict}  {:<12} {:>6} ms", report.step, report.milliseconds);
        if let (Some(why), Some(look)) = (&report.why, &report.look) {
            line = format!("{line}  {why}\n        $ {look}");
        }
        line
    });
}
