//! All that is known of a message.

use serde::Serialize;

/// All that is known of a message.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Findings {
    pub(crate) id: Option<String>,
    /// The time of the log line in which a function accepted it, in milliseconds since the Unix epoch. There is none
    /// for a message that a producer wrote to the queue.
    pub(crate) accepted_at: Option<u64>,
    pub(crate) logged: Option<Logged>,
    /// The log's newest number.
    pub(crate) head_seq: Option<u64>,
    /// The oldest number that the log still has.
    pub(crate) first_seq: Option<u64>,
    pub(crate) broadcast: Broadcast,
    /// The time of the log line in which a function posted it, in milliseconds since the Unix epoch.
    pub(crate) posted_at: Option<u64>,
    /// About how many messages are in the queues before the log, waiting or in flight.
    pub(crate) waiting: u64,
    /// About how many jobs are in the shard queue, waiting or in flight.
    pub(crate) waiting_jobs: u64,
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// The sources that could not be read, with the reason.
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
    /// The number of shards that it goes out in; 0 means that it is posted directly.
    pub(crate) shards: u16,
}

/// The state of a message's broadcast, as the log's rows show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Broadcast {
    /// There is no row: the broadcast is under way, or has ended without one, as most do.
    #[default]
    Unwritten,
    /// It has ended.
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
