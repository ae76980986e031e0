//! `roomcast doctor`: checks a stack, and prints for each fault the command that mends it.
//!
//! There is a module for each area. The required state is derived from the stack's own parameters, outputs and
//! resources.

pub mod finding;
pub mod patient;
pub mod permissions;

mod alarms;
mod api;
mod bus;
mod clock;
mod functions;
mod limits;
mod logs;
mod mappings;
mod queues;
mod tables;
mod tokens;
mod whole;

use std::process::ExitCode;

use clap::Args;
use futures::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use serde_json::json;

use self::{
    finding::{Area, Finding, Verdict},
    patient::Patient,
};
use crate::{failure::Failure, output::Output, stack::Stack};

/// Every area.
const AREAS: [Area; 13] = [
    Area::Stack,
    Area::Tables,
    Area::Queues,
    Area::Mappings,
    Area::Bus,
    Area::Functions,
    Area::Permissions,
    Area::Api,
    Area::Limits,
    Area::Tokens,
    Area::Clock,
    Area::Logs,
    Area::Alarms,
];

/// Options of `roomcast doctor`.
#[derive(Args, Debug)]
pub struct Options {
    /// Look at these areas only, with commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "AREAS")]
    pub only: Vec<Area>,
    /// Say only what is wrong, or could not be looked at.
    #[arg(long)]
    pub brief: bool,
}

/// Checks the stack. The exit code is 1 when there is a problem; warnings do not count.
///
/// # Errors
/// When the stack's resources cannot be looked up.
pub async fn run(options: Options, stack: &Stack, output: &Output) -> Result<ExitCode, Failure> {
    let patient = Patient::admit(stack).await?;
    let areas: Vec<_> =
        AREAS.into_iter().filter(|area| options.only.is_empty() || options.only.contains(area)).collect();
    let bar = output.progress(Some(areas.len() as u64), "looking");
    let mut looking: FuturesUnordered<_> = areas.into_iter().map(|area| look(&patient, area)).collect();
    let mut findings = Vec::new();
    while let Some(found) = looking.next().await {
        findings.extend(found);
        bar.inc(1);
    }
    bar.finish_and_clear();
    findings.sort_by_key(|finding| finding.area);
    let mut last = None;
    for finding in findings.iter().filter(|finding| !options.brief || finding.verdict != Verdict::Ok) {
        if last.replace(finding.area) != Some(finding.area) {
            output.line(&format!("{:?}", finding.area));
        }
        output.item(finding, || format!("  {}", finding.text()));
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let [ok, skipped, warnings, problems] =
        [Verdict::Ok, Verdict::Skipped, Verdict::Warning, Verdict::Problem].map(count);
    let sum = json!({ "summary": { "ok": ok, "skipped": skipped, "warning": warnings, "problem": problems } });
    output.item(&sum, || format!("{ok} ok, {warnings} warnings, {problems} problems, {skipped} skipped"));
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn look<'a>(patient: &'a Patient<'a>, area: Area) -> LocalBoxFuture<'a, Vec<Finding>> {
    match area {
        Area::Stack => Box::pin(async { whole::check(patient) }),
        Area::Tables => Box::pin(tables::check(patient)),
        Area::Queues => Box::pin(queues::check(patient)),
        Area::Mappings => Box::pin(mappings::check(patient)),
        Area::Bus => Box::pin(bus::check(patient)),
        Area::Functions => Box::pin(async { functions::check(patient) }),
        Area::Permissions => Box::pin(permissions::check(patient)),
        Area::Api => Box::pin(api::check(patient)),
        Area::Limits => Box::pin(limits::check(patient)),
        Area::Tokens => Box::pin(tokens::check(patient)),
        Area::Clock => Box::pin(clock::check(patient)),
        Area::Logs => Box::pin(logs::check(patient)),
        Area::Alarms => Box::pin(alarms::check(patient)),
    }
}
