//! The order of a key's messages: the greatest is the key's value.

use crate::message::LoggedMessage;

/// Where a message stands among those of its key: by its version, or 0 without one; then by its number.
///
/// The order is total, so that messages may be applied in any order, any number of times, by anybody: whoever keeps the greatest
/// of those that it has seen ends with the same value. For example v5, then none, then v3 leave v5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// The version; 0 without one.
    pub version: u64,
    /// The number.
    pub seq: u64,
}

impl Rank {
    /// Of a message with this version and number.
    #[must_use]
    pub fn of(version: Option<u64>, seq: u64) -> Self {
        Self { version: version.unwrap_or_default(), seq }
    }

    /// Whether a message of this rank takes the place of one of another.
    #[must_use]
    pub fn supersedes(self, other: Self) -> bool {
        self > other
    }
}

impl LoggedMessage {
    /// Where it stands among the messages of its key.
    #[must_use]
    pub fn rank(&self) -> Rank {
        Rank::of(self.message.version, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_before_numbers() {
        let (old, none, new) = (Rank::of(Some(3), 9), Rank::of(None, 10), Rank::of(Some(5), 1));
        assert!(new.supersedes(old) && old.supersedes(none) && new.supersedes(none));
        assert!(Rank::of(Some(5), 2).supersedes(new) && !new.supersedes(new));
        assert_eq!(Rank::of(Some(0), 4), Rank::of(None, 4));
    }
}
