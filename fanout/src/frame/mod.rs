//! Broadcast frames.

pub mod encode;
mod packing;
pub mod repack;

mod measure;

use std::{ops::RangeInclusive, rc::Rc};

use bytes::Bytes;
use sha2::{Digest, Sha256};

pub(crate) use measure::count;

/// An encoded frame. It is cheap to clone: all posts share its bytes and the hash that their signatures are made from.
#[derive(Clone, Debug)]
pub struct EncodedFrame {
    body: Bytes,
    sha256: String,
    numbers: RangeInclusive<u64>,
    messages: Rc<[Carried]>,
    is_presence: bool,
}

/// The ids of the messages in some frames. There are a hundred at most, since a batch holds ten jobs of ten messages.
pub(crate) fn ids(frames: &[EncodedFrame]) -> Vec<&str> {
    frames.iter().flat_map(EncodedFrame::messages).map(|message| &*message.id).collect()
}

/// The part of a message in a frame that logs and metrics need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its id.
    pub id: Box<str>,
    /// When it was accepted, in milliseconds since the Unix epoch; 0 when the frame does not say.
    pub sent_at: u64,
}

impl EncodedFrame {
    /// A frame that stands for no numbers.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        Self::of(body, 0..=0, [].into())
    }

    /// A frame that stands for numbers and carries messages.
    pub(crate) fn of(body: Bytes, numbers: RangeInclusive<u64>, messages: Rc<[Carried]>) -> Self {
        let sha256 = hex::encode(Sha256::digest(&body));
        Self { body, sha256, numbers, messages, is_presence: false }
    }

    /// A `presence` frame.
    #[must_use]
    pub fn presence(body: Bytes) -> Self {
        Self { is_presence: true, ..Self::new(body) }
    }

    /// Whether it is a `presence` frame.
    #[must_use]
    pub fn is_presence(&self) -> bool {
        self.is_presence
    }

    /// The first number that it stands for.
    #[must_use]
    pub fn first(&self) -> u64 {
        *self.numbers.start()
    }

    /// The last number that it stands for.
    #[must_use]
    pub fn last(&self) -> u64 {
        *self.numbers.end()
    }

    /// The messages that it carries.
    #[must_use]
    pub fn messages(&self) -> &[Carried] {
        &self.messages
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
