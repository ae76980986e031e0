//! A small WebSocket client of a stack, for commands that try or measure it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout_at};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderValue},
};

use crate::{failure::Failure, stack::Stack};

/// A connection. Dropping it ends it without a close frame.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Frames that came while another one was waited for.
    waiting: VecDeque<Frame>,
    requests: u64,
}

/// A frame of the server.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When it came.
    pub at: Instant,
    /// Its content.
    pub json: Value,
}

impl Frame {
    /// The messages of a broadcast to this room; none of any other frame.
    pub fn messages(&self, room: &str) -> impl Iterator<Item = &Value> {
        let is_broadcast = self.json["type"] == "messages" && self.json["roomId"] == room;
        self.json["messages"].as_array().filter(|_| is_broadcast).into_iter().flatten()
    }
}

impl Client {
    /// Connects with a token. It goes into a header: unlike a URL, nobody logs that.
    ///
    /// # Errors
    /// When the handshake is refused, or nobody answers.
    pub async fn connect(stack: &Stack, token: &str) -> Result<Self, Failure> {
        // An error means that one is installed already, which is the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let url = stack.websocket_url()?;
        let asked = |why: &str| Failure::Met(format!("{url} is no WebSocket URL to connect to: {why}"));
        let mut request = url.into_client_request().map_err(|error| asked(&error.to_string()))?;
        let value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| asked(&error.to_string()))?;
        request.headers_mut().insert("authorization", value);
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self { socket, waiting: VecDeque::new(), requests: 0 }),
            Err(Error::Http(response)) => {
                Err(Failure::Met(format!("the handshake was refused with {}", response.status())))
            }
            Err(error) => Err(Failure::call(format!("{url} was to be connected to"))(error)),
        }
    }

    /// Sends a frame and waits for its reply.
    ///
    /// # Errors
    /// When the reply is an error or of another type, when none comes in time, or when the connection ends.
    pub async fn request(&mut self, kind: &str, mut frame: Value, within: Duration) -> Result<Value, Failure> {
        self.requests += 1;
        let id = format!("r{}", self.requests);
        frame["requestId"] = json!(id);
        self.send(&frame).await?;
        let action = frame["action"].as_str().unwrap_or_default();
        let reply = self.wait(&format!("the reply to {action}"), within, |reply| reply.json["requestId"] == id).await?;
        if reply.json["type"] == kind {
            return Ok(reply.json);
        }
        Err(Failure::Met(format!("the reply to {action} is no `{kind}`: {}", reply.json)))
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&mut self, frame: &Value) -> Result<(), Failure> {
        let sent = self.socket.send(Message::text(frame.to_string())).await;
        sent.map_err(Failure::call("a frame was to be sent"))
    }

    /// Waits for a frame that is wanted, or takes one that came earlier; other frames are kept for later.
    ///
    /// # Errors
    /// When it does not come in time, or the connection ends.
    pub async fn wait(
        &mut self,
        what: &str,
        within: Duration,
        is_it: impl Fn(&Frame) -> bool,
    ) -> Result<Frame, Failure> {
        if let Some(position) = self.waiting.iter().position(&is_it)
            && let Some(frame) = self.waiting.remove(position)
        {
            return Ok(frame);
        }
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let received = timeout_at(deadline, self.receive()).await;
            let frame = received.map_err(|_| Failure::Met(format!("{what} did not come within {within:?}")))??;
            if is_it(&frame) {
                return Ok(frame);
            }
            self.waiting.push_back(frame);
        }
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn next(&mut self) -> Result<Frame, Failure> {
        match self.waiting.pop_front() {
            Some(frame) => Ok(frame),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Result<Frame, Failure> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let json = serde_json::from_str(&text).map_err(Failure::call("a frame was to be read"))?;
                    return Ok(Frame { at: Instant::now(), json });
                }
                Some(Ok(Message::Close(frame))) => {
                    let why = frame.map(|frame| format!(" with {}", frame.code)).unwrap_or_default();
                    return Err(Failure::Met(format!("the connection was closed{why}")));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Failure::call("a frame was to be received")(error)),
                None => return Err(Failure::Met("the connection has ended".to_owned())),
            }
        }
    }

    /// Closes the connection with a close frame.
    pub async fn close(mut self) {
        // An error means that the connection is closed already.
        let _ = self.socket.close(None).await;
    }
}
