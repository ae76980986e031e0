//! Connections that keep failing: they are closed, so that their clients connect anew and resume from the log.

use std::{cell::RefCell, collections::HashMap};

use shared::ConnectionId;

/// Broadcasts in a row that a connection may miss.
const LIMIT: u32 = 3;

/// Connections that are watched at the most.
const WATCHED: usize = 4_096;

/// Which connections have missed broadcasts, while the environment is warm.
#[derive(Debug, Default)]
pub struct Strikes {
    missed: RefCell<HashMap<ConnectionId, u32>>,
}

impl Strikes {
    /// Notes that a connection missed a broadcast. Says whether it has missed so many that it should be closed.
    #[must_use]
    pub fn missed(&self, connection: &ConnectionId) -> bool {
        let mut missed = self.missed.borrow_mut();
        if missed.len() >= WATCHED {
            // Most of them have long been served by other environments, or are gone: those that still fail will be back.
            missed.clear();
        }
        let count = missed.entry(connection.clone()).or_default();
        *count += 1;
        let enough = *count >= LIMIT;
        if enough {
            missed.remove(connection);
        }
        enough
    }

    /// Notes that a connection got a broadcast, or is gone.
    pub fn clear(&self, connection: &ConnectionId) {
        let mut missed = self.missed.borrow_mut();
        // Nearly always there is nobody to look for.
        if !missed.is_empty() {
            missed.remove(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_misses_in_a_row_count() {
        let strikes = Strikes::default();
        let connection = ConnectionId::new("c");
        assert!(!strikes.missed(&connection) && !strikes.missed(&connection));
        strikes.clear(&connection);
        assert!(!strikes.missed(&connection) && !strikes.missed(&connection));
        assert!(strikes.missed(&connection));
        assert!(!strikes.missed(&connection), "closing starts over");
    }
}
