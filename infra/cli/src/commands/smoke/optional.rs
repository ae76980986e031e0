//! Steps for features that a stack may be without: state, presence, ephemeral messages.

use std::time::Duration;

use aws_sdk_dynamodb::Client as DynamoDb;
use serde_json::{Value, json};
use shared::{RoomId, clock::SystemClock, room_pattern::RoomPatterns, store::presence::PresenceTable};

use super::ground::{Ground, eventually};
use crate::{failure::Failure, stack::Stack};

/// The key that is set.
const KEY: &str = "smoke";

/// The time between two ephemeral messages. One that is too late is dropped, which may happen to the first while its
/// function starts.
const AGAIN: Duration = Duration::from_secs(1);

/// Whether a room keeps state.
pub(super) fn keeps_state(stack: &Stack, room: &str) -> bool {
    let (Some(rooms), Ok(room)) = (stack.parameters.get("StateRooms"), RoomId::parse(room)) else { return false };
    RoomPatterns::parse(rooms).is_ok_and(|rooms| rooms.matches(&room))
}

/// Sets a key, and reads it as a client that joins later.
pub(super) async fn state(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let (room, within) = (ground.room.clone(), ground.within);
    let set = json!({ "action": "sendMessage", "roomId": room, "key": KEY, "data": { "smoke": "state" } });
    let accepted = ground.alice()?.request("accepted", set, within).await?;
    let id = accepted["id"].as_str().unwrap_or_default().to_owned();
    ground.last = ground.hears(&room, &id).await?;
    let get = json!({ "action": "getState", "roomId": room });
    let page = ground.bob()?.request("state", get, within).await?;
    let is_it = |entry: &Value| entry["key"] == KEY && entry["seq"].as_u64() == Some(ground.last);
    match page["entries"].as_array() {
        Some(entries) if entries.iter().any(is_it) => Ok(()),
        _ => Err(Failure::Met(format!("the key is not in it: {page}"))),
    }
}

/// Sends ephemeral messages until one arrives.
pub(super) async fn ephemeral(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let (room, within) = (ground.room.clone(), ground.within);
    let typing = json!({ "action": "sendMessage", "roomId": room, "ephemeral": true, "key": KEY, "data": { "smoke": "typing" } });
    let trying = async {
        loop {
            ground.alice()?.request("accepted", typing.clone(), within).await?;
            let arrived = ground.bob()?.wait("the ephemeral message", AGAIN, |frame| {
                frame.json["type"] == "ephemeral" && frame.json["roomId"] == room
            });
            if arrived.await.is_ok() {
                return Ok(());
            }
        }
    };
    let tried = tokio::time::timeout(within, trying).await;
    tried.map_err(|_| Failure::Met(format!("no ephemeral message came within {within:?}")))?
}

/// Joins a room with presence, and leaves it.
pub(super) async fn presence(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let Some(room) = ground.presence_room.clone() else { return Ok(()) };
    let within = ground.within;
    let [_, subject] = ground.subjects();
    let join = json!({ "action": "joinRoom", "roomId": room, "presence": true });
    ground.bob()?.request("joined", join, within).await?;
    let tells = |frame: &crate::client::Frame| {
        let joined = frame.json["joined"].as_array();
        frame.json["type"] == "presence"
            && frame.json["roomId"] == room.as_str()
            && joined.is_none_or(|joined| joined.iter().any(|member| member["id"] == subject.as_str()))
    };
    ground.bob()?.wait("the frame that says who is there", within, tells).await?;
    ground.bob()?.request("left", json!({ "action": "leaveRoom", "roomId": room }), within).await?;
    // Before that, the room's row may be written anew.
    let parsed = RoomId::parse(&room).map_err(|error| Failure::Met(error.to_string()))?;
    eventually(ground, "the end of presence in the room", async |ground| {
        let table = ground.stack.output("ConnectionsTable")?;
        let row = PresenceTable::new(DynamoDb::new(&ground.stack.sdk), table, SystemClock).get(&parsed).await;
        let row = row.map_err(Failure::call("the room's presence was to be read"))?;
        Ok(row.is_none_or(|row| row.everybody == 0).then_some(()))
    })
    .await
}
