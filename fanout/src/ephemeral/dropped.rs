//! The reasons why an ephemeral message is not posted.

use shared::metrics::names::{
    Counter, EPHEMERALS_DROPPED_BROKEN, EPHEMERALS_DROPPED_BUDGET, EPHEMERALS_DROPPED_FAILED, EPHEMERALS_DROPPED_FULL,
    EPHEMERALS_DROPPED_LARGE, EPHEMERALS_DROPPED_OLD, EPHEMERALS_DROPPED_SUPERSEDED, EPHEMERALS_DROPPED_THROTTLED,
};

/// The reason why a message was not posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It is too old.
    Old,
    /// Its sender has a newer one with the same key.
    Superseded,
    /// It does not fit its room's frame.
    Full,
    /// Its room is too large.
    Large,
    /// The allowance does not pay for its frame.
    Budget,
    /// The account refuses posts.
    Throttled,
    /// It cannot be read as a message.
    Broken,
    /// The room could not be read, or no connection can be posted to.
    Failed,
}

impl Dropped {
    /// The metric that counts it.
    #[must_use]
    pub fn counter(self) -> Counter {
        match self {
            Self::Old => EPHEMERALS_DROPPED_OLD,
            Self::Superseded => EPHEMERALS_DROPPED_SUPERSEDED,
            Self::Full => EPHEMERALS_DROPPED_FULL,
            Self::Large => EPHEMERALS_DROPPED_LARGE,
            Self::Budget => EPHEMERALS_DROPPED_BUDGET,
            Self::Throttled => EPHEMERALS_DROPPED_THROTTLED,
            Self::Broken => EPHEMERALS_DROPPED_BROKEN,
            Self::Failed => EPHEMERALS_DROPPED_FAILED,
        }
    }
}
