//! State: the newest message of each key, as joiners get it.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use testkit::stack::LocalStack;
use testkit::websocket::{Client, Handshake};

use crate::members::{read_number, state};
use crate::stacks::Stacks;
use crate::tables::{enqueue, log, now};
use crate::wait::{PATIENCE, until};

/// Sends messages with keys as a producer does, in order.
async fn produce(stack: &LocalStack, room: &str, messages: &[Value]) {
    for (place, message) in messages.iter().enumerate() {
        let mut body =
            json!({ "v": 1, "roomId": room, "id": format!("m{place}"), "from": "feed", "sentAt": now_millis() });
        body.as_object_mut().unwrap().extend(message.as_object().unwrap().clone());
        enqueue(stack, room, &format!("{room}-{place}"), &body.to_string()).await;
    }
    let logged = async || (log(stack, room).await.len() >= messages.len()).then_some(());
    until(&format!("{room} has {} messages", messages.len()), logged).await;
}

fn now_millis() -> u64 {
    u64::try_from(now().as_millis()).unwrap()
}

async fn join(client: &Client, room: &str) -> Value {
    client.request_for("joined", json!({ "action": "joinRoom", "roomId": room, "state": true })).await
}

/// All further pages of a room's state after a reply of [`join`], with the first page's entries.
async fn whole(client: &Client, room: &str, joined: &Value, limit: u64) -> Vec<Value> {
    let mut entries = joined["state"].as_array().expect("entries").clone();
    let mut next = joined["stateNext"].clone();
    while let Some(after) = next.as_str() {
        let get = json!({ "action": "getState", "roomId": room, "after": after, "seq": joined["seq"], "limit": limit });
        let page = client.request_for("state", get).await;
        assert!(page["seq"].as_u64() >= joined["seq"].as_u64(), "{page} is older than {joined}");
        let more = page["entries"].as_array().unwrap();
        assert!(more.len() <= usize::try_from(limit).unwrap(), "{page}");
        entries.extend(more.iter().cloned());
        next = page["next"].clone();
    }
    entries
}

fn keys(entries: &Value) -> Vec<&str> {
    entries.as_array().expect("entries").iter().map(|entry| entry["key"].as_str().unwrap()).collect()
}

pub(crate) async fn a_joiner_has_the_newest_value_of_each_key(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "state:fx";
    let messages = [
        json!({ "key": "EURUSD", "version": 7, "data": { "bid": 1.08 } }),
        json!({ "key": "GBPUSD", "data": 1 }),
        json!({ "key": "EURUSD", "version": 6, "data": "an older version" }),
        json!({ "key": "DEM", "version": 3, "data": 1 }),
        json!({ "key": "DEM", "version": 4, "remove": true }),
        json!({ "data": "without a key" }),
        json!({ "key": "GBPUSD", "ttlSeconds": 3_600, "data": 2 }),
    ];
    produce(stack, room, &messages).await;
    let bob = stack.connect("state-bob").await.unwrap();
    let joined = join(&bob, room).await;
    let entries = &log(stack, room).await;
    let seq = |id: &str| entries.iter().find(|(_, logged)| logged == id).unwrap().0;
    assert_eq!((&joined["seq"], &joined["messages"]), (&json!(seq("m6")), &json!([])), "{joined}");
    assert!(joined["now"].as_u64().is_some_and(|now| now.abs_diff(now_millis()) < 60_000), "{joined}");
    assert_eq!(keys(&joined["state"]), ["EURUSD", "GBPUSD"], "{joined}");
    let [euro, pound] = [0, 1].map(|place: usize| &joined["state"][place]);
    assert_eq!((&euro["seq"], &euro["version"]), (&json!(seq("m0")), &json!(7)));
    assert_eq!((&euro["from"], &euro["data"]), (&json!("feed"), &json!({ "bid": 1.08 })));
    assert!(euro["sentAt"].is_u64() && euro.get("ttlSeconds").is_none(), "{euro}");
    assert_eq!((&pound["seq"], &pound["ttlSeconds"], &pound["data"]), (&json!(seq("m6")), &json!(3_600), &json!(2)));
    // A client that had the key must learn that it is gone, and which versions are older.
    assert_eq!(joined["stateRemoved"], json!([{ "key": "DEM", "seq": seq("m4"), "version": 4 }]), "{joined}");
    assert!(joined.get("stateNext").is_none(), "{joined}");

    // Later changes come as broadcasts, with the same fields.
    let alice = stack.connect("state-alice").await.unwrap();
    let set =
        json!({ "action": "sendMessage", "roomId": room, "key": "EURUSD", "version": 8, "ttlSeconds": 60, "data": 2 });
    alice.request_for("accepted", set).await;
    let removal = json!({ "action": "sendMessage", "roomId": room, "key": "GBPUSD", "remove": true });
    alice.request_for("accepted", removal).await;
    let streamed = bob.expect_messages(room, 2, PATIENCE).await;
    assert_eq!((&streamed[0]["version"], &streamed[0]["ttlSeconds"]), (&json!(8), &json!(60)), "{streamed:?}");
    assert_eq!((&streamed[1]["key"], &streamed[1]["remove"]), (&json!("GBPUSD"), &json!(true)), "{streamed:?}");

    // The table says the same, in time.
    let is_written = async || {
        let rows = state(stack, room).await;
        let of = |key: &str| rows.iter().find(|row| row["key"] == AttributeValue::S(key.to_owned())).cloned();
        let (euro, pound) = (of("EURUSD")?, of("GBPUSD")?);
        let is_so = read_number(&euro, "version") == Some(8) && pound.contains_key("removed");
        is_so.then_some((euro, of("DEM")?))
    };
    let (euro, mark) = until("the table of state has all", is_written).await;
    assert_eq!(read_number(&euro, "seq"), streamed[0]["seq"].as_u64());
    assert!(euro.contains_key("until") && euro.contains_key("expiresAt"), "{euro:?}");
    assert!(mark.contains_key("removed") && mark.contains_key("expiresAt"), "{mark:?}");
}

pub(crate) async fn state_comes_in_pages(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "state:pages";
    let produced: Vec<_> = (0..7).map(|key| json!({ "key": format!("k{key}"), "data": key })).collect();
    produce(stack, room, &produced).await;
    let bob = stack.connect("pages-bob").await.unwrap();
    let joined = join(&bob, room).await;
    let all = keys(&joined["state"]).join(" ");
    assert_eq!(all, "k0 k1 k2 k3 k4 k5 k6");
    // The first request is that of a client whose page with the join had no entries.
    let first = json!({ "seq": joined["seq"], "state": [], "stateNext": "" });
    for limit in [1, 3, 7] {
        assert_eq!(keys(&json!(whole(&bob, room, &first, limit).await)).join(" "), all, "{limit} at a time");
    }
    // A page is no longer than a reply may be: these do not fit into one.
    let large = "x".repeat(30_000);
    let produced: Vec<_> = (0..6).map(|key| json!({ "key": format!("large{key}"), "data": large })).collect();
    produce(stack, "state:large", &produced).await;
    let joined = join(&bob, "state:large").await;
    assert!(
        joined["stateNext"].is_string() && joined.to_string().len() < 128 * 1024,
        "{} bytes",
        joined.to_string().len()
    );
    assert_eq!(whole(&bob, "state:large", &joined, 1_000).await.len(), 6);
}

pub(crate) async fn an_expired_value_is_absent_and_its_versions_are_remembered(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "state:brief";
    produce(stack, room, &[json!({ "key": "k", "version": 5, "ttlSeconds": 1, "data": 1 })]).await;
    let bob = stack.connect("brief-bob").await.unwrap();
    let is_absent = async || {
        let joined = join(&bob, room).await;
        joined["state"].as_array().unwrap().is_empty().then_some(joined)
    };
    let joined = until("the value has expired", is_absent).await;
    assert_eq!((&joined["stateRemoved"][0]["key"], &joined["stateRemoved"][0]["version"]), (&json!("k"), &json!(5)));
    let older = json!({ "v": 1, "roomId": room, "key": "k", "version": 4, "data": "older" }).to_string();
    enqueue(stack, room, "older", &older).await;
    bob.expect_messages(room, 1, PATIENCE).await;
    assert_eq!(join(&bob, room).await["state"], json!([]));
}

/// The bus stack has neither state, presence nor ephemeral messages.
pub(crate) async fn a_stack_without_state_leaves_it_out(stacks: &Stacks) {
    let stack = stacks.bus().await;
    let claims = json!({
        "sub": "without", "exp": now().as_secs() + 600, "iss": crate::stacks::ISSUER, "aud": crate::stacks::AUDIENCE,
        "rooms": { "*": ["join", "send"] },
    });
    let alice = stack.connect_with(&Handshake::token(&stack.token_with(&claims))).await.unwrap();
    let join = json!({ "action": "joinRoom", "roomId": "presence:off", "state": true, "presence": true });
    let joined = alice.request_for("joined", join).await;
    assert!(joined.get("state").is_none() && joined.get("presence").is_none(), "{joined}");
    // Keys are only for conflation here, and every sender may use them.
    let keyed = json!({ "action": "sendMessage", "roomId": "presence:off", "key": "k", "data": 1 });
    alice.request_for("accepted", keyed).await;
    let description = stack.description();
    assert_eq!((&description.presence_queue_url, &description.ephemeral_queue_url), (&None, &None));
}

/// The stack's shares are small, so each request is that of another subject.
pub(crate) async fn a_stack_without_presence_refuses_what_needs_it(stacks: &Stacks) {
    let stack = stacks.bus().await;
    let connect = async |subject: &str| {
        let claims = json!({
            "sub": subject, "exp": now().as_secs() + 600, "iss": crate::stacks::ISSUER, "aud": crate::stacks::AUDIENCE,
            "rooms": { "*": ["join", "send"] },
        });
        stack.connect_with(&Handshake::token(&stack.token_with(&claims))).await.unwrap()
    };
    let (bob, cy) = (connect("without-members").await, connect("without-ephemeral").await);
    let get = json!({ "action": "getMembers", "roomId": "presence:off" });
    assert_eq!(bob.request_for("error", get).await["code"], "bad_request");
    let typing = json!({ "action": "sendMessage", "roomId": "presence:off", "ephemeral": true, "data": true });
    assert_eq!(cy.request_for("error", typing).await["code"], "bad_request");
}
