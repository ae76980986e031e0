//! The findings of checks.

use clap::ValueEnum;
use serde::Serialize;

/// The area that a check is about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// The stack as CloudFormation has it, and its version.
    Stack,
    /// Tables, the index, time to live.
    Tables,
    /// Queues, their dead-letter queues, and the messages that wait in them.
    Queues,
    /// Event source mappings: which function reads which queue.
    Mappings,
    /// The event bus, its rules and their targets.
    Bus,
    /// Functions and their environment variables.
    Functions,
    /// The permissions of the functions' roles.
    Permissions,
    /// Routes, integrations, the authorizer, the stage, who may call the functions.
    Api,
    /// Reserved concurrency, account limits, rates.
    Limits,
    /// The secret of tokens, or the issuer's keys.
    Tokens,
    /// This machine's clock.
    Clock,
    /// Log groups.
    Logs,
    /// Alarms.
    Alarms,
}

/// The gravity of a finding.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// It could not be checked.
    Skipped,
    /// It works now, but may fail later or wastes something.
    Warning,
    /// It does not work.
    Problem,
}

/// The result of one check of one thing.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The area that was checked.
    pub area: Area,
    /// The name of the resource in the template.
    pub subject: String,
    /// The gravity.
    pub verdict: Verdict,
    /// The state of the thing, in a sentence.
    pub what: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// As it must be.
    pub fn ok(area: Area, subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self { area, subject: subject.into(), verdict: Verdict::Ok, what: what.into(), remedy: None }
    }

    /// Could not be looked at, and why.
    pub fn skipped(area: Area, subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, ..Self::ok(area, subject, what) }
    }

    /// Works, for now.
    pub fn warning(area: Area, subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, ..Self::ok(area, subject, what) }
    }

    /// Does not work.
    pub fn problem(area: Area, subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self { verdict: Verdict::Problem, ..Self::ok(area, subject, what) }
    }

    /// The command that mends it.
    #[must_use]
    pub fn remedy(mut self, command: impl Into<String>) -> Self {
        self.remedy = Some(command.into());
        self
    }

    /// As people read it.
    #[must_use]
    pub fn text(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => "ok     ",
            Verdict::Skipped => "skipped",
            Verdict::Warning => "WARNING",
            Verdict::Problem => "PROBLEM",
        };
        let Self { subject, what, .. } = self;
        let line = format!("{verdict}  {subject}: {what}");
        self.remedy.as_ref().map_or_else(|| line.clone(), |remedy| format!("{line}\n         $ {remedy}"))
    }
}
