//! The permissions that the functions' roles must have: one table, which tests compare with the roles of the template.

use std::collections::BTreeMap;

use aws_sdk_iam::{
    Client,
    error::ProvideErrorMetadata,
    types::{EvaluationResult, PolicyEvaluationDecisionType},
};
use futures::{StreamExt, stream};
use serde_json::json;

use super::{
    finding::{Area, Finding},
    patient::{Patient, quoted_json, unanswered},
};
use crate::failure::Failure;

/// Calls of IAM at once: it answers a few a second.
const AT_ONCE: usize = 4;

/// The actions of a role's function on one resource.
#[derive(Debug)]
pub struct Needed {
    /// The role, by its name in the template.
    pub role: &'static str,
    /// The actions.
    pub actions: &'static [&'static str],
    /// The resource.
    pub on: On,
    /// The stacks that need it.
    pub when: When,
}

/// A resource.
#[derive(Clone, Copy, Debug)]
pub enum On {
    /// A table, by its name in the template.
    Table(&'static str),
    /// An index of the table of connections.
    Index(&'static str),
    /// The rows of the table of connections that hold the published lists of presence.
    PresenceRows,
    /// A queue.
    Queue(&'static str),
    /// A log group's streams.
    LogGroup(&'static str),
    /// The bus.
    Bus,
    /// The secret of tokens.
    Secret,
    /// The `@connections` of the API, with this method.
    Connections(&'static str),
    /// Everything: the action knows no resources.
    Everything,
}

/// The stacks in which an action is needed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum When {
    /// Every stack.
    Always,
    /// Those where messages go straight into the queue.
    SinkIsQueue,
    /// Those where messages go to the bus.
    SinkIsBus,
    /// Those where a secret signs tokens.
    UsesSecret,
    /// Those whose functions are traced.
    IsTraced,
    /// Those whose rooms keep state.
    HasState,
    /// Those with rooms that have presence.
    HasPresence,
    /// Those that put lifecycle events on the bus.
    HasLifecycle,
    /// Those with presence or lifecycle events.
    CountsMembers,
    /// Those with ephemeral messages.
    HasEphemeral,
}

const LOGS: &[&str] = &["logs:CreateLogStream", "logs:PutLogEvents"];
const MANAGE: &[&str] = &["execute-api:ManageConnections"];
const POLL: &[&str] = &["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"];
const CONSUME: &[&str] =
    &["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"];
const SEND: &[&str] = &["sqs:SendMessage"];
const QUERY: &[&str] = &["dynamodb:Query"];
const PUT_EVENTS: &[&str] = &["events:PutEvents"];
const NOTE: &[&str] = &["dynamodb:GetItem", "dynamodb:PutItem"];
const ROOM_INDEX: On = On::Index("roomId-index");
const MEMBERS_INDEX: On = On::Index("members-index");

const fn needed(role: &'static str, actions: &'static [&'static str], on: On) -> Needed {
    Needed { role, actions, on, when: When::Always }
}

const fn needed_when(when: When, role: &'static str, actions: &'static [&'static str], on: On) -> Needed {
    Needed { role, actions, on, when }
}

const fn presence(actions: &'static [&'static str], on: On) -> Needed {
    needed_when(When::CountsMembers, "PresenceRole", actions, on)
}

const fn ephemeral(actions: &'static [&'static str], on: On) -> Needed {
    needed_when(When::HasEphemeral, "EphemeralRole", actions, on)
}

const fn traced(role: &'static str) -> Needed {
    let actions = &["xray:PutTraceSegments", "xray:PutTelemetryRecords"];
    needed_when(When::IsTraced, role, actions, On::Everything)
}

/// All actions that the functions' code uses.
pub const NEEDED: &[Needed] = &[
    needed("AuthorizerRole", LOGS, On::LogGroup("AuthorizerLogGroup")),
    needed_when(When::UsesSecret, "AuthorizerRole", &["secretsmanager:GetSecretValue"], On::Secret),
    needed("SessionRole", LOGS, On::LogGroup("SessionLogGroup")),
    needed(
        "SessionRole",
        &["dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:BatchWriteItem"],
        On::Table("ConnectionsTable"),
    ),
    needed("SessionRole", &["dynamodb:Query", "dynamodb:GetItem", "dynamodb:BatchGetItem"], On::Table("MessagesTable")),
    needed_when(When::HasState, "SessionRole", QUERY, On::Table("StateTable")),
    needed_when(
        When::CountsMembers,
        "SessionRole",
        &["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:UpdateItem"],
        On::Table("ConnectionsTable"),
    ),
    needed_when(When::HasPresence, "SessionRole", QUERY, MEMBERS_INDEX),
    needed_when(When::CountsMembers, "SessionRole", SEND, On::Queue("PresenceQueue")),
    needed("SessionRole", MANAGE, On::Connections("POST")),
    needed("SessionRole", MANAGE, On::Connections("DELETE")),
    needed("SessionRole", MANAGE, On::Connections("GET")),
    needed("MessageRole", LOGS, On::LogGroup("MessageLogGroup")),
    needed_when(When::SinkIsQueue, "MessageRole", SEND, On::Queue("BroadcastQueue")),
    needed_when(When::SinkIsBus, "MessageRole", PUT_EVENTS, On::Bus),
    needed_when(When::HasEphemeral, "MessageRole", SEND, On::Queue("EphemeralQueue")),
    needed("MessageRole", QUERY, On::Table("CongestionTable")),
    needed("MessageRole", &["sqs:GetQueueAttributes"], On::Queue("BroadcastQueue")),
    needed("MessageRole", MANAGE, On::Connections("POST")),
    needed("MessageRole", MANAGE, On::Connections("DELETE")),
    needed("RelayRole", LOGS, On::LogGroup("RelayLogGroup")),
    needed("RelayRole", QUERY, On::Table("CongestionTable")),
    needed("RelayRole", &["sqs:GetQueueAttributes", "sqs:SendMessage"], On::Queue("BroadcastQueue")),
    needed("RelayRole", POLL, On::Queue("EventQueue")),
    needed("RelayRole", POLL, On::Queue("RelayFailureQueue")),
    needed("RelayRole", SEND, On::Queue("DeadLetterQueue")),
    needed("FanoutRole", LOGS, On::LogGroup("FanoutLogGroup")),
    needed("FanoutRole", CONSUME, On::Queue("BroadcastQueue")),
    needed("FanoutRole", SEND, On::Queue("ShardQueue")),
    needed("FanoutRole", SEND, On::Queue("DeadLetterQueue")),
    needed("FanoutRole", QUERY, ROOM_INDEX),
    needed("FanoutRole", &["dynamodb:BatchWriteItem"], On::Table("ConnectionsTable")),
    needed("FanoutRole", &["dynamodb:Query", "dynamodb:GetItem", "dynamodb:PutItem"], On::Table("MessagesTable")),
    needed_when(When::HasState, "FanoutRole", &["dynamodb:PutItem"], On::Table("StateTable")),
    needed("FanoutRole", NOTE, On::Table("CongestionTable")),
    needed("FanoutRole", MANAGE, On::Connections("POST")),
    needed("FanoutRole", MANAGE, On::Connections("DELETE")),
    needed("ShardsRole", LOGS, On::LogGroup("ShardsLogGroup")),
    needed("ShardsRole", CONSUME, On::Queue("ShardQueue")),
    needed("ShardsRole", SEND, On::Queue("DeadLetterQueue")),
    needed("ShardsRole", QUERY, ROOM_INDEX),
    needed("ShardsRole", &["dynamodb:BatchWriteItem"], On::Table("ConnectionsTable")),
    needed("ShardsRole", NOTE, On::Table("MessagesTable")),
    needed("ShardsRole", NOTE, On::Table("CongestionTable")),
    needed("ShardsRole", MANAGE, On::Connections("POST")),
    needed("ShardsRole", MANAGE, On::Connections("DELETE")),
    presence(LOGS, On::LogGroup("PresenceLogGroup")),
    presence(CONSUME, On::Queue("PresenceQueue")),
    presence(SEND, On::Queue("BroadcastQueue")),
    presence(QUERY, MEMBERS_INDEX),
    presence(QUERY, ROOM_INDEX),
    presence(&["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], On::PresenceRows),
    needed_when(When::HasLifecycle, "PresenceRole", PUT_EVENTS, On::Bus),
    ephemeral(LOGS, On::LogGroup("EphemeralLogGroup")),
    ephemeral(POLL, On::Queue("EphemeralQueue")),
    ephemeral(QUERY, ROOM_INDEX),
    ephemeral(MANAGE, On::Connections("POST")),
    needed("SweeperRole", LOGS, On::LogGroup("SweeperLogGroup")),
    needed("SweeperRole", &["dynamodb:Scan", "dynamodb:DeleteItem"], On::Table("ConnectionsTable")),
    needed("SweeperRole", NOTE, On::Table("CongestionTable")),
    needed_when(When::CountsMembers, "SweeperRole", SEND, On::Queue("PresenceQueue")),
    needed("SweeperRole", MANAGE, On::Connections("GET")),
    traced("AuthorizerRole"),
    traced("SessionRole"),
    traced("MessageRole"),
    traced("RelayRole"),
    traced("FanoutRole"),
    traced("ShardsRole"),
    traced("SweeperRole"),
    traced("PresenceRole"),
    traced("EphemeralRole"),
];

/// Roles of functions that a stack may do without.
const OPTIONAL: [&str; 2] = ["PresenceRole", "EphemeralRole"];

/// Asks IAM about each role.
pub async fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let client = Client::new(&patient.stack.sdk);
    let in_this_stack = NEEDED.iter().filter(|needed| is_needed(patient, needed));
    let looked = stream::iter(in_this_stack).map(async |needed| (needed.role, look(patient, &client, needed).await));
    let looked: Vec<_> = looked.buffered(AT_ONCE).collect().await;
    let mut roles: BTreeMap<&str, Vec<Finding>> = BTreeMap::new();
    for (role, finding) in looked {
        roles.entry(role).or_default().extend(finding);
    }
    let of_role = |(role, findings): (&str, Vec<Finding>)| {
        if findings.is_empty() {
            vec![Finding::ok(Area::Permissions, role, "may do all that it must")]
        } else {
            findings
        }
    };
    roles.into_iter().flat_map(of_role).collect()
}

/// Whether an action is needed in this stack.
#[must_use]
pub fn is_needed(patient: &Patient<'_>, needed: &Needed) -> bool {
    let sink = patient.parameter("IngestSink").unwrap_or("sqs");
    let has = |rooms: &str| patient.parameter(rooms).is_some_and(|rooms| !rooms.is_empty());
    if OPTIONAL.contains(&needed.role) && !patient.resources.contains_key(needed.role) {
        return false;
    }
    match needed.when {
        When::Always => true,
        When::SinkIsQueue => sink == "sqs",
        When::SinkIsBus => sink != "sqs",
        When::IsTraced => patient.parameter("Tracing") == Some("Active"),
        When::UsesSecret => patient.stack.optional_output("AuthSecretArn").is_some(),
        When::HasState => has("StateRooms"),
        When::HasPresence => has("PresenceRooms"),
        When::HasLifecycle => has("LifecycleRooms"),
        When::CountsMembers => has("PresenceRooms") || has("LifecycleRooms"),
        When::HasEphemeral => patient.parameter("EphemeralMaxMembers").is_some_and(|most| most != "0"),
    }
}

/// The ARN to ask about.
///
/// # Errors
/// When the stack has no such resource.
pub fn arn(patient: &Patient<'_>, on: On) -> Result<String, Failure> {
    Ok(match on {
        On::Table(id) => patient.arn("dynamodb", &format!("table/{}", patient.resource(id)?)),
        On::PresenceRows => patient.arn("dynamodb", &format!("table/{}", patient.resource("ConnectionsTable")?)),
        On::Index(name) => {
            patient.arn("dynamodb", &format!("table/{}/index/{name}", patient.resource("ConnectionsTable")?))
        }
        On::Queue(id) => patient.queue_arn(id)?,
        On::LogGroup(id) => patient.arn("logs", &format!("log-group:{}:*", patient.resource(id)?)),
        On::Everything => "*".to_owned(),
        On::Bus => patient.arn("events", &format!("event-bus/{}", patient.resource("EventBus")?)),
        On::Secret => patient.stack.output("AuthSecretArn")?.to_owned(),
        On::Connections(method) => {
            let (api, stage) = (patient.stack.output("ApiId")?, patient.stack.output("StageName")?);
            patient.arn("execute-api", &format!("{api}/{stage}/{method}/@connections/*"))
        }
    })
}

async fn look(patient: &Patient<'_>, client: &Client, needed: &Needed) -> Option<Finding> {
    let role = needed.role;
    let (name, resource) = match (patient.resource(role), arn(patient, needed.on)) {
        (Ok(name), Ok(resource)) => (name, resource),
        (Err(error), _) | (_, Err(error)) => return Some(Finding::problem(Area::Permissions, role, error.to_string())),
    };
    let principal = format!("arn:{}:iam::{}:role/{name}", patient.partition, patient.account);
    let asked = client.simulate_principal_policy().policy_source_arn(principal).resource_arns(&resource);
    let asked = asked.set_action_names(Some(needed.actions.iter().map(|action| (*action).to_owned()).collect()));
    let answered = match asked.send().await {
        Ok(answered) => answered,
        Err(error) if error.code().is_some_and(|code| code.starts_with("NoSuchEntity")) => {
            let what = format!("the role {name} is gone: its function can do nothing");
            return Some(Finding::problem(Area::Permissions, role, what).remedy(patient.anew()));
        }
        Err(error) => return Some(unanswered(Area::Permissions, role, error)),
    };
    let refused: Vec<_> = answered.evaluation_results().iter().filter(|result| is_refused(result)).collect();
    if refused.is_empty() {
        return None;
    }
    let actions: Vec<_> = refused.iter().map(|result| result.eval_action_name()).collect();
    let is_denied = refused.iter().any(|result| *result.eval_decision() == PolicyEvaluationDecisionType::ExplicitDeny);
    let what = format!("may not {} on {resource}", actions.join(", "));
    if is_denied {
        let list = patient.aws(&format!("iam list-attached-role-policies --role-name {name}"));
        let what = format!("{what}: a policy denies it, perhaps a boundary or one of the organisation");
        return Some(Finding::problem(Area::Permissions, role, what).remedy(list));
    }
    let granted: Vec<_> = actions.iter().map(|action| granted(action)).collect();
    let mut statement = json!({ "Effect": "Allow", "Action": granted, "Resource": resource });
    if matches!(needed.on, On::PresenceRows) {
        statement["Condition"] = json!({ "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["presence/*"] } });
    }
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] });
    // The policy is one of its own, so that those of the template stay as they are, and earlier ones of the same
    // resource: one that had this name gave this action, and is gone.
    let action = actions[0].rsplit(':').next().unwrap_or_default().trim_end_matches('*');
    let policy_name = format!("given-back-{}-{action}", title(needed.on));
    let put = format!(
        "iam put-role-policy --role-name {name} --policy-name {policy_name} --policy-document {}",
        quoted_json(&policy)
    );
    Some(Finding::problem(Area::Permissions, role, what).remedy(patient.aws(&put)))
}

fn title(on: On) -> String {
    match on {
        On::Table(id) | On::Queue(id) | On::LogGroup(id) => id.to_owned(),
        On::PresenceRows => "presence-rows".to_owned(),
        On::Index(name) => name.to_owned(),
        On::Everything => "tracing".to_owned(),
        On::Bus => "EventBus".to_owned(),
        On::Secret => "AuthSecret".to_owned(),
        On::Connections(method) => format!("connections-{method}"),
    }
}

/// An action as the template allows it, with a star where the emulator asks for actions such as sqs:SendMessageBatch.
fn granted(action: &str) -> String {
    let has_batch = ["sqs:SendMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"].contains(&action);
    format!("{action}{}", if has_batch { "*" } else { "" })
}

fn is_refused(result: &EvaluationResult) -> bool {
    *result.eval_decision() != PolicyEvaluationDecisionType::Allowed
}
