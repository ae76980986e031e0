//! A real WebSocket client that keeps every frame it receives.

mod connection;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::history::Seen;
use connection::Command;

/// The time for a reply. The local stack runs dev binaries, and starts them at the first call.
const REPLY_WITHIN: Duration = Duration::from_secs(60);

/// A frame as it was received.
#[derive(Clone, Debug)]
pub struct Received {
    /// The time of arrival.
    pub at: Instant,
    /// Its text.
    pub text: String,
    /// The text as JSON; `null` when it is not JSON.
    pub json: Value,
}

/// The end of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// The server sent a close frame with this code and reason.
    Closed(u16, String),
    /// The connection ended without a close frame.
    Broken,
    /// This side ended it.
    Ours,
}

/// A handshake that was refused, with the status of the answer; `None` when there was no answer at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused(pub Option<u16>);

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => write!(formatter, "the handshake was refused with {status}"),
            None => formatter.write_str("there was no answer to the handshake"),
        }
    }
}

impl std::error::Error for Refused {}

/// The parameters of a handshake.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// The `token` of the query.
    pub token: Option<String>,
    /// The `roomId` of the query.
    pub room: Option<String>,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
}

impl Handshake {
    /// A handshake with this token in the query.
    pub fn token(token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..Self::default() }
    }

    /// Adds a room to join at once.
    #[must_use]
    pub fn room(mut self, room: &str) -> Self {
        self.room = Some(room.to_owned());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn url(&self, endpoint: &str) -> String {
        let pairs = [("token", &self.token), ("roomId", &self.room)];
        let pairs: Vec<_> = pairs
            .iter()
            .filter_map(|(name, value)| {
                Some(format!("{name}={}", utf8_percent_encode(value.as_ref()?, NON_ALPHANUMERIC)))
            })
            .collect();
        if pairs.is_empty() { endpoint.to_owned() } else { format!("{endpoint}?{}", pairs.join("&")) }
    }
}

/// A connected client. Dropping it ends the connection without a close frame.
#[derive(Debug)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    received: Arc<Mutex<Vec<Received>>>,
    /// The number of frames received so far, to be waited for, and the end of the connection.
    progress: watch::Receiver<(usize, Option<End>)>,
    requests: Mutex<u64>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When the handshake is refused.
    pub async fn connect(endpoint: &str, handshake: &Handshake) -> Result<Self, Refused> {
        let mut request = handshake.url(endpoint).into_client_request().expect("a WebSocket URL");
        for (name, value) in &handshake.headers {
            request.headers_mut().insert(*name, value.parse().expect("a header value"));
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Self::start(stream)),
            Err(Error::Http(response)) => Err(Refused(Some(response.status().as_u16()))),
            Err(_) => Err(Refused(None)),
        }
    }

    fn start(stream: connection::Stream) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let (commands, queue) = mpsc::unbounded_channel();
        let (report, progress) = watch::channel((0, None));
        tokio::spawn(connection::run(stream, queue, Arc::clone(&received), report));
        Self { commands, received, progress, requests: Mutex::default() }
    }

    /// Sends a text frame as it is. A connection that has ended swallows it.
    pub fn send_text(&self, text: &str) {
        self.command(Command::Send(Message::text(text)));
    }

    /// Sends a binary frame.
    pub fn send_binary(&self, bytes: &[u8]) {
        self.command(Command::Send(Message::binary(bytes.to_vec())));
    }

    fn command(&self, command: Command) {
        // The task ends with the connection.
        let _ = self.commands.send(command);
    }

    /// Sends a JSON frame.
    pub fn send(&self, frame: &Value) {
        self.send_text(&frame.to_string());
    }

    /// Sends a frame with a `requestId` of its own, and waits for the reply, which may be an `error`.
    pub async fn request(&self, mut frame: Value) -> Value {
        let request_id = self.next_request_id();
        frame["requestId"] = json!(request_id);
        self.send(&frame);
        self.expect(&format!("the reply to {frame}"), |reply| reply["requestId"] == request_id.as_str()).await
    }

    /// Like [`request`](Self::request), for a reply of this type.
    ///
    /// # Panics
    /// When the reply is of another type.
    pub async fn request_for(&self, kind: &str, frame: Value) -> Value {
        let reply = self.request(frame.clone()).await;
        assert_eq!(reply["type"], kind, "the reply to {frame} is {reply}");
        reply
    }

    /// Like [`request`](Self::request), on a connection that may fail: `None` when it ends first, or no reply comes in
    /// time.
    ///
    /// # Panics
    /// When the connection's task is gone.
    pub async fn ask(&self, mut frame: Value, within: Duration) -> Option<Value> {
        let request_id = self.next_request_id();
        frame["requestId"] = json!(request_id);
        let mut progress = self.progress.clone();
        let mut read = progress.borrow_and_update().0;
        self.send(&frame);
        let reply = async {
            loop {
                let ended = progress.borrow_and_update().1.is_some();
                let new = self.received_from(read);
                read += new.len();
                let reply = new.into_iter().find(|frame| frame.json["requestId"] == request_id.as_str());
                if reply.is_some() || ended {
                    return reply.map(|frame| frame.json);
                }
                progress.changed().await.expect("the connection's task reports its end");
            }
        };
        tokio::time::timeout(within, reply).await.ok().flatten()
    }

    fn next_request_id(&self) -> String {
        let mut requests = self.requests.lock().unwrap();
        *requests += 1;
        format!("r{}", *requests)
    }

    /// Joins a room; returns the `joined` reply.
    pub async fn join(&self, room: &str) -> Value {
        self.request_for("joined", json!({ "action": "joinRoom", "roomId": room })).await
    }

    /// Joins a room again from where it was left; returns the `joined` reply with the missed messages.
    pub async fn join_after(&self, room: &str, after: u64) -> Value {
        self.request_for("joined", json!({ "action": "joinRoom", "roomId": room, "after": after })).await
    }

    /// Leaves a room.
    pub async fn leave(&self, room: &str) {
        self.request_for("left", json!({ "action": "leaveRoom", "roomId": room })).await;
    }

    /// Sends a message; returns the id under which it was accepted.
    pub async fn say(&self, room: &str, data: Value) -> String {
        let frame = json!({ "action": "sendMessage", "roomId": room, "data": data });
        let accepted = self.request_for("accepted", frame).await;
        accepted["id"].as_str().expect("an id").to_owned()
    }

    /// Every frame so far, in order.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The frames from this position on, in order.
    pub fn received_from(&self, place: usize) -> Vec<Received> {
        self.received.lock().unwrap().get(place..).unwrap_or_default().to_vec()
    }

    /// The messages of every broadcast (`messages` frame) of one room so far, in order of arrival.
    pub fn messages(&self, room: &str) -> Vec<Value> {
        let received = self.received.lock().unwrap();
        let broadcasts =
            received.iter().filter(|frame| frame.json["type"] == "messages" && frame.json["roomId"] == room);
        broadcasts.flat_map(|frame| frame.json["messages"].as_array().cloned().unwrap_or_default()).collect()
    }

    /// The messages as the checker takes them: every message of every broadcast of any room, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for frame in self.received().iter().filter(|frame| frame.json["type"] == "messages") {
            let room = frame.json["roomId"].as_str().expect("a room");
            for message in frame.json["messages"].as_array().expect("messages") {
                let seq = message["seq"].as_u64().expect("a number");
                seen.push(Seen::new(room, seq, message["id"].as_str().expect("an id")));
            }
        }
        seen
    }

    /// Waits for the first frame that satisfies a condition, which may have arrived already.
    ///
    /// # Panics
    /// When none comes within twenty seconds, or the connection ends first.
    pub async fn expect(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let found =
            |frames: &[Received]| frames.iter().find(|frame| condition(&frame.json)).map(|frame| frame.json.clone());
        self.wait(what, REPLY_WITHIN, found).await
    }

    /// Waits until this many messages of a room have been broadcast to this client; returns all there are.
    ///
    /// # Panics
    /// When they do not come in time, or the connection ends first.
    pub async fn expect_messages(&self, room: &str, count: usize, within: Duration) -> Vec<Value> {
        let what = format!("{count} messages of {room}");
        self.wait(&what, within, |_| Some(()).filter(|()| self.messages(room).len() >= count)).await;
        self.messages(room)
    }

    /// The end of the connection, if it has ended.
    pub fn end(&self) -> Option<End> {
        self.progress.borrow().1.clone()
    }

    /// Waits for the connection to end.
    ///
    /// # Panics
    /// When it does not within twenty seconds.
    pub async fn ended(&self) -> End {
        let mut progress = self.progress.clone();
        let ended = tokio::time::timeout(REPLY_WITHIN, progress.wait_for(|(_, end)| end.is_some())).await;
        let ended = ended.expect("the connection to end in time").expect("the connection's task reports its end");
        ended.1.clone().expect("an end")
    }

    /// Closes the connection with a close frame.
    pub async fn close(self) {
        self.command(Command::Close);
        self.ended().await;
    }

    /// Ends the TCP connection without a close frame, as the end of a client's process does.
    pub async fn kill(self) {
        self.command(Command::Kill);
        self.ended().await;
    }

    async fn wait<T>(&self, what: &str, within: Duration, found: impl Fn(&[Received]) -> Option<T>) -> T {
        let mut progress = self.progress.clone();
        let look = async {
            loop {
                // The value is marked as seen before the check, so that changes during the check are noticed.
                let end = progress.borrow_and_update().1.clone();
                let frames = self.received();
                if let Some(found) = found(&frames) {
                    return found;
                }
                assert_eq!(end, None, "the connection ended while waiting for {what}; received: {}", texts(&frames));
                progress.changed().await.expect("the connection's task reports its end");
            }
        };
        let found = tokio::time::timeout(within, look).await.ok();
        found.unwrap_or_else(|| panic!("not within {within:?}: {what}; received: {}", texts(&self.received())))
    }
}

fn texts(frames: &[Received]) -> String {
    const SHOWN: usize = 10;
    let last: Vec<_> = frames.iter().rev().take(SHOWN).rev().map(|frame| frame.text.as_str()).collect();
    format!("{} frames, the last of them: {}", frames.len(), last.join(" "))
}

#[cfg(test)]
mod tests;
