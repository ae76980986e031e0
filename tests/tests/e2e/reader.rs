//! The least that a client must do to miss nothing: an application behind it sees each message once and in order.

use serde_json::{Value, json};
use testkit::history::Seen;
use testkit::websocket::Client;

/// A room as an application sees it, over as many connections as it takes.
#[derive(Debug)]
pub(crate) struct Reader {
    room: String,
    last: u64,
    /// The messages that the application saw.
    pub(crate) seen: Vec<Seen>,
}

impl Reader {
    /// A reader that has everything up to `last`; with 0 it wants everything that is retained.
    pub(crate) fn new(room: &str, last: u64) -> Self {
        Self { room: room.to_owned(), last, seen: Vec::new() }
    }

    /// Joins from its position, and reads missed messages.
    pub(crate) async fn join(&mut self, client: &Client) {
        let joined = client.join_after(&self.room, self.last).await;
        if self.recover(&joined) {
            self.sync(client).await;
        }
    }

    /// Reads everything up to the head of the log.
    pub(crate) async fn sync(&mut self, client: &Client) {
        loop {
            let rooms = json!({ self.room.as_str(): self.last });
            let synced = client.request_for("synced", json!({ "action": "sync", "rooms": rooms })).await;
            if !self.recover(&synced["rooms"][&self.room]) {
                return;
            }
        }
    }

    /// Reads the broadcasts of a connection, up to the first gap.
    pub(crate) fn read_broadcasts(&mut self, client: &Client) {
        for frame in client.received().iter().map(|frame| &frame.json) {
            if frame["type"] != "messages" || frame["roomId"] != self.room.as_str() {
                continue;
            }
            let messages = frame["messages"].as_array().unwrap();
            let after = frame["after"].as_u64().unwrap_or_else(|| number(&messages[0]) - 1);
            let through = frame["seq"].as_u64().unwrap_or_else(|| number(messages.last().unwrap()));
            if after > self.last {
                return;
            }
            self.see(messages);
            self.last = self.last.max(through);
        }
    }

    /// Takes a reply's messages; returns whether there are more.
    fn recover(&mut self, reply: &Value) -> bool {
        assert_eq!(reply["truncated"], false, "{reply}");
        self.see(reply["messages"].as_array().unwrap());
        reply["more"].as_bool().unwrap()
    }

    fn see(&mut self, messages: &[Value]) {
        for message in messages {
            if number(message) > self.last {
                self.last = number(message);
                self.seen.push(Seen::new(&self.room, self.last, message["id"].as_str().unwrap()));
            }
        }
    }
}

fn number(message: &Value) -> u64 {
    message["seq"].as_u64().unwrap()
}
