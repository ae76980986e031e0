//! Connections of the WebSocket API.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};

/// API Gateway's id of a WebSocket connection. Opaque; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(Arc<str>);

impl ConnectionId {
    /// Takes an id as API Gateway gave it.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The connection's place in its rooms' index: a 16-bit hash of the id, evenly spread, so that a large room can
    /// be cut into slot ranges that never move while the connection lives.
    #[must_use]
    pub fn slot(&self) -> u16 {
        let digest = Sha256::digest(self.0.as_bytes());
        u16::from_be_bytes([digest[0], digest[1]])
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows written by one version are read by the next: the hash may never change.
    #[test]
    fn slots_are_stable() {
        assert_eq!(ConnectionId::new("L0SM9cOFvHcCIhw=").slot(), 0xa668);
    }

    #[test]
    fn slots_are_evenly_spread() {
        let mut eighths = [0_u32; 8];
        for n in 0..8000 {
            let slot = ConnectionId::new(&format!("connection-{n}=")).slot();
            eighths[usize::from(slot >> 13)] += 1;
        }
        assert!(eighths.iter().all(|n| (850..1150).contains(n)), "{eighths:?}");
    }
}
