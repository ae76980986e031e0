//! The metrics of presence, each produced by the event that it counts.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use testkit::aws_server::AwsServer;
use testkit::dynamodb::{CONNECTIONS_TABLE, DynamoDb, ROOM_INDEX};
use testkit::emf::Line;
use testkit::events::{QueueRecord, batch_item_failures, queue_batch};
use testkit::runtime_api::{Environment, Function};

use crate::fanout::World;

/// The `presence` function for the rooms that begin with `r`, all of which have events.
async fn presence(dynamodb: &DynamoDb, aws: &AwsServer) -> Environment {
    let function = Function::of_workspace("presence")
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url())
        .env("CONNECTIONS_TABLE", CONNECTIONS_TABLE)
        .env("ROOM_INDEX", ROOM_INDEX)
        .env("QUEUE_URL", aws.queue_url("broadcasts.fifo"))
        .env("PRESENCE_QUEUE_URL", aws.queue_url("presence.fifo"))
        .env("EVENT_BUS_NAME", "bus")
        .env("PRESENCE_ROOMS", "r*")
        // Posts are earned so fast that none is owed by the next invocation.
        .env("PRESENCE_POSTS_PER_SECOND", 1_000_000)
        .env("LIFECYCLE_ROOMS", "r*")
        .env("LIFECYCLE_EVENTS", "room,member");
    function.start().await.unwrap()
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A tick that was sent this long ago.
fn tick(id: &str, room: &str, millis_ago: u64) -> QueueRecord {
    QueueRecord::new(id, room, json!({ "v": 1, "roomId": room })).queued_at(now() - millis_ago)
}

async fn invoke(presence: &Environment, records: &[QueueRecord]) -> Vec<String> {
    batch_item_failures(presence.invoke(&queue_batch(records)).await.response())
}

/// Changes the time from which on the room `r` may be published again, in milliseconds since the Unix epoch.
fn publish_next_at(dynamodb: &DynamoDb, next_at: u64) {
    let mut row = dynamodb.raw_row("presence/r", "r").unwrap();
    row["nextAt"] = json!(next_at);
    dynamodb.seed_raw_row(&row);
}

fn counts(line: &Line) -> [u64; 4] {
    ["Publications", "ReconciliationsUnchanged", "TicksHidden", "LifecycleEvents"].map(|name| line.count(name))
}

#[tokio::test]
async fn what_a_tick_leads_to_is_counted() {
    let (dynamodb, aws) = (DynamoDb::start(), AwsServer::start());
    dynamodb.seed_members("r", &[("c1", "ann"), ("c2", "bob"), ("c3", "ann")]);
    let presence = presence(&dynamodb, &aws).await;
    assert_eq!(invoke(&presence, &[tick("t1", "r", 3_000)]).await, Vec::<String>::new());
    let sent = aws.messages("broadcasts.fifo");
    assert_eq!(sent.len(), 1);
    let publication = &sent[0].json()["presence"];
    assert_eq!((&publication["count"], &publication["after"]), (&json!(2), &json!(0)));
    assert_eq!(sent[0].deduplication_id, Some(format!("presence/r/{}", publication["rev"])));
    let events: Vec<_> = aws.events().iter().map(|event| event["DetailType"].clone()).collect();
    assert_eq!(events, ["roomcast.room.occupied", "roomcast.member.joined"]);
    assert!(aws.events().iter().all(|event| event["Source"] == "roomcast" && event["EventBusName"] == "bus"));

    // A tick from before the look is done; a later one waits until the room may be published again.
    publish_next_at(&dynamodb, now() + 3_600_000);
    let batch = [tick("t2", "r", 3_600_000), tick("t3", "r", 0)];
    assert_eq!(invoke(&presence, &batch).await, ["t3"]);
    assert_eq!(aws.postponed().len(), 1);
    publish_next_at(&dynamodb, 0);
    assert_eq!(invoke(&presence, &[tick("t3", "r", 0), tick("t4", "other", 0)]).await, Vec::<String>::new());

    let lines = presence.metrics(3).await;
    let counted: Vec<_> = lines.iter().map(counts).collect();
    assert_eq!(counted, [[1, 0, 0, 2], [0, 0, 1, 0], [0, 1, 0, 0]]);
    assert_eq!(lines[1].count("Returned"), 1);
    assert_eq!(lines[0].dimensions("Publications"), [["test", "presence"]]);
}

#[tokio::test]
async fn posts_of_presence_are_counted_apart() {
    let world = World::start();
    world.seed("room", "c", 3);
    let fanout = world.fanout().start().await.unwrap();
    let body = json!({ "v": 1, "roomId": "room", "presence": { "rev": 9, "count": 900 } });
    let batch = queue_batch(&[QueueRecord::new("p", "room", body)]);
    assert_eq!(batch_item_failures(fanout.invoke(&batch).await.response()), Vec::<String>::new());
    let lines = fanout.metrics(1).await;
    let counted = ["PresencePosts", "Posts", "Delivered", "Broadcasts"].map(|name| lines[0].count(name));
    assert_eq!((counted, lines[0].samples("MessagesPerPost")), ([3, 3, 3, 0], 0));
}
