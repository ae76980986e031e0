//! The stack as CloudFormation has it, and its version.

use super::{
    finding::{Area, Finding},
    patient::Patient,
};

/// Looks at the stack as a whole.
pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    vec![of_status(patient), of_version(patient)]
}

fn of_status(patient: &Patient<'_>) -> Finding {
    let status = patient.stack.status.as_str();
    let events = patient.aws(&format!("cloudformation describe-stack-events --stack-name {}", patient.stack.name));
    match status {
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE" => Finding::ok(Area::Stack, "status", status),
        "UPDATE_ROLLBACK_COMPLETE" => {
            let what = "the last update failed, and the stack is as before it: the events say why";
            Finding::warning(Area::Stack, "status", what).remedy(events)
        }
        _ if status.ends_with("_IN_PROGRESS") => {
            let what = format!("{status}: wait, then look again");
            Finding::warning(Area::Stack, "status", what).remedy(events)
        }
        "UPDATE_ROLLBACK_FAILED" => {
            let mend = format!("cloudformation continue-update-rollback --stack-name {}", patient.stack.name);
            Finding::problem(Area::Stack, "status", status).remedy(patient.aws(&mend))
        }
        _ => Finding::problem(Area::Stack, "status", status).remedy(events),
    }
}

fn of_version(patient: &Patient<'_>) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    match patient.stack.optional_output("Version") {
        Some(theirs) if theirs == ours => Finding::ok(Area::Stack, "version", ours),
        Some(theirs) => {
            let what = format!("the stack is of version {theirs}, this command of {ours}: some checks may not fit");
            Finding::warning(Area::Stack, "version", what).remedy(patient.make("deploy"))
        }
        None => {
            let what = "the stack does not say its version: it is older than this command";
            Finding::warning(Area::Stack, "version", what).remedy(patient.make("deploy"))
        }
    }
}
