//! Entries and pages for the tests of tails.

use serde_json::value::RawValue;
use shared::{
    LoggedMessage, Message, RoomId,
    store::log::{Layout, LogEntry, LogPage},
};

pub(super) fn message(id: &str) -> Message {
    Message::new(RoomId::parse("r").unwrap(), id, "alice", 0, RawValue::from_string("1".into()).unwrap())
}

pub(super) fn entry(seq: u64, id: &str) -> LogEntry {
    LogEntry {
        logged: LoggedMessage { seq, message: message(id) },
        append_start: seq,
        previous: None,
        appended_at: seq * 10,
        expires_at: seq + 1000,
        layout: Layout::Direct,
        floor: 3,
        state_at: None,
    }
}

pub(super) fn page(entries: &[LogEntry], more: bool) -> LogPage {
    LogPage { entries: entries.to_vec(), more, bytes: 100, unreadable: Vec::new() }
}
