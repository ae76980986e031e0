//! Least privilege: each permission of each function's role is taken away in turn, the function is refused what it
//! must do, and does it again when the permission is back. The roles are read from IAM, where CloudFormation has put
//! them, so a statement that nothing needs, or that no exercise calls for, fails the test.

mod aws;
mod exercise;
mod role;

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_sqs::error::ProvideErrorMetadata;
use futures::future::join_all;
use serde_json::json;
use testkit::stack::LocalStack;
use tokio::time::{sleep, timeout};

use crate::events::put;
use crate::stacks::{PERMISSIONS_SHARD_SIZE, Stacks};
use crate::tables::{log, now, queue_url, set_visibility_timeout, without_delay};
use crate::wait::{PATIENCE, until};
use aws::Aws;
use exercise::exercise;
use role::{Permission, Role};

/// Actions on the functions' logs. The emulator keeps these itself, so nothing fails without the permission.
const OF_LOGS: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];

/// Actions of event source mappings, which the emulator takes without the function's role. A function that also deletes
/// records itself only hastens the mapping's deletion.
const OF_MAPPINGS: [&str; 4] =
    ["sqs:ReceiveMessage", "sqs:GetQueueAttributes", "sqs:DeleteMessage", "sqs:DeleteMessage*"];

/// The functions with an event source mapping.
const MAPPED: [&str; 5] = ["Relay", "Fanout", "Shards", "Presence", "Ephemeral"];

/// Permissions that are needed only when another action is refused: each with that action, which is taken away too.
const NEEDED_WHEN_REFUSED: [(&str, &str); 1] = [("sqs:ChangeMessageVisibility*", "execute-api:ManageConnections")];

/// The pause between two exercises of a function that is refused something.
const AGAIN: Duration = Duration::from_millis(500);

/// The time after which a call of the emulator without an answer is made again: it may lose one.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Roles whose exercises look at the same dead-letter queue, or need one another's functions, take turns.
const TURNS: [&[&str]; 5] = [
    &["Authorizer", "Session"],
    &["Message", "Ephemeral"],
    &["Sweeper"],
    &["Relay", "Fanout", "Shards"],
    &["Presence"],
];

pub(crate) async fn every_permission_of_every_function_is_needed(_: &Stacks) {
    let stack = start(&[]).await;
    let world = World::of(&stack);
    let roles = Role::all(&world.aws).await;
    for role in &roles {
        let has_turn = TURNS.iter().any(|turn| turn.contains(&role.function.as_str()));
        assert!(
            has_turn,
            "there is no exercise for the function {}: nothing shows what its role is for",
            role.function
        );
    }
    join_all(TURNS.map(async |turn| {
        for function in turn {
            world.probe(roles.iter().find(|role| role.function == **function).expect("the function's role")).await;
        }
    }))
    .await;
}

/// With the bus as its sink, `message` needs every permission that it has, `events:PutEvents` among them.
pub(crate) async fn every_permission_of_message_is_needed_before_the_bus(_: &Stacks) {
    let stack = start(&[("IngestSink", "eventbridge")]).await;
    let world = World::of(&stack);
    let roles = Role::all(&world.aws).await;
    let message = roles.iter().find(|role| role.function == "Message").unwrap();
    assert!(message.permissions().iter().any(|permission| permission.action == "events:PutEvents"));
    world.probe(message).await;
}

/// An outage of the rooms' queue, as relay sees it: nothing is lost, nothing must be redriven by hand.
pub(crate) async fn events_that_the_queue_refuses_wait_until_it_takes_them(_: &Stacks) {
    const EVENTS: u64 = 12;
    let stack = start(&[]).await;
    let world = World::of(&stack);
    let roles = Role::all(&world.aws).await;
    let relay = roles.iter().find(|role| role.function == "Relay").unwrap();
    let permissions = relay.permissions();
    // `relay` may ask for the queue's depth, too.
    let is_sending = |permission: &&Permission| {
        permission.action.starts_with("sqs:SendMessage") && permission.resource.contains("-BroadcastQueue-")
    };
    let sending = permissions.iter().find(is_sending).unwrap();
    relay.take_away(&world.aws, &[sending]).await;
    for number in 0..EVENTS {
        put(&stack, "feed", &json!({ "roomId": "waiting", "id": number.to_string(), "data": number })).await;
    }
    let refused = timeout(PATIENCE, world.refused(relay, sending, 0)).await;
    assert!(refused.is_ok(), "no event was refused");
    assert!(log(&stack, "waiting").await.is_empty());
    relay.put_back(&world.aws).await;
    until("all are logged", async || {
        (log(&stack, "waiting").await.len() == usize::try_from(EVENTS).unwrap()).then_some(())
    })
    .await;
    let mut ids: Vec<u64> = log(&stack, "waiting").await.iter().map(|(_, id)| id.parse().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..EVENTS), "each of them once");
}

/// The queues have the policies of a deployment. The emulator is called without TLS, so every call is refused, the root
/// user's too.
pub(crate) async fn the_queues_take_no_call_without_tls(_: &Stacks) {
    let stack = LocalStack::start(&[("RequireTls", "true")]).await;
    let sqs = aws_sdk_sqs::Client::new(&stack.sdk_config());
    let queues = sqs.list_queues().send().await.unwrap();
    assert_eq!(queues.queue_urls().len(), 8, "{queues:?}");
    for url in queues.queue_urls() {
        let refused = sqs.receive_message().queue_url(url).send().await.expect_err(url);
        assert_eq!(refused.code(), Some("AccessDenied"), "{url}: {refused:?}");
    }
    let alice = stack.connect("plain-alice").await.unwrap();
    let send = json!({ "action": "sendMessage", "roomId": "plain", "data": 1 });
    assert_eq!(alice.request_for("error", send).await["code"], "unavailable");
}

/// Invokes the function `sweeper` once, independent of its schedule.
pub(crate) async fn invoke_sweeper(stack: &LocalStack) {
    Aws::of(stack).invoke("Sweeper", &json!({})).await;
}

async fn start(parameters: &[(&str, &str)]) -> LocalStack {
    let shard_size = PERMISSIONS_SHARD_SIZE.to_string();
    let own = [
        ("FanoutShardSize", shard_size.as_str()),
        ("FanoutShards", "2"),
        ("FanoutTimeout", "5"),
        ("SubjectConnections", "1"),
        // A room with more than one subject has no list, only their number.
        ("PresenceListMax", "1"),
        ("LifecycleRooms", "presence:*"),
    ];
    let stack = LocalStack::start(&[&own[..], parameters].concat()).await;
    // Refused records come back soon.
    for queue in ["BroadcastQueue", "ShardQueue", "EventQueue", "PresenceQueue"] {
        set_visibility_timeout(&stack, &queue_url(&stack, queue).await, 6).await;
    }
    without_delay(&stack, &queue_url(&stack, "PresenceQueue").await).await;
    stack
}

/// The functions of a stack, and what the role of each allows: actions and resources.
pub(crate) async fn roles_of(stack: &LocalStack) -> Vec<(String, Vec<(String, String)>)> {
    let roles = Role::all(&Aws::of(stack)).await;
    let pairs = |role: &Role| {
        role.permissions().into_iter().map(|permission| (permission.action, permission.resource)).collect()
    };
    roles.iter().map(|role| (role.function.clone(), pairs(role))).collect()
}

struct World<'a> {
    stack: &'a LocalStack,
    aws: Aws,
    exercises: AtomicU32,
}

impl<'a> World<'a> {
    fn of(stack: &'a LocalStack) -> Self {
        Self { stack, aws: Aws::of(stack), exercises: AtomicU32::new(0) }
    }

    async fn probe(&self, role: &Role) {
        let permissions = role.permissions();
        self.assert_works(role, "before anything was taken away").await;
        for permission in &permissions {
            if !is_exercised(role, permission) {
                continue;
            }
            let is_companion = |other: &&Permission| {
                NEEDED_WHEN_REFUSED.contains(&(permission.action.as_str(), other.action.as_str()))
            };
            let taken: Vec<_> = std::iter::once(permission).chain(permissions.iter().filter(is_companion)).collect();
            let since = now().as_millis();
            role.take_away(&self.aws, &taken).await;
            tokio::select! {
                refused = timeout(PATIENCE, self.refused(role, permission, since)) => {
                    assert!(refused.is_ok(), "{} does not need {permission}, or no exercise calls for it", role.function);
                }
                // The exercise may pass or fail: the refused call need not be one that it waits for.
                never = self.exercise_again_and_again(role) => match never {},
            }
            role.put_back(&self.aws).await;
            self.assert_works(role, &format!("with {permission} again")).await;
        }
    }

    async fn assert_works(&self, role: &Role, when: &str) {
        let mut problem = "it waited".to_owned();
        let works = async {
            while let Err(error) = exercise(self.stack, &role.function, &self.tag()).await {
                problem = error;
            }
        };
        let works = timeout(PATIENCE, works).await;
        assert!(works.is_ok(), "{} does not work {when}: {problem}", role.function);
    }

    async fn exercise_again_and_again(&self, role: &Role) -> Infallible {
        loop {
            // Most exercises fail without the permission, but some do not wait for the call that needs it.
            let _ = exercise(self.stack, &role.function, &self.tag()).await;
            sleep(AGAIN).await;
        }
    }

    fn tag(&self) -> String {
        self.exercises.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Waits until the function's log says that the permission was missing.
    async fn refused(&self, role: &Role, permission: &Permission, since: u128) {
        loop {
            let lines = timeout(ANSWERED_WITHIN, self.lines(role, since)).await.unwrap_or_default();
            if lines.iter().any(|line| says_refused(line, permission)) {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The lines that the function has logged since a time.
    async fn lines(&self, role: &Role, since: u128) -> Vec<String> {
        let groups = self.aws.log_groups().await;
        let group = groups.iter().find(|group| group.contains(&format!("{}LogGroup", role.function)));
        let group = group.unwrap_or_else(|| panic!("no log group of {} in {groups:?}", role.function));
        self.aws.log_lines(group, since).await
    }
}

/// Whether an exercise can show that the permission is needed.
fn is_exercised(role: &Role, permission: &Permission) -> bool {
    let action = permission.action.as_str();
    // `relay` asks for the depth of the rooms' queue itself.
    let is_own = role.function == "Relay" && permission.resource.contains("BroadcastQueue");
    let is_of_mapping = MAPPED.contains(&role.function.as_str()) && OF_MAPPINGS.contains(&action) && !is_own;
    !is_of_mapping && !OF_LOGS.contains(&action)
}

/// Whether a line of a function's log says that the permission was missing.
fn says_refused(line: &str, permission: &Permission) -> bool {
    let beginning = |pattern: &str| pattern.trim_end_matches('*').to_owned();
    // Fan-out posts without an SDK, so only the statuses of its posts are logged.
    if permission.action == "execute-api:ManageConnections" {
        let is_post = !permission.resource.contains("/DELETE/");
        let status = if is_post { "answered 403" } else { "Misconfigured(Forbidden)" };
        let is_of_ephemeral = line.contains("nobody can be posted to") && line.contains("Forbidden");
        if line.contains(status) || is_post && is_of_ephemeral {
            return true;
        }
    }
    let Some((_, told)) = line.split_once("not authorized to perform: ") else { return false };
    // Some services name only the action.
    let resource = told.split_once(" on resource: ").map_or("", |(_, resource)| resource);
    let is_resource = resource.is_empty() || resource.starts_with(&beginning(&permission.resource));
    is_resource && told.starts_with(&beginning(&permission.action))
}
