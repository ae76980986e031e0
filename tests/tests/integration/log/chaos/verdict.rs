//! The assertions at the end of a run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shared::order::Rank;
use testkit::connections_server::ConnectionRecord;
use testkit::history::{Delivery, History, Membership, RoomLog, assert_clean};

use super::client::{ChaosClient, View};
use super::world::{ROOMS, Row, World};

pub(super) fn check(world: &World, clients: &[ChaosClient]) {
    world.observe();
    assert!(world.dead_letters.sent().is_empty());
    let logged = |room: &'static str| world.log(room).into_values().map(move |row| (room.to_owned(), row.id));
    assert_eq!(
        world.accepted(),
        ROOMS.into_iter().flat_map(logged).collect(),
        "what was accepted, and what was logged"
    );
    for room in ROOMS {
        if !world.batches_expire {
            check_order(world, room);
        }
        let log = world.log(room);
        let conflated = conflated(world, room, &log);
        for client in clients {
            if let Some(view) = client.views.get(room) {
                let seen = view.room.seen().to_vec();
                let memberships = vec![Membership::since(room, view.since).nothing_before(view.head)];
                let history = History { connection: client.subject.clone(), memberships, seen };
                let owed = owed(room, &log, &conflated, view);
                assert_clean(&[owed], &[history], Delivery::Once);
            }
        }
    }
}

/// Asserts that the posts to each connection were made in order: a number that is new to the connection is above all
/// that were posted to it before, whether or not those arrived.
fn check_order(world: &World, room: &str) {
    for (connection, bodies) in world.posts.borrow().iter() {
        let mut seen: BTreeSet<u64> = BTreeSet::new();
        for body in bodies {
            let frame: Value = serde_json::from_slice(body).unwrap();
            if frame["roomId"] != room {
                continue;
            }
            let numbers: Vec<u64> =
                frame["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_u64().unwrap()).collect();
            let first = frame["after"].as_u64().map_or(numbers[0], |after| after + 1);
            let last = frame["seq"].as_u64().unwrap_or(numbers[numbers.len() - 1]);
            let highest = seen.last().copied().unwrap_or_default();
            let late: Vec<_> = numbers.iter().filter(|number| **number < highest && !seen.contains(number)).collect();
            assert!(late.is_empty(), "{connection} was posted {late:?} of {room} after {highest}: {frame}");
            seen.extend(first..=last);
        }
    }
}

/// The log as one client must have seen it. It may lack messages that were conflated, and those within a truncation
/// that had expired when it was told of that.
fn owed(room: &str, log: &BTreeMap<u64, Row>, conflated: &BTreeSet<u64>, view: &View) -> RoomLog {
    let mut owed = RoomLog::new(room, log.iter().map(|(seq, row)| (*seq, row.id.clone())));
    for (seq, row) in log {
        let given_up = view.truncations.iter().any(|(truncation, told_at)| {
            let within = *seq > truncation.after && truncation.before.is_none_or(|before| *seq < before);
            within && row.expires_at <= *told_at
        });
        if given_up || conflated.contains(seq) {
            owed.skippable(*seq);
        }
    }
    owed
}

/// The numbers that frames cover without holding the messages. Each message must have given way to a greater one with
/// the same key.
fn conflated(world: &World, room: &str, log: &BTreeMap<u64, Row>) -> BTreeSet<u64> {
    let record = world.connections.record();
    let bodies = record.connections.values().flat_map(ConnectionRecord::bodies);
    let frames =
        bodies.collect::<BTreeSet<_>>().into_iter().map(|body| serde_json::from_slice::<Value>(&body).unwrap());
    let mut conflated = BTreeSet::new();
    for frame in frames.filter(|frame| frame["roomId"] == room) {
        let held: BTreeSet<_> =
            frame["messages"].as_array().unwrap().iter().filter_map(|one| one["seq"].as_u64()).collect();
        if let (Some(after), Some(through)) = (frame["after"].as_u64(), frame["seq"].as_u64()) {
            conflated.extend((after + 1..=through).filter(|seq| !held.contains(seq)));
        }
    }
    for seq in &conflated {
        let row = &log[seq];
        let gives_way_to = |other: &u64, newer: &Row| {
            let is_newer = Rank::of(newer.version, *other).supersedes(Rank::of(row.version, *seq));
            row.key.is_some() && newer.key == row.key && is_newer
        };
        assert!(log.iter().any(|(other, newer)| gives_way_to(other, newer)), "{seq} of {room} is in no frame: {row:?}");
    }
    conflated
}
