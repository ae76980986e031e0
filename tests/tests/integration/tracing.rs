//! Traces: the X-Ray header of a message goes through queues and the bus, to all that the message causes later.

use serde_json::json;
use testkit::aws_server::AwsServer;
use testkit::connections_server::Scripted;
use testkit::dynamodb::CONGESTION_TABLE;
use testkit::events::{self, QueueRecord, bus_event, event_batch, queue_batch, traced};
use testkit::runtime_api::Function;

use crate::fanout::{World, message};

/// The header of an invocation that is traced.
const SAMPLED: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0";

/// The header of a producer's request.
const PRODUCERS: &str = "Root=1-6789e988-000000000000000000000007;Parent=0000000000000007;Sampled=1";

/// A header that is not sampled.
const UNSAMPLED: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";

/// A function that sends messages or events to the rooms' queue, or to the bus.
fn function(name: &str, aws: &AwsServer, sink: &str) -> Function {
    Function::of_workspace(name)
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("CONGESTION_TABLE", CONGESTION_TABLE)
        .env("INGEST_SINK", sink)
        .env("EVENT_BUS_NAME", "room-bus")
        .env("QUEUE_URL", aws.queue_url("broadcasts.fifo"))
        .env("DLQ_URL", aws.queue_url("dead.fifo"))
        .env("CONNECTIONS_ENDPOINT", "http://127.0.0.1:9/production")
}

fn traces(aws: &AwsServer, queue: &str) -> Vec<Option<String>> {
    aws.messages(queue).into_iter().map(|message| message.trace).collect()
}

#[tokio::test]
async fn a_sent_message_takes_its_trace_to_the_queue_or_the_bus_when_it_is_traced() {
    for (header, expected) in [(SAMPLED, Some(SAMPLED)), (UNSAMPLED, None)] {
        let aws = AwsServer::start();
        let frame = json!({ "action": "sendMessage", "roomId": "room", "data": 1 }).to_string();
        for sink in ["sqs", "eventbridge"] {
            let message = function("message", &aws, sink).trace(header).start().await.unwrap();
            message.invoke(&events::frame("c=", "alice", &frame)).await.response();
        }
        assert_eq!(traces(&aws, "broadcasts.fifo"), [expected.map(str::to_owned)]);
        let events = aws.events();
        assert_eq!((events.len(), events[0].get("TraceHeader").and_then(|header| header.as_str())), (1, expected));
    }
}

#[tokio::test]
async fn an_event_keeps_its_producers_trace() {
    let aws = AwsServer::start();
    let relay = function("relay", &aws, "sqs").trace(SAMPLED).start().await.unwrap();
    let events = [bus_event("e", "prices.eu", &json!({ "roomId": "room", "data": 1 })), json!("poison")];
    relay.invoke(&traced(event_batch(&events), PRODUCERS)).await.response();
    let expected = [Some(PRODUCERS.to_owned())];
    assert_eq!((traces(&aws, "broadcasts.fifo"), traces(&aws, "dead.fifo")), (expected.to_vec(), expected.to_vec()));
    let untraced = bus_event("f", "prices.eu", &json!({ "roomId": "room", "data": 1 }));
    relay.invoke(&event_batch([untraced])).await.response();
    assert_eq!(traces(&aws, "broadcasts.fifo")[1], None, "the batch's own trace is nobody's");
}

#[tokio::test]
async fn a_broadcasts_shards_are_of_its_trace() {
    for (header, expected) in [(SAMPLED, Some(SAMPLED.to_owned())), (UNSAMPLED, None)] {
        let world = World::start();
        world.seed("room", "c", 6);
        world.script_prefix("c", Scripted::ok());
        let function = world.fanout().env("FANOUT_SHARD_SIZE", 4).env("FANOUT_SHARDS", 2).trace(header);
        let fanout = function.start().await.unwrap();
        let batch = [message("room", "m"), QueueRecord::new("p", "room", "poison")];
        fanout.invoke(&traced(queue_batch(&batch), PRODUCERS)).await.response();
        assert_eq!(traces(&world.queues, "shards.fifo"), [expected.clone(), expected]);
        assert_eq!(traces(&world.queues, "dead.fifo"), [Some(PRODUCERS.to_owned())], "a dead letter keeps its own");
    }
}
