//! Messages from their senders to everybody in their rooms: a chat, a feed, a large room.

use std::collections::HashSet;

use serde_json::{Value, json};
use testkit::aws_server::{AwsServer, QueuedMessage};
use testkit::dynamodb::{DynamoDb, MeteredCall};
use testkit::events::{self, QueueRecord, event_batch};
use testkit::runtime_api::Environment;

use super::{Counts, NOT_COUNTED};
use crate::fanout::{World, invoke};
use crate::ingest::to_queue;

const PARTS: [&str; 4] = ["ingest", "log", "posts", "shards"];

/// JSON of 300 bytes.
fn data() -> Value {
    json!("x".repeat(298))
}

/// An id of 36 bytes.
fn id(number: usize) -> String {
    format!("{number:036}")
}

/// A record as its queue hands it out. It was queued in the far future: by any clock its message has not waited.
fn record(number: usize, queued: &QueuedMessage) -> QueueRecord {
    let record = QueueRecord::new(&format!("r{number}"), queued.group_id.as_deref().unwrap(), &queued.body);
    record.queued_at(1 << 42)
}

/// The functions behind the queues, with the calls that they have cost.
struct Counted {
    world: World,
    posts_before: usize,
    sent_before: usize,
    counts: Counts,
}

impl Counted {
    /// Begins to count the calls of a world.
    fn from(world: World) -> Self {
        let (posts_before, sent_before) = (world.connections.record().posts, world.queues.operations().len());
        Self { world, posts_before, sent_before, counts: Counts::default() }
    }

    /// A batch of a queue to its function.
    async fn hand_over(&mut self, function: &Environment, name: &str, records: &[QueueRecord]) {
        let before = self.world.dynamodb.metered_calls().len();
        assert_eq!(invoke(function, records).await, Vec::<String>::new());
        self.counts.add_calls([name, "ReceiveMessage", "DeleteMessageBatch"]);
        self.counts.add_metered(without_haste(self.world.dynamodb.metered_calls().split_off(before)));
    }

    fn counts(mut self) -> Counts {
        self.counts.add_calls(self.world.queues.operations().split_off(self.sent_before));
        let posts = self.world.connections.record().posts - self.posts_before;
        self.counts.add("Posts", f64::from(u32::try_from(posts).unwrap()));
        self.counts
    }
}

/// The calls of an invocation without those that are made only because a machine is busy: the first page is read anew
/// when the append took long, and a broadcast that takes seconds notes its progress on the way.
fn without_haste(calls: Vec<MeteredCall>) -> Vec<MeteredCall> {
    let (mut pages, mut kept) = (HashSet::new(), Vec::new());
    let is_progress = |call: &MeteredCall| call.operation == "PutItem" && call.body["Item"].get("upTo").is_some();
    let last_of_shard = calls.iter().rposition(|call| is_progress(call) && call.body["Item"]["seq"]["N"] != "-1");
    for (position, call) in calls.into_iter().enumerate() {
        let is_first_page = call.body.get("IndexName").is_some() && call.body.get("ExclusiveStartKey").is_none();
        let is_again = is_first_page && !pages.insert(call.body["ExpressionAttributeValues"].to_string());
        if !is_again && (!is_progress(&call) || last_of_shard == Some(position)) {
            kept.push(call);
        }
    }
    kept
}

/// Lets an environment get to know rooms whose logs exist, without being counted.
async fn warm_up(world: &World, fanout: &Environment, rooms: &[&str]) {
    for room in rooms {
        let first = QueueRecord::message(room, &id(999_999), &data()).queued_at(1 << 42);
        assert_eq!(invoke(fanout, &[first]).await, Vec::<String>::new());
    }
    assert_eq!(world.connections.record().posts, 0, "members come later");
}

/// Whether a call is part of a message's way in. The looks at congestion that are made beside it are not counted.
fn is_put(operation: &str) -> bool {
    !["GetQueueAttributes", "Query"].contains(&operation)
}

#[tokio::test]
async fn a_chat_costs_what_the_model_says() {
    let (rooms, members, messages) = (["room-a", "room-b", "room-c"], 60, 8_u8);
    let (aws, looks) = (AwsServer::start(), DynamoDb::start());
    let message = to_queue("message", &aws)
        .env("AWS_ENDPOINT_URL_DYNAMODB", looks.url())
        .env("INGEST_SINK", "sqs")
        .env("SUBJECT_MESSAGES_PER_SECOND", 0);
    let message = message.start().await.unwrap();
    let world = World::start();
    let fanout = world.fanout().start().await.unwrap();
    warm_up(&world, &fanout, &rooms).await;
    for room in rooms {
        world.seed(room, &format!("{room}-connect-"), members);
    }
    let mut counted = Counted::from(world);
    for number in 0..usize::from(messages) {
        for room in rooms {
            let frame = json!({ "action": "sendMessage", "roomId": room, "id": id(number), "data": data() });
            let reply = message.invoke(&events::frame("c=", "alice", &frame.to_string())).await;
            assert!(reply.response()["body"].as_str().unwrap().contains("accepted"));
            counted.counts.add_calls(["Message", "FramesIn", "Replies"]);
        }
    }
    counted.counts.add_calls(aws.operations().into_iter().filter(|operation| is_put(operation)));
    for (number, queued) in aws.messages("broadcasts.fifo").iter().enumerate() {
        counted.hand_over(&fanout, "Fanout", &[record(number, queued)]).await;
    }

    let workload = json!({
        "days": 1, "subjectBytes": 5, "roomIdBytes": 6, "fixed": false,
        "rooms": [{
            "count": 3, "members": members, "messagesPerSecond": f64::from(messages) / 3_600.0, "hoursPerDay": 1, "messagesPerPost": 1,
        }],
    });
    counted.counts().assert_model(&Counts::of_model(&workload, &PARTS), &NOT_COUNTED);
}

/// Events in tens: each ten is a full batch, and ten full batches are one post.
#[tokio::test]
async fn a_busy_feed_of_events_costs_what_the_model_says() {
    let (members, batches) = (1_200, 10);
    let (aws, looks) = (AwsServer::start(), DynamoDb::start());
    let relay = to_queue("relay", &aws).env("AWS_ENDPOINT_URL_DYNAMODB", looks.url());
    let relay = relay.start().await.unwrap();
    let world = World::start();
    let (fanout, shards) = (world.fanout().start().await.unwrap(), world.fanout().start().await.unwrap());
    warm_up(&world, &fanout, &["prices"]).await;
    world.seed("prices", "connection-0", members);
    let mut counted = Counted::from(world);
    for batch in 0..batches {
        let events = (10 * batch..10 * batch + 10).map(|number| {
            let detail = json!({ "roomId": "prices", "data": "x".repeat(98), "id": id(number) });
            let mut event = events::bus_event(&id(number), "prices.eu", &detail);
            event.as_object_mut().unwrap().remove("time");
            event
        });
        assert!(events::batch_item_failures(relay.invoke(&event_batch(events)).await.response()).is_empty());
        // The rule has sent each of them.
        counted.counts.add("SendMessage", 10.0);
        counted.counts.add_calls(["Relay", "ReceiveMessage", "DeleteMessageBatch"]);
    }
    counted.counts.add_calls(aws.operations().into_iter().filter(|operation| is_put(operation)));
    let records: Vec<_> =
        aws.messages("broadcasts.fifo").iter().enumerate().map(|(number, queued)| record(number, queued)).collect();
    for records in records.chunks(10) {
        counted.hand_over(&fanout, "Fanout", records).await;
    }
    let jobs = counted.world.job_records();
    assert_eq!((records.len(), jobs.len()), (100, 10));
    counted.hand_over(&shards, "ShardsFunction", &jobs).await;

    let workload = json!({
        "days": 1, "subjectBytes": 9, "roomIdBytes": 6, "fixed": false,
        "rooms": [{
            "members": members, "messagesPerSecond": 100.0 / 3_600.0, "hoursPerDay": 1, "bytes": 100, "via": "events",
            "burst": 10, "messagesPerPost": 100,
        }],
    });
    counted.counts().assert_model(&Counts::of_model(&workload, &PARTS), &NOT_COUNTED);
}

/// Messages in fours to a small room, and single ones to a room that is cut into shards.
#[tokio::test]
async fn packed_and_sharded_rooms_cost_what_the_model_says() {
    let (members, batches) = ([520, 1_600], 3);
    let world = World::start();
    let function = || world.fanout().env("FANOUT_SHARD_SIZE", 1_000).env("FANOUT_SHARDS", 4);
    let (fanout, shards) = (function().start().await.unwrap(), function().start().await.unwrap());
    warm_up(&world, &fanout, &["small"]).await;
    world.seed("small", "connection-0", members[0]);
    world.seed("large", "connection-1", members[1]);
    // The large room must have its members before its first message, so that it is in shards from the beginning.
    let first = QueueRecord::message("large", &id(999_999), &data()).queued_at(1 << 42);
    assert_eq!(invoke(&fanout, &[first]).await, Vec::<String>::new());
    let first = world.job_records();
    assert_eq!(invoke(&shards, &first).await, Vec::<String>::new());
    let begun = first.len();
    let mut counted = Counted::from(world);
    for batch in 0..batches {
        let of = |room: &str, number: usize| QueueRecord::message(room, &id(number), &data()).queued_at(1 << 42);
        let four: Vec<_> = (4 * batch..4 * batch + 4).map(|number| of("small", number)).collect();
        counted.hand_over(&fanout, "Fanout", &four).await;
        counted.hand_over(&fanout, "Fanout", &[of("large", batch)]).await;
    }
    // A producer has sent them: in fours, and one by one.
    counted.counts.add_calls(["SendMessageBatch"; 3].into_iter().chain(["SendMessage"; 3]));
    let jobs = counted.world.job_records().split_off(begun);
    assert_eq!(jobs.len(), 4 * batches);
    for shard in 0..4 {
        let group = format!("large/{shard}");
        for job in jobs.iter().filter(|job| job.group == group) {
            counted.hand_over(&shards, "ShardsFunction", std::slice::from_ref(job)).await;
        }
    }

    let rooms = |number: usize, messages: f64, burst: f64| {
        json!({
            "members": members[number], "messagesPerSecond": messages / 3_600.0, "hoursPerDay": 1, "via": "queue",
            "burst": burst, "messagesPerPost": burst,
        })
    };
    let workload = json!({
        "days": 1, "subjectBytes": 5, "roomIdBytes": 5, "fixed": false, "fanoutShardSize": 1_000, "fanoutShards": 4,
        "rooms": [rooms(0, 12.0, 4.0), rooms(1, 3.0, 1.0)],
    });
    counted.counts().assert_model(&Counts::of_model(&workload, &PARTS), &NOT_COUNTED);
}
