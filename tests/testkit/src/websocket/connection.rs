//! The task that owns a client's connection.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{End, Received};

pub(super) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The commands of the client's owner.
#[derive(Debug)]
pub(super) enum Command {
    Send(Message),
    Close,
    Kill,
}

/// Reads and writes until the connection ends, or until its owner ends it or is dropped.
pub(super) async fn run(
    mut stream: Stream,
    mut commands: mpsc::UnboundedReceiver<Command>,
    received: Arc<Mutex<Vec<Received>>>,
    report: watch::Sender<(usize, Option<End>)>,
) {
    let mut closing = false;
    let end = loop {
        let message = tokio::select! {
            command = commands.recv(), if !closing => {
                match command {
                    Some(Command::Send(message)) => {
                        if stream.send(message).await.is_err() {
                            break End::Broken;
                        }
                    }
                    Some(Command::Close) => {
                        closing = true;
                        if stream.close(None).await.is_err() {
                            break End::Ours;
                        }
                    }
                    // Dropping the stream sends FIN, but no close frame.
                    Some(Command::Kill) | None => break End::Ours,
                }
                continue;
            }
            message = stream.next() => message,
        };
        match message {
            Some(Ok(Message::Text(text))) => {
                let text = text.as_str().to_owned();
                let json = serde_json::from_str(&text).unwrap_or_default();
                received.lock().unwrap().push(Received { at: Instant::now(), text, json });
                report.send_modify(|(count, _)| *count += 1);
            }
            Some(Ok(Message::Close(_))) if closing => {}
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) =
                    frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.as_str().to_owned()));
                break End::Closed(code, reason);
            }
            // Pings are answered by the library; nothing sends binary frames.
            Some(Ok(_)) => {}
            Some(Err(_)) | None if closing => break End::Ours,
            Some(Err(_)) | None => break End::Broken,
        }
    };
    // Dropped before the end is reported, so that the connection is gone for sure when somebody learns of it.
    drop(stream);
    report.send_modify(|(_, reported)| *reported = Some(end));
}
