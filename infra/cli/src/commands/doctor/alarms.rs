//! The alarms that are ringing.

use aws_sdk_cloudwatch::{Client, types::StateValue};

use super::{
    finding::{Area, Finding},
    patient::{Patient, unanswered},
};

/// Looks at the stack's alarms.
pub(super) async fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let prefix = format!("{}-", patient.stack.name);
    let described = Client::new(&patient.stack.sdk).describe_alarms().alarm_name_prefix(&prefix);
    let alarms = match described.into_paginator().send().try_collect().await {
        Ok(pages) => pages
            .into_iter()
            .flat_map(|page| page.metric_alarms.unwrap_or_default())
            // Those of a stack whose name goes on after a hyphen begin with the prefix, too.
            .filter(|alarm| alarm.alarm_name().is_some_and(|name| is_of_stack(patient, name)))
            .collect::<Vec<_>>(),
        Err(error) => return vec![unanswered(Area::Alarms, "alarms", error)],
    };
    if alarms.is_empty() {
        return vec![Finding::skipped(Area::Alarms, "alarms", format!("there are none called {prefix}*"))];
    }
    let (mut findings, mut quiet) = (Vec::new(), 0);
    for alarm in &alarms {
        let name = alarm.alarm_name().unwrap_or_default();
        if alarm.state_value() == Some(&StateValue::Alarm) {
            let (what, remedy) = runbook(patient, alarm.alarm_description().unwrap_or_default());
            let finding = Finding::problem(Area::Alarms, name, format!("rings: {what}"));
            findings.push(match remedy {
                Some(remedy) => finding.remedy(remedy),
                None => finding,
            });
        } else if alarm.actions_enabled() == Some(false) {
            let enable = patient.aws(&format!("cloudwatch enable-alarm-actions --alarm-names {name}"));
            findings.push(Finding::warning(Area::Alarms, name, "rings for nobody").remedy(enable));
        } else {
            quiet += 1;
        }
    }
    if quiet > 0 {
        findings.insert(0, Finding::ok(Area::Alarms, "alarms", format!("{quiet} of {} are quiet", alarms.len())));
    }
    findings
}

fn is_of_stack(patient: &Patient<'_>, name: &str) -> bool {
    patient.resources.iter().any(|(id, resource)| id.ends_with("Alarm") && resource == name)
}

/// An alarm's description ends with its section of the runbook, and the command to begin with.
fn runbook(patient: &Patient<'_>, description: &str) -> (String, Option<String>) {
    match description.split_once("; roomcast --stack ") {
        Some((what, command)) => {
            // The command's words after the stack's name.
            let words = command.split_once(' ').map_or("", |(_, words)| words);
            (what.to_owned(), Some(patient.roomcast(words)))
        }
        None => (description.to_owned(), None),
    }
}
