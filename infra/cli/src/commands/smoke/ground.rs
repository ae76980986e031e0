//! The ground that all steps share: the rooms, the clients, and the results of earlier steps.

use std::time::Duration;

use serde_json::{Value, json};
use shared::RoomId;

use crate::{
    client::{Client, Frame},
    failure::Failure,
    stack::Stack,
    token,
    traces::Traces,
};

/// Seconds for which the steps' tokens are valid.
const TOKEN_SECONDS: u64 = 600;

/// The number of random characters in a room's name.
const RANDOM: usize = 12;

/// The time between two looks.
const POLL: Duration = Duration::from_millis(200);

/// The ground of one run.
pub(super) struct Ground<'a> {
    pub(super) stack: &'a Stack,
    /// The time for one answer.
    pub(super) within: Duration,
    /// The room of most steps.
    pub(super) room: String,
    /// The room of shard jobs and dead letters.
    pub(super) other_room: String,
    /// A room with presence, if the stack has such rooms.
    pub(super) presence_room: Option<String>,
    /// The client that sends.
    pub(super) alice: Option<Client>,
    /// The client that listens.
    pub(super) bob: Option<Client>,
    /// The number of the last message that was received.
    pub(super) last: u64,
}

impl<'a> Ground<'a> {
    pub(super) fn new(stack: &'a Stack, within: Duration) -> Result<Self, Failure> {
        // The command fails before it makes anything when this is no stack of Roomcast.
        for output in ["ConnectionsTable", "MessagesTable", "QueueUrl", "ShardQueueUrl", "DlqUrl", "EventBusName"] {
            stack.output(output)?;
        }
        let random: String = (0..RANDOM).map(|_| fastrand::alphanumeric()).collect();
        let room = format!("smoke:{random}");
        let other_room = format!("{room}:other");
        let presence_room = presence_room(stack, &room);
        Ok(Self { stack, within, room, other_room, presence_room, alice: None, bob: None, last: 0 })
    }

    /// The subjects that connect.
    pub(super) fn subjects(&self) -> [String; 2] {
        ["alice", "bob"].map(|name| format!("{}:{name}", self.room))
    }

    /// All that the run leaves behind.
    pub(super) fn traces(&self) -> Traces {
        let rooms = [self.room.clone(), self.other_room.clone()].into_iter().chain(self.presence_room.clone());
        Traces { rooms: rooms.collect(), subjects: self.subjects().to_vec() }
    }

    /// Connects a subject, with all rights in the rooms.
    pub(super) async fn connect(&self, subject: &str) -> Result<Client, Failure> {
        let mut rights = json!({ format!("{}*", self.room): ["join", "send", "history", "state"] });
        if let Some(room) = &self.presence_room {
            rights[room] = json!(["join"]);
        }
        let token = token::sign(self.stack, subject, rights, TOKEN_SECONDS).await?;
        let connecting = Client::connect(self.stack, &token);
        let connected = tokio::time::timeout(self.within, connecting).await;
        connected.map_err(|_| Failure::Met(format!("no answer to the handshake within {:?}", self.within)))?
    }

    pub(super) fn alice(&mut self) -> Result<&mut Client, Failure> {
        self.alice.as_mut().ok_or_else(not_connected)
    }

    pub(super) fn bob(&mut self) -> Result<&mut Client, Failure> {
        self.bob.as_mut().ok_or_else(not_connected)
    }

    /// Sends a message to the room; returns the id under which it was accepted.
    pub(super) async fn say(&mut self, text: &str) -> Result<String, Failure> {
        let frame = json!({ "action": "sendMessage", "roomId": self.room, "data": { "smoke": text } });
        let within = self.within;
        let accepted = self.alice()?.request("accepted", frame, within).await?;
        Ok(accepted["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the listener has the message with this id in a room; returns its number.
    pub(super) async fn hears(&mut self, room: &str, id: &str) -> Result<u64, Failure> {
        let within = self.within;
        let has_it = |frame: &Frame| frame.messages(room).any(|message| message["id"] == id);
        let frame = self.bob()?.wait("the broadcast", within, has_it).await?;
        let seq = frame.messages(room).filter_map(|message| message["seq"].as_u64()).max();
        seq.ok_or_else(|| Failure::Met(format!("the broadcast has no numbers: {}", frame.json)))
    }

    /// Closes all connections.
    pub(super) async fn hang_up(&mut self) {
        for client in [self.alice.take(), self.bob.take()].into_iter().flatten() {
            client.close().await;
        }
    }
}

fn not_connected() -> Failure {
    Failure::Met("there is no connection to try it with".to_owned())
}

/// Whether a list of messages has this one.
pub(super) fn has(messages: &Value, id: &str) -> bool {
    messages.as_array().is_some_and(|messages| messages.iter().any(|message| message["id"] == id))
}

/// A room with presence whose name has this ending, if there can be one.
fn presence_room(stack: &Stack, ending: &str) -> Option<String> {
    let patterns = stack.parameters.get("PresenceRooms")?;
    let mut beginnings = patterns.split(',').filter_map(|pattern| pattern.trim().strip_suffix('*'));
    let mut rooms = beginnings.by_ref().map(|beginning| format!("{beginning}{ending}"));
    // A personal room can only be joined by its owner.
    rooms.find(|room| RoomId::parse(room).is_ok_and(|room| room.owner().is_none()))
}

/// Looks again and again until something is found.
pub(super) async fn eventually<'g, T>(
    ground: &mut Ground<'g>,
    what: &str,
    look: impl AsyncFn(&Ground<'g>) -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let within = ground.within;
    let looking = async {
        loop {
            if let Some(found) = look(ground).await? {
                return Ok(found);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let found = tokio::time::timeout(within, looking).await;
    found.map_err(|_| Failure::Met(format!("{what} did not come within {within:?}")))?
}
