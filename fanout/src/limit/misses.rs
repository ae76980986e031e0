//! Connections that keep missing broadcasts: they are closed, so that their clients connect anew and resume from the
//! log.

use std::{cell::RefCell, collections::HashMap};

use shared::ConnectionId;

/// The miss in a row at which a connection is closed.
const LIMIT: u32 = 3;

/// The most connections that are watched.
const WATCHED: usize = 4_096;

/// The broadcasts in a row that each connection has missed, while the environment is warm.
#[derive(Debug, Default)]
pub struct ConsecutiveMisses {
    counts: RefCell<HashMap<ConnectionId, u32>>,
}

impl ConsecutiveMisses {
    /// Notes that a connection missed a broadcast. Returns whether it is the third in a row, so that the connection
    /// should be closed.
    #[must_use]
    pub fn missed(&self, connection: &ConnectionId) -> bool {
        let mut counts = self.counts.borrow_mut();
        if counts.len() >= WATCHED && !counts.contains_key(connection) {
            // Most of them are gone by now, or served by other environments. Those that still fail will be counted
            // again.
            counts.clear();
        }
        let count = counts.entry(connection.clone()).or_default();
        *count += 1;
        let is_enough = *count >= LIMIT;
        if is_enough {
            counts.remove(connection);
        }
        is_enough
    }

    /// Whether the connection missed the broadcast before this one. It then gets one attempt only, so that a connection
    /// which hangs does not hold up its room again and again.
    #[must_use]
    pub fn has_missed(&self, connection: &ConnectionId) -> bool {
        let counts = self.counts.borrow();
        // Nearly always the map is empty, which saves hashing the id.
        !counts.is_empty() && counts.contains_key(connection)
    }

    /// Notes that a connection got a broadcast, or is gone.
    pub fn clear(&self, connection: &ConnectionId) {
        let mut counts = self.counts.borrow_mut();
        if !counts.is_empty() {
            counts.remove(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_misses_in_a_row_count() {
        let misses = ConsecutiveMisses::default();
        let connection = ConnectionId::new("c");
        assert!(!misses.missed(&connection) && !misses.missed(&connection));
        misses.clear(&connection);
        assert!(!misses.has_missed(&connection));
        assert!(!misses.missed(&connection) && !misses.missed(&connection));
        assert!(misses.has_missed(&connection) && !misses.has_missed(&ConnectionId::new("d")));
        assert!(misses.missed(&connection));
        assert!(!misses.has_missed(&connection) && !misses.missed(&connection), "closing starts over");
    }

    #[test]
    fn memory_is_bounded() {
        let misses = ConsecutiveMisses::default();
        for number in 0..3 * WATCHED {
            assert!(!misses.missed(&ConnectionId::new(&number.to_string())));
        }
        assert!(misses.counts.borrow().len() <= WATCHED);
    }
}
