//! A batch of a room's messages, before and after it is logged.

use shared::{LoggedMessage, Message, store::log::LogHead};

use super::{Place, StateWork};

/// A room's messages as they came from the queue.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The messages, in the order of the queue.
    pub messages: Vec<Message>,
    /// Whether the queue has delivered any of them before.
    pub redelivered: bool,
    /// When the oldest of them was accepted, in milliseconds since the Unix epoch.
    pub oldest: u64,
}

/// A batch as it stands in the log.
#[derive(Debug)]
pub struct Logged {
    /// The place of each message of the batch, in its order.
    pub places: Vec<Place>,
    /// The messages, ascending by number, each once.
    pub messages: Vec<LoggedMessage>,
    /// Every number below is finished with: messages of the batch that have such numbers are not posted any more.
    pub floor: u64,
    /// Whether any of it was in the log before, so that some of it may have been posted.
    pub known: bool,
    /// The number of messages that were numbered now.
    pub numbered: usize,
    /// The newest of the messages, as the log's head.
    pub head: Option<LogHead>,
    /// Whether the log may have no head yet, or that of a log that has expired: the messages were appended under the
    /// fence, or in an earlier attempt, of which nothing is known.
    pub may_start: bool,
    /// The work that completes the room's state up to the log's end; `None` where no state is kept or nothing is to be
    /// written.
    pub state: Option<StateWork>,
}
