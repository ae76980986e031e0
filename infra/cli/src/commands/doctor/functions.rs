//! The functions: whether they exist, are active, and are configured as in the template.

use std::collections::HashMap;

use aws_sdk_lambda::types::{FunctionConfiguration, LastUpdateStatus, State};
use serde_json::{Value, json};

use super::{
    finding::{Area, Finding},
    patient::{Patient, quoted_json},
};

/// Variables without which a function does not start, or does not do a part of its work, by the function's `FUNCTION`.
const REQUIRED: [(&str, &[&str]); 9] = [
    ("authorizer", &[]),
    ("session", &["CONNECTIONS_TABLE", "MESSAGES_TABLE", "STATE_TABLE", "PRESENCE_QUEUE_URL", "CONNECTIONS_ENDPOINT"]),
    ("message", &["QUEUE_URL", "EPHEMERAL_QUEUE_URL", "CONNECTIONS_ENDPOINT"]),
    ("relay", &["QUEUE_URL", "DLQ_URL"]),
    (
        "fanout",
        &[
            "CONNECTIONS_TABLE",
            "ROOM_INDEX",
            "MESSAGES_TABLE",
            "STATE_TABLE",
            "QUEUE_URL",
            "SHARD_QUEUE_URL",
            "DLQ_URL",
            "CONNECTIONS_ENDPOINT",
        ],
    ),
    (
        "shards",
        &[
            "CONNECTIONS_TABLE",
            "ROOM_INDEX",
            "MESSAGES_TABLE",
            "QUEUE_URL",
            "SHARD_QUEUE_URL",
            "DLQ_URL",
            "CONNECTIONS_ENDPOINT",
        ],
    ),
    ("presence", &["CONNECTIONS_TABLE", "ROOM_INDEX", "QUEUE_URL", "PRESENCE_QUEUE_URL", "EVENT_BUS_NAME"]),
    ("ephemeral", &["CONNECTIONS_TABLE", "ROOM_INDEX", "CONNECTIONS_ENDPOINT"]),
    ("sweeper", &["CONNECTIONS_TABLE", "CONGESTION_TABLE", "PRESENCE_QUEUE_URL", "CONNECTIONS_ENDPOINT"]),
];

/// Looks at all functions.
pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    patient.function_ids.iter().flat_map(|id| look(patient, id)).collect()
}

fn look(patient: &Patient<'_>, id: &str) -> Vec<Finding> {
    if let Some(unseen) = patient.unseen.get(id) {
        return vec![unseen.clone()];
    }
    let Some(function) = patient.functions.get(id) else {
        let what = "the function is gone: CloudFormation makes it anew with the stack only";
        return vec![Finding::problem(Area::Functions, id, what).remedy(patient.anew())];
    };
    let mut findings = vec![of_state(patient, id, function)];
    // An answer may lack the architectures; that is no finding.
    if let Some(wanted) = patient.parameter("Architecture")
        && !function.architectures().is_empty()
        && !function.architectures().iter().any(|has| has.as_str() == wanted)
    {
        let what = format!("not for {wanted}, which the stack's binaries are for: it cannot start");
        findings.push(Finding::problem(Area::Functions, id, what).remedy(patient.deploy("")));
    }
    findings.push(of_environment(patient, id, function));
    findings
}

fn of_state(patient: &Patient<'_>, id: &str, function: &FunctionConfiguration) -> Finding {
    let reason = || function.state_reason().or(function.last_update_status_reason()).unwrap_or("no reason is told");
    match (function.state(), function.last_update_status()) {
        (None | Some(State::Active | State::Inactive), None | Some(LastUpdateStatus::Successful)) => {
            Finding::ok(Area::Functions, id, "active")
        }
        (_, Some(LastUpdateStatus::InProgress)) => Finding::ok(Area::Functions, id, "being updated"),
        (_, Some(LastUpdateStatus::Failed)) => {
            Finding::problem(Area::Functions, id, format!("the last update failed: {}", reason()))
                .remedy(patient.deploy(""))
        }
        (state, _) => {
            let state = state.map_or("unknown", State::as_str);
            Finding::problem(Area::Functions, id, format!("{state}: {}", reason())).remedy(patient.deploy(""))
        }
    }
}

/// Each variable with the value that the stack's parameters and resources give it.
fn of_environment(patient: &Patient<'_>, id: &str, function: &FunctionConfiguration) -> Finding {
    let subject = format!("{id} environment");
    let none = HashMap::new();
    let has = function.environment().and_then(|environment| environment.variables()).unwrap_or(&none);
    let role = has.get("FUNCTION").map_or("", String::as_str);
    let required = REQUIRED.iter().find(|(name, _)| *name == role).map_or(&[][..], |(_, required)| required);
    let mut mended = has.clone();
    let mut wrong: Vec<String> = Vec::new();
    for name in has.keys().map(String::as_str).chain(required.iter().copied().filter(|name| !has.contains_key(*name))) {
        let Some(wanted) = expected(patient, role, name) else { continue };
        if has.get(name).is_none_or(|has| *has != wanted) {
            wrong.push(name.to_owned());
            mended.insert(name.to_owned(), wanted);
        }
    }
    if wrong.is_empty() {
        return Finding::ok(Area::Functions, subject, "as the template has it");
    }
    wrong.sort();
    let shown = |name: &String| {
        let is = has.get(name).map_or("missing".to_owned(), |is| format!("{is:?}"));
        format!("{name} is {is}, not {:?}", mended.get(name).map(String::as_str).unwrap_or_default())
    };
    let what = wrong.iter().map(shown).collect::<Vec<_>>().join(", ");
    let ordered: std::collections::BTreeMap<_, _> = mended.iter().collect();
    let environment = quoted_json(&json!({ "Variables": ordered }) as &Value);
    if function.version().is_some_and(|version| version != "$LATEST") {
        // A version never changes, so the alias points to a wrong one.
        return Finding::problem(Area::Functions, subject, what).remedy(patient.deploy(""));
    }
    let name = function.function_name().unwrap_or_default();
    let mend = format!("lambda update-function-configuration --function-name {name} --environment {environment}");
    Finding::problem(Area::Functions, subject, what).remedy(patient.aws(&mend))
}

/// The value that a function's variable must have; `None` when any value will do.
fn expected(patient: &Patient<'_>, function: &str, variable: &str) -> Option<String> {
    let resource = |id: &str| patient.resources.get(id).cloned();
    let parameter = |name: &str| patient.stack.parameters.get(name).cloned();
    let output = |name: &str| patient.stack.optional_output(name).map(str::to_owned);
    match variable {
        "FUNCTION" => None,
        "STACK_NAME" => Some(patient.stack.name.clone()),
        "ROOM_INDEX" => Some("roomId-index".to_owned()),
        "QUEUE_URL" if function == "shards" => resource("ShardQueue"),
        "QUEUE_URL" => resource("BroadcastQueue"),
        "SHARD_QUEUE_URL" => resource("ShardQueue"),
        "DLQ_URL" => resource("DeadLetterQueue"),
        "EVENT_BUS_NAME"
            if function == "presence" && parameter("LifecycleRooms").is_none_or(|rooms| rooms.is_empty()) =>
        {
            None
        }
        "EVENT_BUS_NAME" => resource("EventBus"),
        "STATE_TABLE" if parameter("StateRooms").is_some_and(|rooms| rooms.is_empty()) => None,
        // A stack may do without either queue.
        "PRESENCE_QUEUE_URL" => resource("PresenceQueue"),
        "EPHEMERAL_QUEUE_URL" => resource("EphemeralQueue"),
        "CONNECTIONS_ENDPOINT" => output("ConnectionsEndpoint"),
        "AUTH_SECRET_ARN" => output("AuthSecretArn"),
        "BATCH_SIZE" if function == "shards" => parameter("ShardsBatchSize"),
        "BATCH_SIZE" => Some("10".to_owned()),
        // FANOUT_CONCURRENCY is the parameter FanoutConcurrency, CONNECTIONS_TABLE the resource ConnectionsTable.
        _ => parameter(&pascal(variable)).or_else(|| resource(&pascal(variable))),
    }
}

fn pascal(variable: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_owned() + &rest.to_lowercase()
    };
    variable.split('_').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::pascal;

    #[test]
    fn variables_are_called_as_their_parameters() {
        assert_eq!(pascal("FANOUT_MAX_POSTS_PER_SECOND"), "FanoutMaxPostsPerSecond");
        assert_eq!(pascal("GONE_GRACE_MS"), "GoneGraceMs");
        assert_eq!(pascal(""), "");
    }
}
