//! Members' rows.

use serde_json::{Value, json};
use shared::clock::Clock;
use testkit::events;

use super::world::{LEASE, World};

/// The fields of a row about presence: `memberOf`, `listed`, `data`.
fn presence_of(row: &Value) -> (Option<&str>, bool, Option<&str>) {
    assert_eq!(row["memberOf"].is_string(), row["presentUntil"].is_u64(), "{row}");
    (row["memberOf"].as_str(), row["listed"] == true, row["data"].as_str())
}

#[tokio::test]
async fn who_wants_to_be_listed_is_where_the_room_has_a_list() {
    let world = World::new();
    for (room, listed, counted) in
        [("plain", false, false), ("chat:1", true, true), ("shop:1", false, true), ("both:1", true, true)]
    {
        let joined = world.enter("ann-1=", room, json!({ "name": "Ann" })).await;
        assert_eq!(
            (&joined.reply["type"], joined.reply.get("presence").is_some()),
            (&json!("joined"), listed),
            "{room}"
        );
        let row = world.row("ann-1=", room);
        let data = listed.then_some(r#"{"name":"Ann"}"#);
        assert_eq!(presence_of(&row), (counted.then_some(room), listed, data), "{room}");
        let until = world.clock.unix_seconds() + LEASE;
        assert!(!counted || row["presentUntil"].as_u64().unwrap().abs_diff(until) <= 1, "{row}");
        assert_eq!(row["userId"], "ann");
    }
}

#[tokio::test]
async fn who_does_not_want_to_be_listed_counts_only_where_everybody_does() {
    let world = World::new();
    for (room, counted) in [("plain", false), ("chat:1", false), ("shop:1", true), ("both:1", true)] {
        let joined = world.join("ann-1=", room).await;
        assert!(joined.reply.get("presence").is_none() && joined.reply.get("now").is_none(), "{}", joined.reply);
        assert_eq!(presence_of(&world.row("ann-1=", room)), (counted.then_some(room), false, None), "{room}");
        // A handshake that joins the room puts the same row.
        assert_eq!(world.session.connect("bob-1=", room).await.status, 200);
        assert_eq!(presence_of(&world.row("bob-1=", room)), (counted.then_some(room), false, None), "{room}");
    }
}

#[tokio::test]
async fn joining_again_with_other_data_is_an_update_and_without_presence_an_end() {
    let world = World::new();
    world.enter("ann-1=", "chat:1", json!(1)).await;
    world.enter("ann-1=", "chat:1", json!({ "mood": "\u{fffe}" })).await;
    assert_eq!(presence_of(&world.row("ann-1=", "chat:1")), (Some("chat:1"), true, Some("{\"mood\":\"\u{fffe}\"}")));
    world.ask("ann-1=", json!({ "action": "joinRoom", "roomId": "chat:1", "presence": true })).await;
    assert_eq!(presence_of(&world.row("ann-1=", "chat:1")), (Some("chat:1"), true, None), "data are not kept");
    world.join("ann-1=", "chat:1").await;
    assert_eq!(presence_of(&world.row("ann-1=", "chat:1")), (None, false, None));
    world.enter("ann-1=", "both:1", json!(1)).await;
    world.join("ann-1=", "both:1").await;
    assert_eq!(presence_of(&world.row("ann-1=", "both:1")), (Some("both:1"), false, None), "counted, not listed");
}

#[tokio::test]
async fn nobody_is_present_for_longer_than_the_token_lasts() {
    let world = World::new();
    let ends_at = world.clock.unix_seconds() + 60;
    let mut frame = events::frame("ann-1=", "ann", r#"{"action":"joinRoom","roomId":"chat:1","presence":true}"#);
    frame["requestContext"]["authorizer"] = events::granted("ann", &events::everywhere(), ends_at);
    world.session.handle(frame).await;
    let row = world.row("ann-1=", "chat:1");
    assert_eq!(row["presentUntil"], row["expiresAt"]);
    assert!(row["presentUntil"].as_u64().unwrap() <= ends_at + 5);
}

#[tokio::test]
async fn data_that_are_too_large_or_unreadable_are_refused_and_nothing_is_written() {
    let world = World::new();
    let large = json!("x".repeat(1_023));
    for (presence, data, told) in [
        (true, large.to_string(), "`presenceData` must have at most 1024 bytes"),
        (true, "1e999".to_owned(), "`presenceData` must be readable everywhere"),
        (false, "1".to_owned(), "`presenceData` must come with `presence`"),
    ] {
        let text = format!(r#"{{"action":"joinRoom","roomId":"chat:1","presence":{presence},"presenceData":{data}}}"#);
        let refused = world.session.handle(events::frame("ann-1=", "ann", &text)).await;
        assert_eq!(refused.reply["code"], "bad_request");
        assert!(refused.reply["message"].as_str().unwrap().starts_with(told), "{}", refused.reply);
    }
    assert_eq!((world.dynamodb.endpoint().operations().len(), world.ticked().len()), (0, 0));
}
