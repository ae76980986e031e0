//! All that is known of a message.

use serde::Serialize;

/// All that is known of a message.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Findings {
    pub(crate) id: Option<String>,
    /// When a function said that it accepted it, in milliseconds since the Unix epoch. Nothing of what a producer wrote to the queue.
    pub(crate) accepted_at: Option<u64>,
    pub(crate) logged: Option<Logged>,
    /// The log's newest number.
    pub(crate) head_seq: Option<u64>,
    /// The oldest number that the log still has.
    pub(crate) first_seq: Option<u64>,
    pub(crate) broadcast: Broadcast,
    /// When a function said that it posted it, in milliseconds since the Unix epoch.
    pub(crate) posted_at: Option<u64>,
    /// Messages that wait in the queues before the log, those in flight among them, about.
    pub(crate) waiting: u64,
    /// Jobs that wait in the queue of shards, those in flight among them, about.
    pub(crate) waiting_jobs: u64,
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// What could not be looked at, and why.
    pub(crate) unseen: Vec<String>,
}

/// A message's place in the log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Logged {
    pub(crate) seq: u64,
    pub(crate) from: String,
    pub(crate) sent_at: u64,
    pub(crate) appended_at: u64,
    /// In how many shards it goes out; 0 is directly.
    pub(crate) shards: u16,
}

/// What the log's rows say of a message's broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Broadcast {
    /// Nothing: it is under way, or ended without a row, as most do.
    #[default]
    Unwritten,
    /// It is out, or was given up for good.
    Finished,
    /// It stopped in the middle, and goes on when its records come back.
    Unfinished,
}

/// A dead letter of the message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeadLetter {
    pub(crate) letter_id: String,
    pub(crate) reason: Option<String>,
    pub(crate) queued_at: u64,
}
