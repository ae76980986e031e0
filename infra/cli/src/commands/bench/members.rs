//! The members of the room: each notes what it receives, and when.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};

use crate::{client::Client, failure::Failure, output::Output, stack::Stack};

/// Handshakes at once: API Gateway takes 500 a second.
const AT_ONCE: usize = 20;

/// The time for a reply.
const WITHIN: Duration = Duration::from_secs(20);

/// A message as a member received it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) id: String,
    pub(super) seq: u64,
    pub(super) at: Instant,
}

/// The members of the room.
pub(super) struct Members {
    listening: Vec<Member>,
}

struct Member {
    /// The number of different messages that it has.
    count: watch::Receiver<usize>,
    hang_up: watch::Sender<bool>,
    task: JoinHandle<Vec<Received>>,
}

impl Members {
    /// Connects, joins the room, and listens.
    pub(super) async fn join(stack: &Stack, room: &str, tokens: &[String], output: Output) -> Result<Self, Failure> {
        let bar = output.progress(Some(tokens.len() as u64), "connecting");
        let connecting = stream::iter(tokens).map(async |token| {
            let mut client = Client::connect(stack, token).await?;
            client.request("joined", json!({ "action": "joinRoom", "roomId": room }), WITHIN).await?;
            bar.inc(1);
            Ok::<_, Failure>(client)
        });
        let clients: Vec<_> = connecting.buffer_unordered(AT_ONCE).try_collect().await?;
        bar.finish_and_clear();
        let listening = clients.into_iter().map(|client| Member::listen(client, room.to_owned())).collect();
        Ok(Self { listening })
    }

    /// Waits until every member has so many messages, or none got any for a while. Returns the messages that each
    /// received.
    pub(super) async fn finish(&mut self, messages: usize, within: Duration, output: Output) -> Vec<Vec<Received>> {
        let bar = output.progress(Some(self.listening.len() as u64), "receiving");
        let mut received = Vec::new();
        for mut member in self.listening.drain(..) {
            let _ = tokio::time::timeout(within, member.count.wait_for(|count| *count >= messages)).await;
            let _ = member.hang_up.send(true);
            received.push(member.task.await.unwrap_or_default());
            bar.inc(1);
        }
        bar.finish_and_clear();
        received
    }
}

impl Member {
    fn listen(mut client: Client, room: String) -> Self {
        let (counted, count) = watch::channel(0);
        let (hang_up, mut is_over) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut received: Vec<Received> = Vec::new();
            let mut ids = std::collections::HashSet::new();
            loop {
                let frame = tokio::select! {
                    frame = client.next() => frame,
                    _ = is_over.changed() => break,
                };
                // Messages that would have come after the end of a connection count as lost.
                let Ok(frame) = frame else { return received };
                for message in frame.messages(&room) {
                    let id = message["id"].as_str().unwrap_or_default().to_owned();
                    ids.insert(id.clone());
                    received.push(Received { id, seq: message["seq"].as_u64().unwrap_or_default(), at: frame.at });
                }
                counted.send_replace(ids.len());
            }
            client.close().await;
            received
        });
        Self { count, hang_up, task }
    }
}
