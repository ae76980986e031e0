//! The event bus: its rules are on, and lead where they must.

use aws_sdk_eventbridge::{
    Client,
    error::ProvideErrorMetadata,
    types::{RuleState, Target},
};
use serde_json::{Value, json};

use super::{
    finding::{Area, Finding},
    patient::{Patient, quoted, quoted_json, unanswered},
};
use crate::failure::Failure;

/// The detail-type of events for rooms.
const DETAIL_TYPE: &str = "roomcast.message";

/// The detail-types of the stack's own events, which are for no room but do not count as unmatched either.
const LIFECYCLE: [&str; 4] =
    ["roomcast.room.occupied", "roomcast.room.vacated", "roomcast.member.joined", "roomcast.member.left"];

/// A rule of the template.
struct Expected {
    id: &'static str,
    queue: &'static str,
    dead_letters: Option<&'static str>,
}

const RULES: [Expected; 2] = [
    Expected { id: "MessageRule", queue: "EventQueue", dead_letters: Some("RelayFailureQueue") },
    Expected { id: "UnmatchedRule", queue: "UnmatchedQueue", dead_letters: None },
];

/// Looks at the bus and its rules.
pub(super) async fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let client = Client::new(&patient.stack.sdk);
    let bus = match patient.resource("EventBus") {
        Ok(bus) => bus,
        Err(error) => return vec![Finding::problem(Area::Bus, "EventBus", error.to_string())],
    };
    match client.describe_event_bus().name(bus).send().await {
        Ok(_) => {}
        Err(error) if is_gone(&error) => {
            let what =
                "the bus is gone: producers' events are refused; make it anew, then run this again for its rules";
            let encrypted = patient.key().zip(patient.queue_arn("RelayFailureQueue").ok());
            let encrypted = encrypted
                .map(|(key, letters)| format!(" --kms-key-identifier {key} --dead-letter-config Arn={letters}"));
            let options = encrypted.unwrap_or_default();
            let mend = patient.aws(&format!("events create-event-bus --name {bus}{options}"));
            return vec![Finding::problem(Area::Bus, "EventBus", what).remedy(mend)];
        }
        Err(error) => return vec![unanswered(Area::Bus, "EventBus", error)],
    }
    let mut findings = vec![Finding::ok(Area::Bus, "EventBus", "there")];
    for expected in RULES.iter().filter(|rule| rule.id == "MessageRule" || patient.resource(rule.id).is_ok()) {
        match of_rule(patient, &client, bus, expected).await {
            Ok(of_rule) => findings.extend(of_rule),
            Err(failure) => findings.push(Finding::problem(Area::Bus, expected.id, failure.to_string())),
        }
    }
    findings.extend(of_schedule(patient, &client).await);
    findings
}

/// The rule that calls `sweeper`, on the account's default bus.
async fn of_schedule(patient: &Patient<'_>, client: &Client) -> Option<Finding> {
    let id = "SweepRule";
    let name = patient.resource(id).ok()?;
    Some(match client.describe_rule().name(name).send().await {
        Ok(rule) if rule.state() == Some(&RuleState::Disabled) => {
            let what = "the rule is disabled: rows whose connection is gone stay until they expire";
            Finding::warning(Area::Bus, id, what).remedy(patient.aws(&format!("events enable-rule --name {name}")))
        }
        Ok(rule) => Finding::ok(Area::Bus, id, rule.schedule_expression().unwrap_or("enabled")),
        Err(error) if is_gone(&error) => {
            let what = "the rule is gone: rows whose connection is gone stay until they expire, or somebody sweeps";
            Finding::warning(Area::Bus, id, what).remedy(patient.roomcast("sweep"))
        }
        Err(error) => unanswered(Area::Bus, id, error),
    })
}

fn is_gone(error: &impl ProvideErrorMetadata) -> bool {
    error.code() == Some("ResourceNotFoundException")
}

async fn of_rule(
    patient: &Patient<'_>,
    client: &Client,
    bus: &str,
    expected: &Expected,
) -> Result<Vec<Finding>, Failure> {
    let id = expected.id;
    // In some regions the rule's physical name begins with that of its bus.
    let name = patient.resource(id)?;
    let name = name.rsplit(['|', '/']).next().unwrap_or(name);
    let problem = |what: &str| Finding::problem(Area::Bus, id, what);
    let rule = match client.describe_rule().name(name).event_bus_name(bus).send().await {
        Ok(rule) => rule,
        Err(error) if is_gone(&error) => {
            let what = "the rule is gone: events are lost; make it anew, then run this again for its target";
            let put = format!("events put-rule --event-bus-name {bus} --name {name} --event-pattern {}", pattern(id));
            return Ok(vec![problem(what).remedy(patient.aws(&put))]);
        }
        Err(error) => return Ok(vec![unanswered(Area::Bus, id, error)]),
    };
    let mut findings = Vec::new();
    if rule.state() == Some(&RuleState::Disabled) {
        let enable = format!("events enable-rule --event-bus-name {bus} --name {name}");
        findings.push(problem("the rule is disabled: events are lost").remedy(patient.aws(&enable)));
    }
    let matches: Value = serde_json::from_str(rule.event_pattern().unwrap_or_default()).unwrap_or(Value::Null);
    if id == "MessageRule" && matches["detail-type"] != json!([DETAIL_TYPE]) {
        let put = format!("events put-rule --event-bus-name {bus} --name {name} --event-pattern {}", pattern(id));
        findings.push(problem(&format!("the rule does not match {DETAIL_TYPE}")).remedy(patient.aws(&put)));
    }
    let targets = match client.list_targets_by_rule().rule(name).event_bus_name(bus).send().await {
        Ok(listed) => listed.targets.unwrap_or_default(),
        Err(error) => return Ok(vec![unanswered(Area::Bus, id, error)]),
    };
    findings.extend(of_targets(patient, &targets, (bus, name), expected)?);
    if findings.is_empty() {
        findings.push(Finding::ok(Area::Bus, id, format!("enabled, to {}", expected.queue)));
    }
    Ok(findings)
}

fn of_targets(
    patient: &Patient<'_>,
    targets: &[Target],
    (bus, name): (&str, &str),
    expected: &Expected,
) -> Result<Option<Finding>, Failure> {
    let queue = patient.queue_arn(expected.queue)?;
    let mut target = json!({ "Id": "queue", "Arn": queue });
    if let Some(dead_letters) = expected.dead_letters {
        target["RetryPolicy"] = json!({ "MaximumRetryAttempts": 185, "MaximumEventAgeInSeconds": 86400 });
        target["DeadLetterConfig"] = json!({ "Arn": patient.queue_arn(dead_letters)? });
    }
    let put =
        format!("events put-targets --event-bus-name {bus} --rule {name} --targets {}", quoted_json(&json!([target])));
    let found = targets.iter().find(|target| target.arn() == queue);
    let what = match (found, expected.dead_letters) {
        (None, _) => format!("the rule does not lead to {}: events are lost", expected.queue),
        (Some(found), Some(dead_letters)) => {
            let to = found.dead_letter_config().and_then(|config| config.arn());
            if to == Some(&patient.queue_arn(dead_letters)?) {
                return Ok(None);
            }
            format!("what cannot be delivered does not go to {dead_letters}: an outage loses events")
        }
        (Some(_), None) => return Ok(None),
    };
    Ok(Some(Finding::problem(Area::Bus, expected.id, what).remedy(patient.aws(&put))))
}

fn pattern(id: &str) -> String {
    let ours: Vec<_> = [DETAIL_TYPE].into_iter().chain(LIFECYCLE).collect();
    let matched = if id == "MessageRule" { json!(DETAIL_TYPE) } else { json!({ "anything-but": ours }) };
    quoted(&json!({ "detail-type": [matched] }).to_string())
}
