//! The functions behind the routes.

use serde_json::{Value, json};
use tests::aws_server::AwsServer;
use tests::events;
use tests::runtime_api::Function;

#[tokio::test]
async fn a_sent_message_costs_one_call_and_nothing_else() {
    let aws = AwsServer::start();
    let message = Function::of_workspace("message")
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("INGEST_SINK", "sqs")
        .env("QUEUE_URL", aws.queue_url("broadcasts.fifo"))
        .start()
        .await
        .unwrap();
    let frame = json!({ "action": "sendMessage", "roomId": "room", "data": [1, 2], "requestId": "q", "id": "m1" });
    let response = message.invoke(&events::frame("c=", "alice", &frame.to_string())).await.response().clone();
    let reply: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
    assert_eq!(reply, json!({ "type": "accepted", "requestId": "q", "roomId": "room", "id": "m1" }));

    assert_eq!(aws.operations(), ["SendMessage"]);
    let queued = aws.messages("broadcasts.fifo");
    assert_eq!(queued[0].group_id.as_deref(), Some("room"));
    assert_eq!((&queued[0].json()["from"], &queued[0].json()["data"]), (&json!("alice"), &json!([1, 2])));
}

#[tokio::test]
async fn wrong_variables_are_all_named_at_start() {
    let message = Function::of_workspace("message").env("INGEST_SINK", "carrier pigeon").env("LOG_LEVEL", "loud");
    let error = message.start().await.unwrap_err();
    assert!(error.status.is_some_and(|status| !status.success()), "{error}");
    for name in ["INGEST_SINK", "LOG_LEVEL"] {
        assert!(error.output.contains(name), "{name} is not named in: {}", error.output);
    }
}
