//! The metrics of ephemeral messages, each produced by the event that it counts.

use serde_json::json;
use testkit::connections_server::{Script, Scripted};
use testkit::events::QueueRecord;

use super::{ephemeral, invoke, later, record, typing};
use crate::fanout::World;

#[tokio::test]
async fn every_message_counts_once_as_posted_or_by_why_it_was_dropped() {
    let world = World::start();
    world.seed("room", "c", 3);
    world.seed("large", "l", 11);
    let function = ephemeral(&world).env("EPHEMERAL_MAX_MEMBERS", 10).env("EPHEMERAL_POSTS_PER_SECOND", 1_000_000);
    let function = function.start().await.unwrap();
    let now = later();
    let old = now - 3_600_000 - 60_000;
    let large = |number: u64| record("room", &format!("s{number}"), None, now - number, &json!("x".repeat(4_000)));
    let mut records: Vec<_> = (0..10).map(large).collect();
    records.extend([
        record("room", "s0", None, now - 99, &json!(1)),
        record("room", "old", None, old, &json!(1)),
        typing("large", "ann"),
        QueueRecord::new("p", "room", "poison"),
    ]);
    invoke(&function, &records).await;
    let lines = function.metrics(1).await;
    let counted = [
        ("EphemeralsPosted", 8),
        ("EphemeralPosts", 3),
        ("EphemeralsDroppedFull", 2),
        ("EphemeralsDroppedSuperseded", 1),
        ("EphemeralsDroppedOld", 1),
        ("EphemeralsDroppedLarge", 1),
        ("EphemeralsDroppedBroken", 1),
    ];
    for (name, count) in counted {
        assert_eq!(lines[0].count(name), count, "{name}");
    }
    assert_eq!(lines[0].names().len(), counted.len(), "{:?}", lines[0].names());
    assert_eq!(lines[0].dimensions("EphemeralPosts"), [["test", "ephemeral"]]);
}

#[tokio::test]
async fn what_a_refusal_costs_is_counted() {
    for (outcome, name) in [
        (Scripted::throttled(), "EphemeralsDroppedThrottled"),
        (Scripted::forbidden(), "EphemeralsDroppedFailed"),
        (Scripted::not_found(), "EphemeralsDroppedFailed"),
    ] {
        let world = World::start();
        world.seed("room", "c", 5);
        world.connections.script_others(move |_| Script::always(outcome.clone()));
        let function = ephemeral(&world).env("FANOUT_CONCURRENCY", 1).start().await.unwrap();
        invoke(&function, &[typing("room", "ann")]).await;
        let line = &function.metrics(1).await[0];
        assert_eq!((line.count(name), line.count("EphemeralPosts"), line.count("EphemeralsPosted")), (1, 1, 0));
    }
}

#[tokio::test]
async fn what_is_not_paid_for_is_counted() {
    let world = World::start();
    world.seed("a", "a", 60);
    world.seed("b", "b", 60);
    // An environment earns half a post a second: even a busy machine serves the batch before a frame's 60 are earned.
    let function = ephemeral(&world).env("EPHEMERAL_POSTS_PER_SECOND", 1).start().await.unwrap();
    invoke(&function, &[typing("a", "ann"), typing("b", "ann")]).await;
    let line = &function.metrics(1).await[0];
    assert_eq!((line.count("EphemeralsPosted"), line.count("EphemeralsDroppedBudget")), (1, 1));
    assert_eq!(world.connections.record().posts, 60);
}
