//! Events of the bus on their way to the queue.

use serde_json::json;
use tests::aws_endpoint::{Fault, Rule};
use tests::aws_server::AwsServer;
use tests::events::bus_event;
use tests::runtime_api::{Environment, Function};

async fn relay(aws: &AwsServer) -> Environment {
    let relay = Function::of_workspace("relay")
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("QUEUE_URL", aws.queue_url("broadcasts.fifo"))
        .env("DLQ_URL", aws.queue_url("dead.fifo"));
    relay.start().await.unwrap()
}

#[tokio::test]
async fn an_event_becomes_a_message_in_its_rooms_group() {
    let aws = AwsServer::start();
    let relay = relay(&aws).await;
    relay.invoke(&bus_event("e-1", "prices.eu", &json!({ "roomId": "room", "data": { "p": 1 } }))).await.response();
    let named = json!({ "roomId": "room", "data": 2, "id": "m", "from": "carol", "key": "k", "version": 9 });
    relay.invoke(&bus_event("e-2", "prices.eu", &named)).await.response();

    assert_eq!(aws.operations(), ["SendMessage", "SendMessage"]);
    let queued = aws.messages("broadcasts.fifo");
    assert!(queued.iter().all(|message| message.group_id.as_deref() == Some("room")));
    let (first, second) = (queued[0].json(), queued[1].json());
    assert_eq!(
        (&first["id"], &first["from"], &first["data"]),
        (&json!("e-1"), &json!("prices.eu"), &json!({ "p": 1 }))
    );
    assert_eq!((&second["id"], &second["from"]), (&json!("m"), &json!("carol")));
    assert_eq!((&second["key"], &second["version"]), (&json!("k"), &json!(9)));
}

#[tokio::test]
async fn an_event_that_is_delivered_twice_is_one_message() {
    let aws = AwsServer::start();
    let relay = relay(&aws).await;
    let event = bus_event("e-1", "prices", &json!({ "roomId": "room", "data": 1 }));
    relay.invoke(&event).await.response();
    relay.invoke(&event).await.response();
    assert_eq!((aws.operations().len(), aws.messages("broadcasts.fifo").len()), (2, 1));
}

/// A second delivery may come hours later: by its age it is searched for in the log.
#[tokio::test]
async fn a_message_is_as_old_as_its_event() {
    let aws = AwsServer::start();
    let relay = relay(&aws).await;
    let mut event = bus_event("e-1", "prices", &json!({ "roomId": "room", "data": 1 }));
    event["time"] = json!("2026-11-21T00:00:07Z");
    relay.invoke(&event).await.response();
    assert_eq!(aws.messages("broadcasts.fifo")[0].json()["sentAt"], 1_795_219_207_000_u64);
}

#[tokio::test]
async fn a_moments_throttle_is_waited_for() {
    let aws = AwsServer::start();
    aws.fault(Rule::on("SendMessage", Fault::throttling()).times(2));
    let relay = relay(&aws).await;
    relay.invoke(&bus_event("e-1", "prices", &json!({ "roomId": "room", "data": 1 }))).await.response();
    assert_eq!((aws.operations().len(), aws.messages("broadcasts.fifo").len()), (3, 1));
}

#[tokio::test]
async fn what_can_never_be_a_message_goes_to_the_dead_letter_queue_with_its_reason() {
    let aws = AwsServer::start();
    let relay = relay(&aws).await;
    let refused = [
        (json!({ "data": 1 }), "`roomId` is missing", "no-room"),
        (json!({ "roomId": "a b", "data": 1 }), "`roomId` may only have the characters", "no-room"),
        (json!({ "roomId": "room" }), "`data` is missing", "room"),
        (json!({ "roomId": "room", "data": "x".repeat(130_000) }), "too large", "room"),
        (json!({ "roomId": "room", "data": 1, "version": 1.5 }), "`version` must be an integer", "room"),
        (json!([1]), "not a JSON object", "no-room"),
    ];
    for (number, (detail, _, _)) in refused.iter().enumerate() {
        relay.invoke(&bus_event(&format!("e-{number}"), "prices", detail)).await.response();
    }
    assert!(aws.messages("broadcasts.fifo").is_empty());
    let letters = aws.messages("dead.fifo");
    assert_eq!(letters.len(), refused.len());
    for ((detail, reason, group), letter) in refused.iter().zip(&letters) {
        let told = letter.attribute("reason").unwrap();
        assert!(told.contains(reason), "{told}");
        assert_eq!(letter.group_id.as_deref(), Some(*group));
        assert_eq!(
            (&letter.json()["detail"], &letter.json()["source"]),
            (detail, &json!("prices")),
            "the event as it came"
        );
    }
}

#[tokio::test]
async fn an_event_that_no_queue_takes_fails_the_invocation_so_that_it_is_tried_again() {
    for (operation, fault, detail) in [
        ("SendMessage", Fault::access_denied(), json!({ "roomId": "room", "data": 1 })),
        ("SendMessageBatch", Fault::access_denied(), json!({ "data": 1 })),
        ("SendMessageBatch", Fault::failed_entries(&[0], "InternalError"), json!({ "data": 1 })),
    ] {
        let aws = AwsServer::start();
        aws.fault(Rule::on(operation, fault).times(1));
        let relay = relay(&aws).await;
        let event = bus_event("e-1", "prices", &detail);
        assert!(relay.invoke(&event).await.result.is_err());
        relay.invoke(&event).await.response();
        assert_eq!(aws.messages("broadcasts.fifo").len() + aws.messages("dead.fifo").len(), 1);
    }
}
