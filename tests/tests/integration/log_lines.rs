//! Log lines: a message is found by its id in the log of every function that it passes, and its data in none.

use serde_json::{Value, json};
use testkit::aws_server::AwsServer;
use testkit::events::{self, QueueRecord, bus_event, event_batch};
use testkit::runtime_api::{Environment, Function};

use crate::fanout::{World, invoke};
use crate::ingest::to_queue;

/// The data of the messages.
const SAID: &str = "whispered";

/// A function that logs everything it can.
fn traced(name: &str, aws: &AwsServer) -> Function {
    to_queue(name, aws).env("LOG_LEVEL", "trace")
}

/// The lines of a function with this text that name a message, alone or among others.
async fn lines_about(function: &Environment, text: &str, id: &str) -> Vec<Value> {
    let names =
        |line: &Value| line["id"] == id || line["ids"].as_str().is_some_and(|ids| ids.contains(&format!("\"{id}\"")));
    function.logged(1, |line| line["message"] == text && names(line)).await
}

fn assert_silent(function: Environment) {
    let output = function.end();
    assert!(!output.is_empty());
    assert!(output.iter().all(|line| !line.contains(SAID)), "{output:?}");
}

#[tokio::test]
async fn a_message_is_found_by_its_id_in_every_function_and_what_it_says_in_none() {
    let world = World::start();
    world.seed("room", "c", 6);
    let (message, relay) = (traced("message", &world.queues), traced("relay", &world.queues));
    let (message, relay) = (message.start().await.unwrap(), relay.start().await.unwrap());
    let frame = json!({ "action": "sendMessage", "roomId": "room", "id": "m", "data": SAID });
    message.invoke(&events::frame("c=", "alice", &frame.to_string())).await.response();
    relay.invoke(&event_batch([bus_event("e", "prices", &json!({ "roomId": "room", "data": SAID }))])).await.response();
    for (function, id) in [(&message, "m"), (&relay, "e")] {
        let lines = lines_about(function, "accepted", id).await;
        assert_eq!((lines.len(), &lines[0]["room"]), (1, &json!("room")), "{lines:?}");
    }

    let function = world.fanout().env("FANOUT_SHARD_SIZE", 4).env("FANOUT_SHARDS", 2).env("LOG_LEVEL", "trace");
    let (fanout, shards) = (function.start().await.unwrap(), function.start().await.unwrap());
    let queued = world.queues.messages("broadcasts.fifo");
    let records: Vec<_> =
        queued.iter().map(|queued| QueueRecord::new(&queued.message_id, "room", &queued.body)).collect();
    assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());
    assert_eq!(invoke(&shards, &world.job_records()).await, Vec::<String>::new());
    let numbers: Vec<_> = world.dynamodb.log("room").iter().map(|row| row["seq"].clone()).collect();
    for (function, text, lines) in [(&fanout, "broadcast in shards", 1), (&shards, "broadcast", 2)] {
        for id in ["m", "e"] {
            let found = lines_about(function, text, id).await;
            assert_eq!(found.len(), lines, "{found:?}");
            let expected = (&json!("room"), &numbers[0], &numbers[1]);
            assert!(
                found.iter().all(|line| (&line["room"], &line["firstSeq"], &line["lastSeq"]) == expected),
                "{found:?}"
            );
        }
    }
    for function in [message, relay, fanout, shards] {
        assert_silent(function);
    }
}

#[tokio::test]
async fn what_is_refused_is_not_repeated_in_a_log_either() {
    let world = World::start();
    let (message, relay) = (traced("message", &world.queues), traced("relay", &world.queues));
    let (message, relay) = (message.start().await.unwrap(), relay.start().await.unwrap());
    let fanout = world.fanout().env("LOG_LEVEL", "trace").start().await.unwrap();
    let unreadable = format!("{{\"roomId\":\"room\",\"data\":\"{SAID}\"");
    let without_room = json!({ "data": SAID });
    for text in [unreadable.clone(), json!({ "action": "sendMessage", "data": SAID }).to_string()] {
        message.invoke(&events::frame("c=", "alice", &text)).await.response();
    }
    relay
        .invoke(&event_batch([unreadable.clone(), bus_event("e", "prices", &without_room).to_string()]))
        .await
        .response();
    let records = [QueueRecord::new("a", "room", unreadable), QueueRecord::new("b", "room", without_room)];
    assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());
    fanout.logged(2, |line| line["message"] == "dead letter").await;
    for function in [message, relay, fanout] {
        assert_silent(function);
    }
}
