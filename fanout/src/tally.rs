//! What became of a broadcast, counted.

/// Counts of a room's broadcast. Connections, unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Posts made: every attempt counts.
    pub posts: u64,
    /// Connections that got every frame.
    pub delivered: u64,
    /// Connections that are gone; their rows are deleted.
    pub gone: u64,
    /// Connections that answered 410 and whose rows are too young to delete.
    pub spared: u64,
    /// Connections that did not get every frame; their clients recover from the log.
    pub undelivered: u64,
    /// Frames that API Gateway found too large.
    pub too_large: u64,
    /// Posts answered 429.
    pub throttled: u64,
    /// Posts made again.
    pub retries: u64,
    /// Rows that had expired, and whose connections are closed by then.
    pub expired: u64,
}

impl Tally {
    /// Connections that were tried.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.delivered + self.gone + self.spared + self.undelivered
    }
}
