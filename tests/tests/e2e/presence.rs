//! Presence: the members of a room, as its connections are told of them.

use serde_json::{Value, json};
use testkit::stack::LocalStack;
use testkit::websocket::Client;

use crate::members::{age_lease, end_lease, forget_look, plant_member, read_number, row, tick};
use crate::stacks::{PRESENCE_LIST_MAX, Stacks};
use crate::tables::{now, rows};
use crate::wait::until;

async fn enter(client: &Client, room: &str, data: &Value) -> Value {
    let join = json!({ "action": "joinRoom", "roomId": room, "presence": true, "presenceData": data });
    client.request_for("joined", join).await
}

/// The list that a client has: what it was told when it joined, and each frame applied.
struct List<'a> {
    client: &'a Client,
    room: &'a str,
    rev: u64,
    members: Vec<(String, Value)>,
    frames: Vec<Value>,
}

impl<'a> List<'a> {
    fn of(client: &'a Client, room: &'a str, joined: &Value) -> Self {
        let presence = &joined["presence"];
        let rev = presence["rev"].as_u64().unwrap_or_else(|| panic!("a list of members in {joined}"));
        let mut list = Self { client, room, rev, members: Vec::new(), frames: Vec::new() };
        list.add(&presence["members"]);
        list
    }

    fn add(&mut self, members: &Value) {
        for member in members.as_array().into_iter().flatten() {
            let id = member["id"].as_str().expect("an id").to_owned();
            self.members.retain(|(known, _)| *known != id);
            self.members.push((id, member["data"].clone()));
        }
        self.members.sort_by(|(one, _), (other, _)| one.cmp(other));
    }

    /// Applies every frame that has come; each must follow the one before it.
    fn catch_up(&mut self) {
        for frame in self.client.received() {
            let frame = frame.json;
            let is_ours = frame["type"] == "presence" && frame["roomId"] == self.room;
            if !is_ours || frame["rev"].as_u64() <= Some(self.rev) {
                continue;
            }
            assert_eq!(frame["after"].as_u64(), Some(self.rev), "{frame} does not follow");
            self.rev = frame["rev"].as_u64().unwrap();
            let left: Vec<_> = frame["left"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            self.members.retain(|(id, _)| !left.contains(&id.as_str()));
            self.add(&frame["joined"]);
            assert_eq!(frame["count"].as_u64(), u64::try_from(self.members.len()).ok(), "{frame}");
            self.frames.push(frame);
        }
    }

    fn ids(&self) -> Vec<&str> {
        self.members.iter().map(|(id, _)| id.as_str()).collect()
    }

    async fn becomes(&mut self, wanted: &[&str]) {
        until(&format!("{wanted:?} are in {}", self.room), async || {
            self.catch_up();
            (self.ids() == wanted).then_some(())
        })
        .await;
    }

    async fn has_data(&mut self, id: &str, wanted: Value) {
        until(&format!("{id} has {wanted}"), async || {
            self.catch_up();
            self.members.iter().any(|(known, data)| known == id && *data == wanted).then_some(())
        })
        .await;
    }
}

pub(crate) async fn those_who_come_and_go_are_told_once(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "presence:pub";
    let watcher = stack.connect("pub-watcher").await.unwrap();
    // A client that only watches is in no list.
    let joined = watcher.request_for("joined", json!({ "action": "joinRoom", "roomId": room })).await;
    assert!(joined.get("presence").is_none() && joined.get("now").is_none(), "{joined}");
    let ann = stack.connect("pub-ann").await.unwrap();
    let joined = enter(&ann, room, &json!({ "name": "Ann" })).await;
    assert!(joined["now"].is_u64(), "{joined}");
    let mut list = List::of(&ann, room, &joined);
    // A member's own entry is in the list from the beginning.
    assert_eq!(list.members, [("pub-ann".to_owned(), json!({ "name": "Ann" }))]);
    // Frames go to everybody in the room.
    watcher.expect("the frame of those who look", |frame| frame["type"] == "presence" && frame["count"] == 1).await;

    let bob = stack.connect("pub-bob").await.unwrap();
    let joined = enter(&bob, room, &json!(1)).await;
    assert_eq!(List::of(&bob, room, &joined).ids(), ["pub-ann", "pub-bob"], "what is published, and oneself: {joined}");
    list.becomes(&["pub-ann", "pub-bob"]).await;
    // A second tab with the same data is no change; other data is an update, and nothing else is told.
    let frames = list.frames.len();
    let tab = stack.connect("pub-bob").await.unwrap();
    enter(&tab, room, &json!(1)).await;
    enter(&bob, room, &json!(1)).await;
    enter(&tab, room, &json!(2)).await;
    list.has_data("pub-bob", json!(2)).await;
    assert_eq!(list.frames.len(), frames + 1, "{:?}", list.frames);
    assert_eq!((&list.frames[frames]["left"], list.ids()), (&json!([]), vec!["pub-ann", "pub-bob"]));
    // The last tab that goes is the end, however it goes.
    bob.leave(room).await;
    enter(&ann, room, &json!({ "name": "Anna" })).await;
    list.has_data("pub-ann", json!({ "name": "Anna" })).await;
    assert_eq!(list.ids(), ["pub-ann", "pub-bob"]);
    tab.close().await;
    list.becomes(&["pub-ann"]).await;
}

/// The emulator never loses a `$disconnect`; a row of a connection that never was stands for a lost one. A lease is a
/// minute at the least, so the scenario sets it back.
pub(crate) async fn an_end_that_nobody_reports_is_found_by_the_living(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "presence:ghosts";
    let ann = stack.connect("ghosts-ann").await.unwrap();
    let joined = enter(&ann, room, &json!(1)).await;
    let mut list = List::of(&ann, room, &joined);
    list.becomes(&["ghosts-ann"]).await;
    plant_member(stack, room, "ghosts-zed").await;
    tick(stack, room).await;
    list.becomes(&["ghosts-ann", "ghosts-zed"]).await;
    end_lease(stack, room, "ghosts-zed").await;
    let sync = json!({ "action": "sync", "rooms": { room: 0 }, "presence": { room: list.rev } });
    let synced = ann.request_for("synced", sync.clone()).await;
    assert_eq!(synced["presence"][room], json!({ "rev": list.rev, "count": 2 }), "{synced}");
    assert!(synced["now"].is_u64(), "{synced}");
    // After half a lease without a look, the beat of a living member asks for one.
    forget_look(stack, room).await;
    ann.request_for("synced", sync).await;
    list.becomes(&["ghosts-ann"]).await;
    // A client that does not ask about presence is told nothing of it.
    let synced = ann.request_for("synced", json!({ "action": "sync", "rooms": { room: 0 } })).await;
    assert!(synced.get("presence").is_none() && synced.get("now").is_none(), "{synced}");
}

pub(crate) async fn a_beat_renews_the_lease_of_who_lives(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "presence:lease";
    let ann = stack.connect("lease-ann").await.unwrap();
    enter(&ann, room, &json!(1)).await;
    let connection = rows(stack, room).await.remove(0).connection;
    age_lease(stack, room, &connection).await;
    ann.request_for("synced", json!({ "action": "sync", "rooms": { room: 0 } })).await;
    let until = read_number(&row(stack, room, &connection).await, "presentUntil").unwrap();
    assert!(until > now().as_secs() + 60, "renewed until {until}");
}

pub(crate) async fn members_come_in_pages(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "presence:pages";
    let ann = stack.connect("pages-ann").await.unwrap();
    let mut list = List::of(&ann, room, &enter(&ann, room, &json!(1)).await);
    for subject in ["pages-bob", "pages-cy"] {
        plant_member(stack, room, subject).await;
    }
    tick(stack, room).await;
    list.becomes(&["pages-ann", "pages-bob", "pages-cy"]).await;
    assert_eq!(paged(&ann, room, 1).await, ["pages-ann", "pages-bob", "pages-cy"]);
    assert_eq!(paged(&ann, room, 2).await, ["pages-ann", "pages-bob", "pages-cy"]);
    let elsewhere = json!({ "action": "getMembers", "roomId": "chat" });
    assert_eq!(ann.request_for("error", elsewhere).await["code"], "bad_request");
    let claims = json!({ "sub": "pages-dot", "exp": now().as_secs() + 600, "rooms": { "presence:*": ["send"] } });
    let dot = stack.connect_with(&testkit::websocket::Handshake::token(&stack.token_with(&claims))).await.unwrap();
    let get = json!({ "action": "getMembers", "roomId": room });
    assert_eq!(dot.request_for("error", get).await["code"], "forbidden");
}

async fn paged(client: &Client, room: &str, limit: u64) -> Vec<String> {
    let (mut ids, mut get) = (Vec::new(), json!({ "action": "getMembers", "roomId": room, "limit": limit }));
    loop {
        let page = client.request_for("members", get.clone()).await;
        let members = page["members"].as_array().unwrap();
        assert!(members.len() <= usize::try_from(limit).unwrap(), "{page}");
        ids.extend(members.iter().map(|member| member["id"].as_str().unwrap().to_owned()));
        match page.get("next") {
            Some(next) if next.is_string() => get["after"] = next.clone(),
            _ => return ids,
        }
    }
}

pub(crate) async fn of_a_large_room_the_number_alone_is_told(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "presence:large";
    let ann = stack.connect("large-ann").await.unwrap();
    enter(&ann, room, &json!(1)).await;
    let others: Vec<_> = (0..PRESENCE_LIST_MAX).map(|number| format!("large-{number}")).collect();
    for subject in &others {
        plant_member(stack, room, subject).await;
    }
    tick(stack, room).await;
    let all = u64::try_from(others.len() + 1).unwrap();
    let frame = counted(&ann, room, all).await;
    assert!(frame.get("joined").is_none() && frame.get("left").is_none(), "{frame}");
    // The members can be looked up all the same.
    let found = async || (paged(&ann, room, 2).await.len() == others.len() + 1).then_some(());
    until("all of them are found", found).await;
    // Well below the limit there is a list again.
    for subject in &others {
        end_lease(stack, room, subject).await;
    }
    tick(stack, room).await;
    counted(&ann, room, 1).await;
    let bob = stack.connect("large-bob").await.unwrap();
    let joined = bob.request_for("joined", json!({ "action": "joinRoom", "roomId": room, "presence": true })).await;
    assert_eq!(List::of(&bob, room, &joined).ids(), ["large-ann", "large-bob"], "{joined}");
}

async fn counted(client: &Client, room: &str, count: u64) -> Value {
    let what = format!("{count} members of {room}");
    let is_it = |frame: &Value| frame["type"] == "presence" && frame["roomId"] == room && frame["count"] == count;
    client.expect(&what, is_it).await
}

pub(crate) async fn a_room_without_presence_has_no_members(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let ann = stack.connect("quiet-ann").await.unwrap();
    let joined = enter(&ann, "quiet", &json!(1)).await;
    assert!(joined.get("presence").is_none(), "{joined}");
    assert!(!has_membership(stack, "quiet").await, "a row of a room without presence is in no list");
    enter(&ann, "presence:loud", &json!(1)).await;
    assert!(has_membership(stack, "presence:loud").await);
}

async fn has_membership(stack: &LocalStack, room: &str) -> bool {
    let connection = rows(stack, room).await.remove(0).connection;
    row(stack, room, &connection).await.contains_key("memberOf")
}
