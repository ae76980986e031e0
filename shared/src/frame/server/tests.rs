use serde_json::{Value, json};

use super::*;
use crate::{message::Message, presence::MemberData};

fn value(reply: Reply, request_id: Option<&str>) -> Value {
    let frame = ServerFrame { reply, request_id: request_id.map(str::to_owned) };
    serde_json::from_str(&frame.to_json()).unwrap()
}

#[test]
fn replies_are_what_the_protocol_says() {
    let room_id = RoomId::parse("r").unwrap();
    let message = Message::new(room_id.clone(), "i", "a", 1, RawValue::from_string("[1]".into()).unwrap());
    let logged = LoggedMessage { seq: 8, message };
    let catch_up = || CatchUp { seq: 9, messages: vec![logged.clone()], more: true, truncated: false };
    let entry = json!({"seq": 8, "id": "i", "from": "a", "sentAt": 1, "data": [1]});
    assert_eq!(
        value(
            Reply::Joined {
                room_id: room_id.clone(),
                catch_up: catch_up(),
                retention_seconds: 60,
                expires_in_ms: 9,
                sync_after_ms: 30_000,
                sync_within_ms: None,
                now: None,
                state: None,
                presence: None,
            },
            Some("q")
        ),
        json!({
            "type": "joined", "requestId": "q", "roomId": "r", "seq": 9, "messages": [entry], "more": true,
            "truncated": false, "retentionSeconds": 60, "syncAfterMs": 30_000, "expiresInMs": 9,
        })
    );
    assert_eq!(
        value(
            Reply::Synced {
                rooms: BTreeMap::from([(room_id.clone(), catch_up())]),
                forbidden: vec![RoomId::parse("f").unwrap()],
                renewed: vec![room_id.clone()],
                sync_after_ms: 5,
                presence: None,
                now: None,
            },
            None
        ),
        json!({
            "type": "synced", "rooms": {"r": {"seq": 9, "messages": [entry], "more": true, "truncated": false}},
            "forbidden": ["f"], "renewed": ["r"], "syncAfterMs": 5,
        })
    );
    assert_eq!(
        value(Reply::History { room_id: room_id.clone(), messages: vec![logged], more: false }, None),
        json!({"type": "history", "roomId": "r", "messages": [entry], "more": false})
    );
    assert_eq!(value(Reply::Left { room_id: room_id.clone() }, None), json!({"type": "left", "roomId": "r"}));
    assert_eq!(
        value(Reply::Accepted { room_id, id: "i".into() }, None),
        json!({"type": "accepted", "roomId": "r", "id": "i"})
    );
    assert_eq!(
        value(
            Reply::Error {
                code: ErrorCode::TooLarge,
                message: "m".into(),
                id: None,
                reason: None,
                retry_after_ms: None
            },
            None
        ),
        json!({"type": "error", "code": "too_large", "message": "m"})
    );
    let error = Reply::Error {
        code: ErrorCode::RateLimited,
        message: "m".into(),
        id: Some("i".into()),
        reason: Some(ErrorReason::TokenExpired),
        retry_after_ms: Some(7),
    };
    assert_eq!(
        value(error, None),
        json!({
            "type": "error", "code": "rate_limited", "message": "m", "id": "i", "reason": "token_expired", "retryAfterMs": 7,
        })
    );
}

#[test]
fn state_is_what_the_protocol_says() {
    let room_id = RoomId::parse("r").unwrap();
    let data = || RawValue::from_string("{}".into()).unwrap();
    let page = || StatePage {
        entries: vec![
            StateEntry {
                key: "a".into(),
                seq: 9,
                version: Some(7),
                from: "eu".into(),
                sent_at: 1,
                ttl_seconds: Some(30),
                data: data(),
            },
            StateEntry {
                key: "b".into(),
                seq: 2,
                version: None,
                from: "eu".into(),
                sent_at: 1,
                ttl_seconds: None,
                data: data(),
            },
        ],
        removed: vec![StateRemoval { key: "c".into(), seq: 8, version: Some(3) }],
        next: Some("c".into()),
    };
    let entries = json!([
        {"key": "a", "seq": 9, "version": 7, "from": "eu", "sentAt": 1, "ttlSeconds": 30, "data": {}},
        {"key": "b", "seq": 2, "from": "eu", "sentAt": 1, "data": {}},
    ]);
    let removed = json!([{"key": "c", "seq": 8, "version": 3}]);
    assert_eq!(
        value(Reply::State { room_id: room_id.clone(), seq: 44, page: page() }, Some("q")),
        json!({
            "type": "state", "requestId": "q", "roomId": "r", "seq": 44, "entries": entries, "removed": removed, "next": "c",
        })
    );
    let joined = Reply::Joined {
        room_id: room_id.clone(),
        catch_up: CatchUp { seq: 9, ..CatchUp::default() },
        retention_seconds: 60,
        expires_in_ms: 9,
        sync_after_ms: 30_000,
        sync_within_ms: None,
        now: Some(5),
        presence: None,
        state: Some(page().into()),
    };
    assert_eq!(
        value(joined, None),
        json!({
            "type": "joined", "roomId": "r", "seq": 9, "messages": [], "more": false, "truncated": false, "retentionSeconds": 60,
            "syncAfterMs": 30_000, "expiresInMs": 9, "now": 5, "state": entries, "stateRemoved": removed, "stateNext": "c",
        })
    );
}

#[test]
fn members_are_told_with_what_they_are_a_version_of() {
    let room_id = RoomId::parse("r").unwrap();
    let members = |next: Option<&str>| MemberList {
        rev: 12,
        count: 2,
        members: next.map(|next| vec![ListedMember { id: next.to_owned(), data: MemberData::parse("[1]") }]),
        next: next.map(str::to_owned),
    };
    assert_eq!(
        value(Reply::Members { room_id: room_id.clone(), listed: true, list: members(Some("ann")) }, None),
        json!({
            "type": "members", "roomId": "r", "listed": true, "rev": 12, "count": 2, "members": [{"id": "ann", "data": [1]}],
            "next": "ann",
        })
    );
    assert_eq!(
        value(Reply::Members { room_id: room_id.clone(), listed: false, list: members(None) }, None),
        json!({"type": "members", "roomId": "r", "listed": false, "rev": 12, "count": 2})
    );
    let synced = Reply::Synced {
        rooms: BTreeMap::new(),
        forbidden: Vec::new(),
        renewed: Vec::new(),
        sync_after_ms: 5,
        presence: Some(BTreeMap::from([(room_id.clone(), PresenceStanding { rev: 12, count: 2 })])),
        now: Some(7),
    };
    assert_eq!(
        value(synced, None),
        json!({
            "type": "synced", "rooms": {}, "renewed": [], "syncAfterMs": 5, "presence": {"r": {"rev": 12, "count": 2}},
            "now": 7,
        })
    );
    let joined = Reply::Joined {
        room_id,
        catch_up: CatchUp::default(),
        retention_seconds: 60,
        sync_after_ms: 5,
        sync_within_ms: Some(3),
        expires_in_ms: 9,
        now: Some(7),
        state: None,
        presence: Some(JoinedPresence { id: "ann".to_owned(), list: members(None) }),
    };
    let told = value(joined, None);
    assert_eq!(
        (&told["presence"], &told["now"], &told["syncWithinMs"]),
        (&json!({"id": "ann", "rev": 12, "count": 2}), &json!(7), &json!(3))
    );
}
