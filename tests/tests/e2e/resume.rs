//! Clients that come back, after a short or a long time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::history::{Delivery, History, Membership, assert_clean};
use testkit::websocket::{Client, Handshake};

use crate::reader::Reader;
use crate::stacks::Stacks;
use crate::tables::{log, whole_log};
use crate::wait::{PATIENCE, seed};

pub(crate) async fn a_client_cut_at_random_moments_sees_every_message_once(stacks: &Stacks) {
    const CUTS: usize = 8;
    const LONGEST: u64 = 200; // milliseconds of one connection
    let stack = stacks.shared().await;
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed.0);
    let cuts = AtomicUsize::new(0);
    let senders = join_all(["cut-alice", "cut-bob"].map(|sender| stack.connect(sender))).await;
    let sending = join_all(senders.iter().map(|sender| async {
        let sender = sender.as_ref().unwrap();
        let mut sent = 0;
        while cuts.load(Ordering::Relaxed) < CUTS {
            sender.say("cut", json!(sent)).await;
            sent += 1;
        }
        sent
    }));
    let reading = async {
        let mut reader = Reader::new("cut", 0);
        for _ in 0..CUTS {
            let client = stack.connect("cut-reader").await.unwrap();
            reader.join(&client).await;
            tokio::time::sleep(Duration::from_millis(random.u64(..LONGEST))).await;
            reader.read_broadcasts(&client);
            client.kill().await;
            cuts.fetch_add(1, Ordering::Relaxed);
        }
        reader
    };
    let (sent, mut reader) = tokio::join!(sending, reading);
    let sent = sent.into_iter().sum();
    // All messages of the room are logged when the last one has arrived.
    let client = stack.connect("cut-reader").await.unwrap();
    reader.join(&client).await;
    crate::wait::until("the last message is logged", async || (log(stack, "cut").await.len() == sent).then_some(()))
        .await;
    reader.sync(&client).await;
    let history = History {
        connection: "the reader".to_owned(),
        memberships: vec![Membership::since("cut", 0)],
        seen: reader.seen,
    };
    assert_clean(&[whole_log(stack, "cut", sent).await], &[history], Delivery::Once);
}

/// Sends this many messages and waits until they have come back; returns their ids.
async fn fill(client: &Client, room: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(client.say(room, json!(number)).await);
    }
    client.expect_messages(room, count, PATIENCE).await;
    ids
}

fn ids(messages: &Value) -> Vec<&str> {
    messages.as_array().unwrap().iter().map(|message| message["id"].as_str().unwrap()).collect()
}

pub(crate) async fn history_comes_in_pages_newest_first(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let alice = stack.connect_with(&Handshake::token(&stack.token("pages-alice")).room("pages")).await.unwrap();
    let all = fill(&alice, "pages", 25).await;
    whole_log(stack, "pages", 25).await;
    // A client may read the log without being in the room.
    let bob = stack.connect("pages-bob").await.unwrap();
    let mut before = None;
    for (expected, more) in [(&all[15..], true), (&all[5..15], true), (&all[..5], false)] {
        let mut ask = json!({ "action": "getHistory", "roomId": "pages", "limit": 10 });
        if let Some(before) = before {
            ask["before"] = json!(before);
        }
        let page = bob.request_for("history", ask).await;
        assert_eq!(ids(&page["messages"]), expected);
        assert_eq!(page["more"], more, "{page}");
        assert!(page["messages"].as_array().unwrap().iter().all(|message| message["from"] == "pages-alice"));
        before = page["messages"][0]["seq"].as_u64();
    }
    let none = bob.request_for("history", json!({ "action": "getHistory", "roomId": "pages", "before": before })).await;
    assert_eq!((&none["messages"], &none["more"]), (&json!([]), &json!(false)));
    let whole = bob.request_for("history", json!({ "action": "getHistory", "roomId": "pages" })).await;
    assert_eq!(ids(&whole["messages"]), all);
}

pub(crate) async fn one_sync_tells_what_was_missed_in_several_rooms(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let alice = stack.connect("sync-alice").await.unwrap();
    for room in ["sync:behind", "sync:current", "sync:new"] {
        assert_eq!(alice.join(room).await["seq"], 0);
    }
    let behind = fill(&alice, "sync:behind", 6).await;
    fill(&alice, "sync:current", 3).await;
    let new = fill(&alice, "sync:new", 2).await;
    let (behind_log, current_log) = (log(stack, "sync:behind").await, log(stack, "sync:current").await);
    let (has, head) = (behind_log[1].0, current_log[2].0);

    let bob = stack.connect("sync-bob").await.unwrap();
    let rooms = json!({ "sync:behind": has, "sync:current": head, "sync:new": 0, "sync:empty": 0 });
    let synced = bob.request_for("synced", json!({ "action": "sync", "rooms": rooms })).await;
    let expected = [
        ("sync:behind", behind_log[5].0, &behind[2..]),
        ("sync:current", head, &[]),
        ("sync:new", log(stack, "sync:new").await[1].0, &new[..]),
        ("sync:empty", 0, &[]),
    ];
    assert_eq!(synced["rooms"].as_object().unwrap().len(), expected.len());
    for (room, seq, missed) in expected {
        let reply = &synced["rooms"][room];
        assert_eq!(ids(&reply["messages"]), missed, "{room}");
        assert_eq!(
            (&reply["seq"], &reply["more"], &reply["truncated"]),
            (&json!(seq), &json!(false), &json!(false)),
            "{room}"
        );
    }
    // A join from there says the same, and a beat may be a sync of no rooms.
    let joined = bob.join_after("sync:behind", has).await;
    assert_eq!(
        (ids(&joined["messages"]), &joined["seq"]),
        (behind[2..].iter().map(String::as_str).collect(), &json!(behind_log[5].0))
    );
    assert_eq!(bob.request_for("synced", json!({ "action": "sync", "rooms": {} })).await["rooms"], json!({}));
}
