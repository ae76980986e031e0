//! The deletion of rows whose connections are gone, in full batches, while posting goes on.

use std::collections::{BTreeMap, BTreeSet};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use shared::{
    ConnectionId, RoomId,
    clock::Clock,
    store::connections::{ConnectionTable, DELETE_BATCH},
};
use tokio::sync::mpsc;

/// The most gone connections that wait in the channel. Posts never wait for deletions: when the channel is full, a row
/// stays, and the next broadcast finds its connection gone.
const WAITING: usize = 4_096;

/// Calls to delete rows that are under way at once.
const DELETES: usize = 4;

/// A connection that is gone from a room.
#[derive(Debug)]
pub struct Gone {
    /// The room.
    pub room: RoomId,
    /// The connection.
    pub connection: ConnectionId,
}

/// The channel from deliveries to [`delete_gone`].
#[must_use]
pub fn channel() -> (mpsc::Sender<Gone>, mpsc::Receiver<Gone>) {
    mpsc::channel(WAITING)
}

/// Deletes the rows of the connections that come through the channel, until it is closed: `ceil(n / 25)` calls for `n`
/// rows of a room. Rows that cannot be deleted are left to the next broadcast or their TTL. Several frames of an
/// invocation may find the same connection gone, and the table refuses a batch that names a row twice.
pub async fn delete_gone<C: Clock>(table: &ConnectionTable<C>, mut gone: mpsc::Receiver<Gone>) {
    let mut collected: BTreeMap<RoomId, BTreeSet<ConnectionId>> = BTreeMap::new();
    let mut deletes = FuturesUnordered::new();
    loop {
        tokio::select! {
            received = gone.recv(), if deletes.len() < DELETES => {
                let Some(Gone { room, connection }) = received else { break };
                let batch = collected.entry(room.clone()).or_default();
                batch.insert(connection);
                if batch.len() == DELETE_BATCH {
                    let batch = std::mem::take(batch);
                    deletes.push(delete(table, room, batch).boxed_local());
                }
            }
            Some(()) = deletes.next(), if !deletes.is_empty() => {}
        }
    }
    let rest = collected.into_iter().filter(|(_, batch)| !batch.is_empty());
    deletes.extend(rest.map(|(room, batch)| delete(table, room, batch).boxed_local()));
    deletes.collect::<()>().await;
}

async fn delete<C: Clock>(table: &ConnectionTable<C>, room: RoomId, batch: BTreeSet<ConnectionId>) {
    let batch: Vec<_> = batch.into_iter().collect();
    if let Err(error) = table.remove(&room, &batch).await {
        tracing::warn!(%room, rows = batch.len(), %error, "rows of closed connections were not deleted");
    }
}
