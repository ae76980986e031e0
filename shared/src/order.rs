//! The order of a key's messages: the greatest is the key's value.

use std::collections::HashMap;

use crate::message::LoggedMessage;

/// The place of a message among those of its key: by its version, which is 0 without one, then by its number.
///
/// The order is total, so that messages may be applied in any order, any number of times, by anybody: whoever keeps the
/// greatest of those that it has seen ends with the same value. For example, of a message with version 5, one without a
/// version and one with version 3 the first stays, in whatever order they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// The version; 0 without one.
    pub version: u64,
    /// The message's number in the log.
    pub seq: u64,
}

impl Rank {
    /// The rank of a message with this version and number.
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
    /// The message's rank among those of its key.
    #[must_use]
    pub fn rank(&self) -> Rank {
        Rank::of(self.message.version, self.seq)
    }
}

/// The greatest message of each key among some messages. Messages without a key are left out.
#[must_use]
pub fn greatest<'a>(messages: impl IntoIterator<Item = &'a LoggedMessage>) -> HashMap<&'a str, &'a LoggedMessage> {
    let mut greatest: HashMap<&str, &LoggedMessage> = HashMap::new();
    for candidate in messages {
        if let Some(key) = &candidate.message.key {
            let current = greatest.entry(key).or_insert(candidate);
            if candidate.rank().supersedes(current.rank()) {
                *current = candidate;
            }
        }
    }
    greatest
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
