//! Deleting the rows of connections that are gone, in full batches, while posting goes on.

use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use shared::{
    ConnectionId, RoomId,
    clock::Clock,
    store::connections::{ConnectionTable, DELETE_BATCH},
};
use tokio::sync::mpsc;

/// Connections that wait to be collected at the most; beyond that, workers wait.
const WAITING: usize = 1_024;

/// Deletes under way at once.
const DELETES: usize = 4;

/// A connection that is gone from a room.
#[derive(Debug)]
pub struct Gone {
    /// The room.
    pub room: RoomId,
    /// The connection.
    pub connection: ConnectionId,
}

/// The channel from the workers to [`delete_gone`].
#[must_use]
pub fn channel() -> (mpsc::Sender<Gone>, mpsc::Receiver<Gone>) {
    mpsc::channel(WAITING)
}

/// Deletes what comes through the channel until it is closed: `ceil(n / 25)` calls for `n` rows of a room. Rows that
/// cannot be deleted are left for the next broadcast or their TTL; says how many were deleted.
pub async fn delete_gone<C: Clock>(store: &ConnectionTable<C>, mut gone: mpsc::Receiver<Gone>) -> usize {
    let mut collected: BTreeMap<RoomId, Vec<ConnectionId>> = BTreeMap::new();
    let mut deletes = FuturesUnordered::new();
    let mut rows = 0;
    loop {
        tokio::select! {
            received = gone.recv(), if deletes.len() < DELETES => {
                let Some(Gone { room, connection }) = received else { break };
                let batch = collected.entry(room.clone()).or_default();
                batch.push(connection);
                if batch.len() == DELETE_BATCH {
                    let batch = std::mem::take(batch);
                    deletes.push(delete(store, room, batch).boxed_local());
                }
            }
            Some(count) = deletes.next(), if !deletes.is_empty() => rows += count,
        }
    }
    let rest = collected.into_iter().filter(|(_, batch)| !batch.is_empty());
    deletes.extend(rest.map(|(room, batch)| delete(store, room, batch).boxed_local()));
    while let Some(count) = deletes.next().await {
        rows += count;
    }
    rows
}

async fn delete<C: Clock>(store: &ConnectionTable<C>, room: RoomId, batch: Vec<ConnectionId>) -> usize {
    match store.remove(&room, &batch).await {
        Ok(()) => batch.len(),
        Err(error) => {
            tracing::warn!(%room, rows = batch.len(), %error, "rows of closed connections were not deleted");
            0
        }
    }
}
