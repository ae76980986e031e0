//! The cost of presence in calls and units, in rooms with and without it.

use serde_json::{Value, json};
use shared::clock::Clock;
use testkit::dynamodb::MeteredCall;

use super::world::{Environment, LEASE, World, sync_of};
use crate::log::{Session, client};

/// The calls since the last time, each with its units.
fn spent(world: &World, since: &mut usize) -> Vec<(String, f64)> {
    let calls: Vec<MeteredCall> = world.dynamodb.metered_calls().split_off(*since);
    *since += calls.len();
    let mut spent: Vec<_> = calls.into_iter().map(|call| (call.operation, call.units)).collect();
    spent.sort_by(|one, other| one.partial_cmp(other).unwrap());
    spent
}

/// The cost of a stay in a room: joining, two beats, leaving, joining again, being gone.
async fn stay(world: &World, room: &str, mut act: impl AsyncFnMut(&str, Option<Value>)) -> Vec<Vec<(String, f64)>> {
    let mut since = world.dynamodb.metered_calls().len();
    let mut stages = Vec::new();
    let join = || json!({ "action": "joinRoom", "roomId": room });
    let sync = || sync_of(&[room]);
    let leave = json!({ "action": "leaveRoom", "roomId": room });
    for (stage, frame) in [
        ("join", join()),
        ("beat", sync()),
        ("late", sync()),
        ("leave", leave),
        ("again", join()),
        ("gone", Value::Null),
    ] {
        world.pass(if stage == "late" { LEASE / 2 + 1 } else { 1 });
        act("ann-1=", Some(frame).filter(|frame| !frame.is_null())).await;
        stages.push(spent(world, &mut since));
    }
    stages
}

#[tokio::test]
async fn a_room_without_presence_costs_not_a_call_nor_a_unit_nor_a_byte_more() {
    let world = World::new();
    let mut rows = Vec::new();
    let with = stay(&world, "plain", async |connection, frame| {
        match frame {
            Some(frame) => world.ask(connection, frame).await,
            None => world.session.disconnect(connection).await,
        };
        rows.push(world.row(connection, "plain"));
    })
    .await;
    assert_eq!((world.queue.calls(), world.dynamodb.count("UpdateItem")), (0, 0));
    let names = |row: &Value| row.as_object().map(|row| row.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let attributes = ["connectionId", "expiresAt", "joinedAt", "roomId", "slot", "userId"];
    assert!(rows.iter().all(|row| row.is_null() || names(row) == attributes), "{rows:?}");

    let other = World::new();
    let session = Session::with_limits(
        ingest::config::SessionLimits { rooms: 100, connections: None, requests: 0, room_joins: 0 },
        client(&other.dynamodb),
        &other.clock,
    );
    let without = stay(&other, "plain", async |connection, frame| match frame {
        Some(frame) => drop(session.request(connection, "ann", &frame).await),
        None => session.disconnect(connection, "ann").await,
    })
    .await;
    assert_eq!(with, without);
}

/// In a stack that keeps presence no more, the function's role lacks the rights for further calls.
#[tokio::test]
async fn a_room_that_has_presence_no_more_costs_nothing_more() {
    let world = World::with_lease(60);
    world.join("ann-1=", "plain").await;
    let (mut row, now) = (world.row("ann-1=", "plain"), world.clock.unix_seconds());
    (row["memberOf"], row["presentUntil"]) = (json!("plain"), json!(now + 1));
    for expires_at in [now + 7_200, now + 60] {
        row["expiresAt"] = json!(expires_at);
        world.dynamodb.seed_raw_row(&row);
        world.pass(1);
        let synced = world.sync("ann-1=", &["plain"]).await;
        assert!(synced.reply["syncAfterMs"].as_u64() > Some(500_000), "{}", synced.reply);
    }
    assert_eq!(world.row("ann-1=", "plain").get("memberOf"), None, "it was renewed");
    world.dynamodb.seed_raw_row(&row);
    assert_eq!(world.session.disconnect("ann-1=").await.status, 200);
    let calls = ["UpdateItem", "BatchGetItem"].map(|operation| world.dynamodb.count(operation));
    assert_eq!((calls, world.queue.calls()), ([0, 2], 0), "heads are read");
}

#[tokio::test]
async fn a_member_costs_what_the_design_says() {
    let world = World::new();
    let mut since = 0;
    // The cost in a room without presence.
    world.join("bob-1=", "plain").await;
    let plain_join = spent(&world, &mut since);
    world.sync("bob-1=", &["plain"]).await;
    let plain_beat = spent(&world, &mut since);
    world.leave("bob-1=", "plain").await;
    let plain_leave = spent(&world, &mut since);
    let more = |spent: Vec<(String, f64)>, plain: &[(String, f64)]| {
        let mut more: Vec<(String, f64)> = Vec::new();
        let mut plain = plain.to_vec();
        for (operation, units) in spent {
            match plain.iter().position(|(name, plain)| *name == operation && *plain <= units) {
                Some(place) => {
                    let (_, less) = plain.remove(place);
                    more.extend((units > less).then_some((operation, units - less)));
                }
                None => more.push((operation, units)),
            }
        }
        assert!(plain.is_empty(), "{plain:?} less");
        more
    };
    let call = |operation: &str, units: f64| (operation.to_owned(), units);

    world.publish("chat:1", 1, 2, Some(&json!({ "ann": 1, "bob": 2 })));
    world.pass(1);
    let calls = world.queue.calls();
    world.enter("ann-1=", "chat:1", json!({ "name": "Ann" })).await;
    assert_eq!(more(spent(&world, &mut since), &plain_join), [call("GetItem", 1.0), call("PutItem", 1.0)]);
    assert_eq!(world.queue.calls() - calls, 1);

    world.pass(1);
    world.sync("ann-1=", &["chat:1"]).await;
    assert_eq!(more(spent(&world, &mut since), &plain_beat), [call("BatchGetItem", 0.5)]);
    world.pass(LEASE / 2);
    world.publish("chat:1", 1, 2, Some(&json!({ "ann": 1, "bob": 2 })));
    world.sync("ann-1=", &["chat:1"]).await;
    let renewal = [call("BatchGetItem", 0.5), call("UpdateItem", 2.0)];
    assert_eq!(more(spent(&world, &mut since), &plain_beat), renewal);
    assert_eq!(world.queue.calls() - calls, 1, "a beat sends no tick");

    world.leave("ann-1=", "chat:1").await;
    assert_eq!(more(spent(&world, &mut since), &plain_leave), [call("DeleteItem", 1.0)]);
    assert_eq!(world.queue.calls() - calls, 2);
}

#[tokio::test]
async fn fifty_rooms_of_a_member_are_one_read_a_sync() {
    let world = World::new();
    let rooms: Vec<_> = (0..50).map(|number| format!("chat:{number:02}")).collect();
    for room in &rooms {
        world.publish(room, 1, 1, None);
        world.enter("ann-1=", room, json!(1)).await;
    }
    world.pass(LEASE / 2 + 1);
    for room in &rooms {
        world.publish(room, 1, 1, None);
    }
    let names: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let mut frame = sync_of(&names);
    frame["presence"] = frame["rooms"].clone();
    let mut since = world.dynamodb.metered_calls().len();
    let synced = world.ask("ann-1=", frame).await.reply;
    assert_eq!(synced["presence"].as_object().unwrap().len(), 50);
    let calls = spent(&world, &mut since);
    let of = |operation: &str| {
        let of = calls.iter().filter(|(name, _)| name == operation);
        (of.clone().count(), of.map(|(_, units)| units).sum::<f64>())
    };
    assert_eq!((of("UpdateItem"), of("PutItem")), ((50, 100.0), (0, 0.0)));
    let presence_reads = world
        .dynamodb
        .calls_of("BatchGetItem")
        .iter()
        .filter(|call| call.body.to_string().contains("presence/chat"))
        .count();
    assert_eq!(presence_reads, 1);
}

/// Joins within one second, each in an environment of its own.
#[tokio::test]
async fn joins_of_one_second_have_one_tick_in_the_queue() {
    let world = World::new();
    world.pass(1);
    for number in 0..30 {
        let environment = Environment::of(&world.dynamodb, &world.clock, &world.queue, LEASE);
        environment.enter(&format!("user{number}-1="), "chat:1", json!(1)).await;
    }
    assert_eq!((world.queue.calls(), world.ticked().len()), (30, 1));
}
