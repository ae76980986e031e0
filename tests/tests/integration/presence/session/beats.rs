//! The effects of a member's `sync`: it renews the lease, tells the version of presence, and has rooms looked at that
//! nobody has looked at for long.

use serde_json::{Value, json};
use shared::clock::Clock;
use shared::limits::{MAX_MESSAGE_BYTES, MAX_POST_BYTES};
use testkit::aws_endpoint::{Call, Fault, Rule, json_reply};
use testkit::events;

use super::world::{LEASE, World, sync_of};

fn present_until(row: &Value) -> u64 {
    row["presentUntil"].as_u64().unwrap_or_else(|| panic!("{row}"))
}

fn asking(rooms: &[&str], presence: &[&str]) -> Value {
    let (mut frame, mut revs) = (sync_of(rooms), sync_of(presence));
    frame["presence"] = revs["rooms"].take();
    frame
}

#[tokio::test]
async fn a_lease_is_renewed_when_two_fifths_of_it_are_over() {
    for (room, data) in [("chat:1", json!("1")), ("shop:1", Value::Null)] {
        let world = World::new();
        world.enter("ann-1=", room, json!(1)).await;
        let first = world.row("ann-1=", room);
        world.publish(room, 1, 1, None);
        for (after, renewed) in [(1, false), (LEASE * 2 / 5 - 5, false), (6, true), (1, false)] {
            world.pass(after);
            world.publish(room, 1, 1, None);
            let (before, updates) = (world.row("ann-1=", room), world.dynamodb.count("UpdateItem"));
            let synced = world.sync("ann-1=", &[room]).await;
            assert_eq!((&synced.reply["renewed"], synced.ticks), (&json!([]), (0, 0)), "{room}, {after}");
            let row = world.row("ann-1=", room);
            assert_eq!(world.dynamodb.count("UpdateItem") - updates, usize::from(renewed), "{room}, {after}");
            let expected = if renewed { world.clock.unix_seconds() + LEASE } else { present_until(&before) };
            assert!(present_until(&row).abs_diff(expected) <= 1, "{room}, {after}: {row}");
            for kept in ["memberOf", "listed", "data", "userId", "joinedAt", "expiresAt", "slot"] {
                assert_eq!(row[kept], first[kept], "{room}, {after}: {kept}");
            }
            assert_eq!(row["data"], data);
        }
    }
}

/// Timers of a page that nobody sees may be a minute late.
#[tokio::test]
async fn a_member_may_be_late_by_a_minute() {
    let lease = 300;
    let world = World::with_lease(lease);
    let entered = world.enter("ann-1=", "chat:1", json!(1)).await;
    let within = entered.reply["syncWithinMs"].as_u64().unwrap() / 1_000;
    for late in [0, 60, 60, 0, 60] {
        world.publish("chat:1", 1, 1, None);
        world.pass(within + late);
        let until = present_until(&world.row("ann-1=", "chat:1"));
        assert!(until > world.clock.unix_seconds(), "late by {late}");
        assert_eq!(world.sync("ann-1=", &["chat:1"]).await.ticks.1, 0);
    }
}

#[tokio::test]
async fn a_lease_ends_with_its_row_and_is_not_renewed_for_nothing() {
    let world = World::new();
    let ends_at = world.clock.unix_seconds() + 300;
    let send = async |frame: Value| {
        let mut event = events::frame("ann-1=", "ann", &frame.to_string());
        event["requestContext"]["authorizer"] = events::granted("ann", &events::everywhere(), ends_at);
        world.session.handle(event).await
    };
    send(json!({ "action": "joinRoom", "roomId": "chat:1", "presence": true })).await;
    for _ in 0..3 {
        world.pass(90);
        assert_eq!(send(sync_of(&["chat:1"])).await.reply["type"], "synced");
    }
    assert_eq!(world.dynamodb.count("UpdateItem"), 0);
}

#[tokio::test]
async fn a_member_that_comes_back_after_its_lease_is_told() {
    let world = World::new();
    world.enter("ann-1=", "chat:1", json!(1)).await;
    world.pass(LEASE + 1);
    world.publish("chat:1", 1, 0, None);
    world.ticked();
    let synced = world.sync("ann-1=", &["chat:1"]).await;
    assert_eq!((&synced.reply["renewed"], synced.ticks), (&json!([]), (1, 0)));
    assert_eq!(world.ticked(), ["chat:1"]);
    assert_eq!(world.row("ann-1=", "chat:1")["data"], "1");
}

/// A member joins a room with a list, and loses its row.
async fn lose_row(world: &World, room: &str) {
    world.enter("ann-1=", room, json!(1)).await;
    world.publish(room, 1, 1, None);
    world.pass(1);
    world.dynamodb.delete_row("ann-1=", room);
}

#[tokio::test]
async fn a_row_that_is_put_anew_is_no_members_unless_everybody_counts() {
    let world = World::new();
    for (room, counted) in [("chat:1", false), ("shop:1", true), ("both:1", true)] {
        lose_row(&world, room).await;
        let synced = world.sync("ann-1=", &[room]).await;
        assert_eq!((&synced.reply["renewed"], synced.ticks), (&json!([room]), (u64::from(counted), 0)));
        let row = world.row("ann-1=", room);
        assert_eq!((row["memberOf"] == room, row.get("listed"), row.get("data")), (counted, None, None));
        let again = world.enter("ann-1=", room, json!(1)).await;
        assert_eq!(again.reply["type"], "joined");
        assert_eq!(world.row("ann-1=", room)["memberOf"], room);
    }
}

/// The reply to the sync that has put its row back may be lost.
#[tokio::test]
async fn a_member_that_lost_its_row_is_told_until_it_joins_again() {
    let world = World::new();
    for room in ["chat:1", "both:1"] {
        lose_row(&world, room).await;
        for _ in 0..3 {
            let synced = world.ask("ann-1=", asking(&[room], &[room])).await;
            assert_eq!(synced.reply["renewed"], json!([room]));
            world.pass(1);
        }
        let of_nobody = world.ask("ann-1=", asking(&[room], &[])).await;
        assert_eq!(of_nobody.reply["renewed"], json!([]), "it does not want to be listed");
        world.enter("ann-1=", room, json!(1)).await;
        let synced = world.ask("ann-1=", asking(&[room], &[room])).await;
        assert_eq!((&synced.reply["renewed"], &world.row("ann-1=", room)["listed"]), (&json!([]), &json!(true)));
    }
}

/// The first attempt of the put was not answered.
#[tokio::test]
async fn a_row_that_was_put_back_twice_is_told_of() {
    let world = World::new();
    for room in ["chat:1", "both:1"] {
        lose_row(&world, room).await;
        world.dynamodb.fault(Rule::on("PutItem", Fault::DropAfter).times(1));
        let synced = world.ask("ann-1=", asking(&[room], &[room])).await;
        assert_eq!(synced.reply["renewed"], json!([room]));
    }
}

#[tokio::test]
async fn a_members_row_that_is_about_to_expire_lasts_longer_with_its_data() {
    let world = World::new();
    world.enter("ann-1=", "chat:1", json!(1)).await;
    let mut row = world.row("ann-1=", "chat:1");
    row["expiresAt"] = json!(world.clock.unix_seconds() + 60);
    world.dynamodb.seed_raw_row(&row);
    world.publish("chat:1", 1, 1, None);
    world.pass(1);
    let synced = world.sync("ann-1=", &["chat:1"]).await;
    assert_eq!((&synced.reply["renewed"], synced.ticks), (&json!(["chat:1"]), (0, 0)));
    let renewed = world.row("ann-1=", "chat:1");
    assert!(renewed["expiresAt"].as_u64() > Some(world.clock.unix_seconds() + 7_000));
    assert_eq!(
        (&renewed["data"], &renewed["listed"], &renewed["joinedAt"]),
        (&json!("1"), &json!(true), &row["joinedAt"])
    );
    assert!(present_until(&renewed) > world.clock.unix_seconds() + LEASE - 2);
}

/// `LIFECYCLE_ROOMS` may be set on a running stack.
#[tokio::test]
async fn rows_of_connections_that_did_not_count_yet_do_where_everybody_counts() {
    let world = World::new();
    for (room, counted) in [("chat:1", false), ("shop:1", true)] {
        world.join("ann-1=", room).await;
        let mut row = world.row("ann-1=", room);
        for attribute in ["memberOf", "presentUntil"] {
            row.as_object_mut().unwrap().remove(attribute);
        }
        world.dynamodb.seed_raw_row(&row);
        world.publish(room, 1, 0, None);
        world.pass(1);
        let synced = world.sync("ann-1=", &[room]).await;
        assert_eq!((&synced.reply["renewed"], synced.ticks.0), (&json!([]), u64::from(counted)), "{room}");
        assert_eq!(world.row("ann-1=", room)["memberOf"] == room, counted, "{room}");
    }
}

#[tokio::test]
async fn a_room_at_which_nobody_has_looked_for_half_a_lease_has_a_tick() {
    let world = World::new();
    for room in ["chat:1", "shop:1"] {
        world.enter("ann-1=", room, json!(1)).await;
        world.join("bob-1=", "chat:1").await;
        world.pass(1);
        world.ticked();
        assert_eq!(world.sync("ann-1=", &[room]).await.ticks, (1, 0), "{room}: nobody ever has");
        world.publish(room, 1, 1, None);
        for (after, is_told) in [(LEASE / 2 - 2, 0), (3, 1)] {
            world.pass(after);
            assert_eq!(world.sync("ann-1=", &[room]).await.ticks, (is_told, 0), "{room}, {after}");
        }
        assert_eq!(world.ticked(), [room, room]);
    }
}

#[tokio::test]
async fn whoever_sees_a_list_has_those_looked_at_who_are_in_it() {
    let world = World::new();
    world.join("bob-1=", "chat:1").await;
    let told = async |count, after| {
        world.publish("chat:1", 1, count, None);
        world.pass(after);
        world.ask("bob-1=", asking(&["chat:1"], &["chat:1"])).await.ticks
    };
    assert_eq!(told(1, LEASE / 2 - 2).await, (0, 0));
    assert_eq!(told(1, LEASE / 2 + 1).await, (1, 0));
    assert_eq!(told(0, LEASE / 2 + 1).await, (0, 0), "there is nobody");
    assert_eq!(world.sync("bob-1=", &["chat:1"]).await.ticks, (0, 0), "it does not ask");
    world.dynamodb.delete_row("presence/chat:1", "chat:1");
    assert_eq!(world.ask("bob-1=", asking(&["chat:1"], &["chat:1"])).await.ticks, (0, 0), "nobody ever was");
}

#[tokio::test]
async fn a_client_is_told_where_presence_stands_if_it_asks() {
    let world = World::new();
    world.publish("chat:1", 12, 3, Some(&json!({ "ann": 1, "bob": 2, "cy": 3 })));
    world.publish("chat:2", 13, 4_000, None);
    world.publish("shop:1", 14, 2, None);
    world.publish("chat:secret", 15, 2, None);
    let mut event = events::frame(
        "ann-1=",
        "ann",
        &asking(&["chat:1"], &["chat:1", "chat:2", "chat:3", "chat:secret", "shop:1", "plain"]).to_string(),
    );
    let rights =
        json!({ "chat:1": ["join"], "chat:2": ["join"], "chat:3": ["join"], "shop:1": ["join"], "plain": ["join"] });
    event["requestContext"]["authorizer"] = events::granted("ann", &rights, u64::MAX);
    let synced = world.session.handle(event).await.reply;
    assert_eq!(
        synced["presence"],
        json!({ "chat:1": { "rev": 12, "count": 3 }, "chat:2": { "rev": 13, "count": 4_000 } })
    );
    assert!(synced["now"].as_u64().unwrap().abs_diff(world.clock.unix_millis()) < 1_000);
    assert_eq!(world.dynamodb.count("BatchGetItem"), 2, "heads, and presence");
    let plain = world.sync("ann-1=", &["chat:1"]).await.reply;
    assert!(plain.get("presence").is_none() && plain.get("now").is_none(), "{plain}");
    let nothing = world.ask("ann-1=", asking(&[], &[])).await.reply;
    assert_eq!((&nothing["presence"], nothing["now"].is_u64()), (&json!({}), true));
}

#[tokio::test]
async fn beside_the_largest_message_where_presence_stands_is_told_as_far_as_it_fits() {
    let world = World::new();
    let rooms: Vec<_> = (0..50).map(|number| format!("chat:{number:02}{}", "x".repeat(93))).collect();
    for room in &rooms {
        world.publish(room, 1_800_000_000_000, 10_000, None);
        world.enter("ann-1=", room, json!(1)).await;
    }
    let names: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let all = world.ask("ann-1=", asking(&names, &names)).await.reply;
    assert_eq!(all["presence"].as_object().unwrap().len(), 50);
    // Heads are remembered for a moment.
    world.pass(2);
    world.seed_largest_message(&rooms[20]);
    let text = world.session.text_of("ann-1=", asking(&names, &names)).await;
    assert!((MAX_MESSAGE_BYTES..=MAX_POST_BYTES).contains(&text.len()), "{}", text.len());
    let synced: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(synced["rooms"][&rooms[20]]["messages"].as_array().unwrap().len(), 1);
    assert!(synced["presence"].as_object().unwrap().len() < 50);
}

#[tokio::test]
async fn a_member_syncs_before_half_its_lease_is_over() {
    let world = World::with_lease(60);
    let after = |reply: &Value| reply["syncAfterMs"].as_u64().unwrap_or_else(|| panic!("{reply}"));
    for room in ["chat:1", "shop:1"] {
        for reply in [world.enter("ann-1=", room, json!(1)).await.reply, world.sync("ann-1=", &[room]).await.reply] {
            assert!((25_000..30_000).contains(&after(&reply)), "{reply}");
        }
    }
    let lost = world.sync("cy-1=", &["shop:1"]).await.reply;
    assert!(after(&lost) < 30_000, "{lost}");
    let mut row = world.row("ann-1=", "chat:1");
    row["expiresAt"] = json!(world.clock.unix_seconds() + 60);
    world.dynamodb.seed_raw_row(&row);
    let renewed = world.sync("ann-1=", &["chat:1"]).await.reply;
    assert_eq!(renewed["renewed"], json!(["chat:1"]));
    assert!(after(&renewed) < 30_000, "{renewed}");
    for reply in [world.join("bob-1=", "chat:1").await.reply, world.sync("bob-1=", &["chat:1"]).await.reply] {
        assert!(after(&reply) > 500_000, "who is no member has time: {reply}");
    }
    let long = World::new();
    assert!(after(&long.enter("ann-1=", "chat:1", json!(1)).await.reply) > 500_000);
}

#[tokio::test]
async fn what_presence_cannot_do_is_left_out_and_the_rooms_are_served() {
    for (operation, fault) in [
        ("UpdateItem", Fault::throughput_exceeded()),
        ("BatchGetItem", Fault::throughput_exceeded()),
        ("UpdateItem", Fault::access_denied()),
    ] {
        let world = World::new();
        world.enter("ann-1=", "chat:1", json!(1)).await;
        world.publish("chat:1", 3, 1, None);
        world.pass(LEASE / 2 + 1);
        world.publish("chat:1", 3, 1, None);
        let is_presence = |call: &testkit::aws_endpoint::Call| call.body.to_string().contains("presen");
        world.dynamodb.fault(Rule::on(operation, fault.clone()).when(is_presence));
        let frame = || asking(&["chat:1"], &["chat:1"]);
        let synced = world.ask("ann-1=", frame()).await.reply;
        assert_eq!((&synced["type"], synced["rooms"]["chat:1"]["seq"].is_u64()), (&json!("synced"), true), "{synced}");
        let is_read = operation == "UpdateItem";
        assert_eq!(synced["presence"].get("chat:1").is_some(), is_read, "{synced}");
        world.dynamodb.endpoint().clear_faults();
        world.pass(1);
        let synced = world.ask("ann-1=", frame()).await.reply;
        assert_eq!(synced["presence"]["chat:1"]["rev"], 3);
        assert!(present_until(&world.row("ann-1=", "chat:1")) > world.clock.unix_seconds() + LEASE - 5);
    }
}

/// The connection's rows are read eventually consistently: as they were a moment ago.
#[tokio::test]
async fn a_sync_that_does_not_see_a_member_yet_leaves_its_row_as_it_is() {
    let world = World::new();
    for room in ["chat:1", "both:1"] {
        world.enter("ann-1=", room, json!(1)).await;
        world.publish(room, 1, 1, None);
        world.pass(1);
        let row = world.row("ann-1=", room);
        // An older row is no member's, and is about to expire.
        for seen in [None, Some(json!({ "roomId": { "S": room }, "expiresAt": { "N": "1" } }))] {
            let seen: Vec<_> = seen.into_iter().collect();
            let seen = json!({ "Items": seen, "Count": seen.len(), "ScannedCount": seen.len() });
            let is_of_rows =
                |call: &Call| call.body["ProjectionExpression"] == "roomId, expiresAt, presentUntil, putBack";
            let stale = Rule::on("Query", Fault::Reply(json_reply(200, &seen))).when(is_of_rows).times(1);
            world.dynamodb.fault(stale);
            let synced = world.sync("ann-1=", &[room]).await;
            assert_eq!((&synced.reply["renewed"], synced.ticks), (&json!([]), (0, 0)), "{room}");
            assert!(synced.reply["rooms"][room]["seq"].is_u64(), "{room} is served: {}", synced.reply);
            assert_eq!(world.row("ann-1=", room), row, "{room}");
        }
    }
}

/// The row is deleted between the read and the renewal of a sync.
#[tokio::test]
async fn a_row_that_is_gone_meanwhile_does_not_come_back_by_a_renewal() {
    let world = World::new();
    world.enter("ann-1=", "chat:1", json!(1)).await;
    world.publish("chat:1", 1, 1, None);
    world.pass(LEASE / 2 + 1);
    let deletes = || world.dynamodb.delete_row("ann-1=", "chat:1");
    let synced = world.while_held("UpdateItem", world.sync("ann-1=", &["chat:1"]), deletes).await;
    assert_eq!((&synced.reply["type"], world.row("ann-1=", "chat:1")), (&json!("synced"), Value::Null));
}
