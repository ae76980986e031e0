//! Events of the bus on their way to the rooms' queue.

use serde_json::{Value, json};
use testkit::aws_endpoint::{Call, Fault, Rule};
use testkit::aws_server::AwsServer;
use testkit::events::{batch_item_failures, bus_event, event_batch};
use testkit::runtime_api::Environment;

use super::{puts, to_queue};

async fn relay(aws: &AwsServer) -> Environment {
    to_queue("relay", aws).start().await.unwrap()
}

/// Hands a batch of bodies to the function; returns the records that it leaves in their queue.
async fn deliver<B: ToString>(relay: &Environment, bodies: impl IntoIterator<Item = B>) -> Vec<String> {
    batch_item_failures(relay.invoke(&event_batch(bodies)).await.response())
}

fn event(id: &str, detail: &Value) -> Value {
    bus_event(id, "prices.eu", detail)
}

/// An event for a room, with its number as its data.
fn numbered(room: &str, number: usize) -> Value {
    event(&format!("e-{number}"), &json!({ "roomId": room, "data": number }))
}

/// The data of the messages that the rooms' queue has taken.
fn queued(aws: &AwsServer) -> Vec<Value> {
    aws.messages("broadcasts.fifo").iter().map(|message| message.json()["data"].clone()).collect()
}

fn is_to(queue: &'static str) -> impl Fn(&Call) -> bool + Send + 'static {
    move |call| call.body["QueueUrl"].as_str().is_some_and(|url| url.ends_with(queue))
}

#[tokio::test]
async fn events_become_messages_in_their_rooms_groups() {
    let aws = AwsServer::start();
    let named = json!({ "roomId": "other", "data": 2, "id": "m", "from": "carol", "key": "k", "version": 9 });
    let events = [event("e-1", &json!({ "roomId": "room", "data": { "p": 1 } })), event("e-2", &named)];
    assert!(deliver(&relay(&aws).await, events).await.is_empty());

    assert_eq!(puts(&aws), ["SendMessageBatch"]);
    let queued = aws.messages("broadcasts.fifo");
    let groups: Vec<_> = queued.iter().map(|message| message.group_id.as_deref().unwrap()).collect();
    assert_eq!(groups, ["room", "other"]);
    let (first, second) = (queued[0].json(), queued[1].json());
    assert_eq!(
        (&first["id"], &first["from"], &first["data"]),
        (&json!("e-1"), &json!("prices.eu"), &json!({ "p": 1 }))
    );
    assert_eq!((&second["id"], &second["from"]), (&json!("m"), &json!("carol")));
    assert_eq!((&second["key"], &second["version"]), (&json!("k"), &json!(9)));
}

#[tokio::test]
async fn a_hundred_events_of_one_room_take_ten_calls() {
    let aws = AwsServer::start();
    let relay = relay(&aws).await;
    for batch in 0..10 {
        let events = (0..10).map(|number| numbered("room", 10 * batch + number));
        assert!(deliver(&relay, events).await.is_empty());
    }
    assert_eq!(puts(&aws), ["SendMessageBatch"; 10]);
    assert_eq!(queued(&aws), (0..100).map(|number| json!(number)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_rooms_messages_are_sent_by_their_version() {
    let aws = AwsServer::start();
    let versions = [7, 3, 9, 3, 1];
    let events = versions.iter().enumerate().map(|(number, version)| {
        event(&format!("e-{number}"), &json!({ "roomId": "room", "key": "k", "version": version, "data": number }))
    });
    assert!(deliver(&relay(&aws).await, events).await.is_empty());
    assert_eq!(queued(&aws), [4, 1, 3, 0, 2].map(|number: u64| json!(number)));
}

#[tokio::test]
async fn an_event_that_is_delivered_twice_is_one_message() {
    let aws = AwsServer::start();
    let relay = relay(&aws).await;
    let one = || numbered("room", 1);
    deliver(&relay, [one(), one()]).await;
    deliver(&relay, [one()]).await;
    assert_eq!((puts(&aws).len(), queued(&aws).len()), (2, 1));
}

/// An event may come a second time hours later: a message of that age is searched for in the log.
#[tokio::test]
async fn a_message_is_as_old_as_its_event() {
    let aws = AwsServer::start();
    let mut told = numbered("room", 1);
    told["time"] = json!("2026-11-21T00:00:07Z");
    let mut untold = numbered("room", 2);
    untold.as_object_mut().unwrap().remove("time");
    let mut batch = event_batch([told, untold]);
    batch["Records"][1]["attributes"]["SentTimestamp"] = json!("1795219999000");
    relay(&aws).await.invoke(&batch).await.response();
    let sent_at: Vec<_> =
        aws.messages("broadcasts.fifo").iter().map(|message| message.json()["sentAt"].clone()).collect();
    assert_eq!(sent_at, [json!(1_795_219_207_000_u64), json!(1_795_219_999_000_u64)]);
}

#[tokio::test]
async fn a_moments_throttle_is_waited_for() {
    let aws = AwsServer::start();
    aws.fault(Rule::on("SendMessageBatch", Fault::throttling()).times(2));
    assert!(deliver(&relay(&aws).await, [numbered("room", 1)]).await.is_empty());
    assert_eq!((puts(&aws).len(), queued(&aws).len()), (3, 1));
}

#[tokio::test]
async fn what_can_never_be_a_message_goes_to_the_dead_letter_queue_with_its_reason() {
    let aws = AwsServer::start();
    let refused = [
        (json!({ "data": 1 }), "`roomId` is missing", "no-room"),
        (json!({ "roomId": "a b", "data": 1 }), "`roomId` may only have the characters", "no-room"),
        (json!({ "roomId": "room" }), "`data` is missing", "room"),
        (json!({ "roomId": "room", "data": "x".repeat(130_000) }), "too large", "room"),
        (json!({ "roomId": "room", "data": 1, "version": 1.5 }), "`version` must be an integer", "room"),
        (json!([1]), "not a JSON object", "no-room"),
    ];
    let events = refused.iter().enumerate().map(|(number, (detail, ..))| event(&format!("e-{number}"), detail));
    let mut events: Vec<_> = events.collect();
    events.push(numbered("room", 7));
    assert!(deliver(&relay(&aws).await, &events).await.is_empty());
    assert_eq!(queued(&aws), [json!(7)], "the good one is not held up");
    assert_eq!(puts(&aws).len(), 2, "one call for each queue");
    let letters = aws.messages("dead.fifo");
    assert_eq!(letters.len(), refused.len());
    for ((event, (_, reason, group)), letter) in events.iter().zip(&refused).zip(&letters) {
        let told = letter.attribute("reason").unwrap();
        assert!(told.contains(reason), "{told}");
        assert_eq!(letter.group_id.as_deref(), Some(*group));
        assert_eq!(letter.json(), *event, "the event as it came");
    }
}

#[tokio::test]
async fn what_is_no_event_goes_to_the_dead_letter_queue_as_it_came() {
    let aws = AwsServer::start();
    let bodies = ["{", "", "[]", "7", r#"{"detail":{"roomId":"room","data":1}}"#];
    let relay = relay(&aws).await;
    for _ in 0..2 {
        assert!(deliver(&relay, bodies).await.is_empty());
    }
    let letters = aws.messages("dead.fifo");
    // An SQS body is never empty.
    assert_eq!(letters.iter().map(|letter| letter.body.as_str()).collect::<Vec<_>>(), ["{", " ", "[]", "7", bodies[4]]);
    assert!(letters.iter().all(|letter| letter.group_id.as_deref() == Some("no-room")));
    assert!(letters.iter().all(|letter| letter.attribute("reason").is_some()));
}

#[tokio::test]
async fn only_what_the_queue_did_not_take_stays_in_its_own() {
    let aws = AwsServer::start();
    // The SDK tries neither an entry that failed nor one that was throttled again.
    aws.fault(Rule::on("SendMessageBatch", Fault::failed_entries(&[0, 4], "InternalError")).times(1));
    aws.fault(Rule::on("SendMessageBatch", Fault::failed_entries(&[1], "RequestThrottled")).times(1));
    let relay = relay(&aws).await;
    // Two rooms: the failure of a record holds up neither the other room nor its own.
    let events: Vec<_> = (0..6).map(|number| numbered(["a", "b"][number % 2], number)).collect();
    assert_eq!(deliver(&relay, &events).await, ["r-0", "r-4"]);
    assert_eq!(deliver(&relay, [&events[0], &events[4]]).await, ["r-1"]);
    assert!(deliver(&relay, [&events[4]]).await.is_empty());
    assert_eq!(queued(&aws), [1, 2, 3, 5, 0, 4].map(|number: u64| json!(number)), "each of them once");
}

#[tokio::test]
async fn what_the_queue_refuses_for_good_is_a_dead_letter() {
    let aws = AwsServer::start();
    let refused = Rule::on("SendMessageBatch", Fault::failed_entries(&[1], "InvalidMessageContents"));
    aws.fault(refused.when(is_to("broadcasts.fifo")));
    let events: Vec<_> = (0..3).map(|number| numbered("room", number)).collect();
    assert!(deliver(&relay(&aws).await, &events).await.is_empty());
    assert_eq!(queued(&aws), [json!(0), json!(2)]);
    let letters = aws.messages("dead.fifo");
    assert_eq!((letters.len(), letters[0].json()), (1, events[1].clone()));
    assert_eq!(letters[0].group_id.as_deref(), Some("room"));
    assert!(letters[0].attribute("reason").unwrap().contains("InvalidMessageContents"));
}

#[tokio::test]
async fn what_no_queue_takes_is_delivered_again() {
    let (message, poison) = (json!({ "roomId": "room", "data": 1 }), json!({ "data": 1 }));
    for (fault, detail) in [
        (Fault::access_denied(), &message),
        (Fault::access_denied(), &poison),
        (Fault::failed_entries(&[0], "InternalError"), &poison),
        // Not even the dead-letter queue takes the record, which must not be lost.
        (Fault::failed_entries(&[0], "InvalidMessageContents"), &poison),
    ] {
        let aws = AwsServer::start();
        aws.fault(Rule::on("SendMessageBatch", fault).times(1));
        let relay = relay(&aws).await;
        assert_eq!(deliver(&relay, [event("e-1", detail)]).await, ["r-0"]);
        assert!(deliver(&relay, [event("e-1", detail)]).await.is_empty());
        assert_eq!(aws.messages("broadcasts.fifo").len() + aws.messages("dead.fifo").len(), 1);
    }
}

#[tokio::test]
async fn an_event_that_wants_to_be_ephemeral_is_a_dead_letter_with_its_reason() {
    let aws = AwsServer::start();
    let ephemeral = event("e-1", &json!({ "roomId": "room", "data": 1, "ephemeral": true }));
    let logged = event("e-2", &json!({ "roomId": "room", "data": 2, "ephemeral": false }));
    assert!(deliver(&relay(&aws).await, [ephemeral, logged]).await.is_empty());
    assert_eq!(queued(&aws), [json!(2)]);
    let [letter] = &aws.messages("dead.fifo")[..] else { panic!("one letter") };
    assert_eq!(letter.group_id.as_deref(), Some("room"));
    let reason = letter.attribute("reason").unwrap();
    assert!(reason.starts_with("`ephemeral` must be left out"), "{reason}");
}
