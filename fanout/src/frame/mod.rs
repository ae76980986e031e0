//! Broadcast frames.

pub mod encode;
mod packing;
pub mod repack;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shared::text::hex;

/// An encoded frame. Cheap to clone: every post shares its bytes, and the hash that its signature is made from.
#[derive(Clone, Debug)]
pub struct EncodedFrame {
    body: Bytes,
    sha256: String,
    last: u64,
}

impl EncodedFrame {
    /// A frame of these bytes, which stands for no numbers.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        Self::up_to(body, 0)
    }

    /// A frame of these bytes that stands for numbers up to `last`.
    #[must_use]
    pub fn up_to(body: Bytes, last: u64) -> Self {
        let sha256 = hex(&Sha256::digest(&body));
        Self { body, sha256, last }
    }

    /// The last number that it stands for.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The bytes.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The bytes' SHA-256, in lowercase hexadecimal digits.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}
