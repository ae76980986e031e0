//! Dead letters. Scenarios that look for their letters have the faulty stack one at a time: of more than ten letters
//! in a queue, those further behind in a group are not handed out.

use aws_sdk_sqs::types::MessageAttributeValue;
use serde_json::json;
use testkit::stack::LocalStack;

use super::roomcast;
use crate::events::put_all;
use crate::stacks::Stacks;
use crate::tables::{enqueue, log, reason_of_dead_letter};
use crate::wait::until;

/// Puts a letter as fan-out does.
async fn put_letter(stack: &LocalStack, group: &str, id: &str, body: &str, reason: &str) {
    let client = aws_sdk_sqs::Client::new(&stack.sdk_config());
    let reason = MessageAttributeValue::builder().data_type("String").string_value(reason).build().unwrap();
    let send = client.send_message().queue_url(&stack.description().dlq_url).message_body(body);
    let send = send.message_group_id(group).message_deduplication_id(id).message_attributes("reason", reason);
    send.send().await.unwrap();
}

pub(crate) async fn dead_letters_are_listed_shown_and_discarded(stacks: &Stacks) {
    let alone = stacks.faulty().await;
    let stack = &alone.stack;
    let room = "cli:letters";
    for number in 0..3 {
        let id = format!("letters-{number}");
        enqueue(stack, room, &id, &json!({ "roomId": room, "id": id }).to_string()).await;
        reason_of_dead_letter(stack, &format!("\"{id}\"")).await;
    }
    let list = async |words: &[&str]| {
        let words = [&["dlq", "list", "--room", room, "--json"], words].concat();
        roomcast(stack, &words).await.ended_with(0).json()
    };
    let all = list(&[]).await;
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!((&all[0]["kind"], &all[0]["reason"]), (&json!("message"), &json!("`data` is missing")));
    assert!(all[0].get("body").is_none());
    // They are visible again at once.
    assert_eq!(list(&["--reason", "data"]).await.len(), 3);
    assert_eq!(list(&["--reason", "something else"]).await.len(), 0);
    assert_eq!(list(&["--id", "letters-1"]).await[0]["id"], "letters-1");
    assert_eq!(list(&["--limit", "2"]).await.len(), 2);
    let shown = roomcast(stack, &["dlq", "show", "--id", "letters-2", "--json"]).await.ended_with(0).json();
    assert_eq!(shown[0]["body"], json!({ "roomId": room, "id": "letters-2" }));

    let discard = ["dlq", "discard", "--room", room, "--id", "letters-1"];
    roomcast(stack, &[&discard[..], &["--dry-run"]].concat()).await.ended_with(0);
    assert_eq!(list(&[]).await.len(), 3);
    let said = roomcast(stack, &[&discard[..], &["--yes"]].concat()).await.ended_with(0);
    assert!(said.out.contains("1 letters discarded, 0 kept"), "{said:?}");
    let left: Vec<_> = list(&[]).await.into_iter().map(|letter| letter["id"].clone()).collect();
    assert_eq!(left, ["letters-0", "letters-2"]);
}

pub(crate) async fn a_dead_letter_is_redriven_to_where_it_came_from(stacks: &Stacks) {
    let alone = stacks.faulty().await;
    let stack = &alone.stack;
    let room = "cli:redrive";
    let body = json!({ "roomId": room, "id": "mended", "data": 1 }).to_string();
    put_letter(stack, room, "mended", &body, "a fault that is mended").await;
    let event = json!({
        "id": "event-1", "detail-type": "roomcast.message", "source": "feed", "detail": { "roomId": room, "data": 2 },
    });
    put_letter(stack, room, "event", &event.to_string(), "another fault").await;
    put_letter(stack, room, "cut", "{\"roomId\": ", "too large (the body is cut, it had 300000 bytes)").await;
    let redrive = ["dlq", "redrive", "--room", room, "--json"];
    let dry = roomcast(stack, &[&redrive[..], &["--dry-run"]].concat()).await.ended_with(0).json();
    assert_eq!(dry.len(), 3, "{dry:?}");
    assert!(dry.iter().all(|letter| letter["outcome"] == "chosen"));
    assert!(log(stack, room).await.is_empty());
    // One of the letters can never be sent again.
    let done = roomcast(stack, &redrive).await.ended_with(1).json();
    let outcome = |kind: &str| done.iter().find(|letter| letter["kind"] == kind).unwrap()["outcome"].clone();
    assert_eq!([outcome("message"), outcome("event"), outcome("unreadable")], ["redriven", "redriven", "kept"]);
    until("both are logged", async || (log(stack, room).await.len() == 2).then_some(())).await;
    let left = roomcast(stack, &["dlq", "list", "--room", room, "--json"]).await.ended_with(0).json();
    assert_eq!((left.len(), &left[0]["kind"]), (1, &json!("unreadable")));
}

pub(crate) async fn a_shards_job_is_redriven_to_the_shards(stacks: &Stacks) {
    let alone = stacks.faulty().await;
    let stack = &alone.stack;
    let body = json!({ "roomId": "cli:job", "shard": "none" }).to_string();
    put_letter(stack, "cli:job/0", "job", &body, "a fault").await;
    let done = roomcast(stack, &["dlq", "redrive", "--room", "cli:job", "--json"]).await.json();
    assert_eq!((&done[0]["kind"], &done[0]["outcome"]), (&json!("shard"), &json!("redriven")));
    // The body is no shard job, so the letter comes back, now with the reason that `shards` gives.
    let reason = until("it comes back", async || {
        let letters = roomcast(stack, &["dlq", "list", "--room", "cli:job", "--json"]).await.ended_with(0).json();
        letters.first().map(|letter| letter["reason"].clone())
    })
    .await;
    assert_ne!(reason, "a fault");
}

pub(crate) async fn unmatched_events_are_listed(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let detail = json!({ "roomId": "cli:unmatched", "data": 1 }).to_string();
    let id = put_all(stack, "cli.feed", "roomcast.mesage", &[detail]).await.remove(0);
    // An event that another scenario looks at is hidden meanwhile.
    let letter = until("the event is listed", async || {
        let list = ["dlq", "list", "--queue", "unmatched", "--id", &id, "--json"];
        roomcast(stack, &list).await.ended_with(0).json().pop()
    })
    .await;
    assert_eq!(
        (&letter["kind"], &letter["id"], &letter["room"]),
        (&json!("event"), &json!(id), &json!("cli:unmatched"))
    );
}
