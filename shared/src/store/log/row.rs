//! An entry as a row.

use std::num::NonZeroU16;

use super::{Layout, LogEntry};
use crate::{
    item::{Item, Unreadable, number, read_number, read_optional_number, text},
    message::{LoggedMessage, Message},
    room::RoomId,
};

/// The attribute of [`LogEntry::append_start`]; absent from an entry that is the first of its append.
const APPEND_START: &str = "appendStart";

/// The attribute of [`LogEntry::previous`].
const PREVIOUS: &str = "previous";

/// The attribute that says in how many shards an entry goes out; absent from one that goes out directly.
const SHARDS: &str = "shards";

/// The attribute of [`LogEntry::floor`]; absent is 0.
const FLOOR: &str = "floor";

/// The attribute of [`LogEntry::state_at`].
const STATE_AT: &str = "stateAt";

pub(super) fn to_item(entry: &LogEntry) -> Item {
    let LoggedMessage { seq, message } = &entry.logged;
    let mut item = message.to_attributes();
    item.extend([
        ("roomId".into(), text(message.room.as_str())),
        ("seq".into(), number(seq)),
        ("appendedAt".into(), number(entry.appended_at)),
        ("expiresAt".into(), number(entry.expires_at)),
    ]);
    if entry.append_start < *seq {
        item.insert(APPEND_START.into(), number(entry.append_start));
    }
    if let Some(previous) = entry.previous {
        item.insert(PREVIOUS.into(), number(previous));
    }
    if let Layout::Shards(shards) = entry.layout {
        item.insert(SHARDS.into(), number(shards));
    }
    if entry.floor > 0 {
        item.insert(FLOOR.into(), number(entry.floor));
    }
    if let Some(state_at) = entry.state_at {
        item.insert(STATE_AT.into(), number(state_at));
    }
    item
}

pub(super) fn read_entry(room: &RoomId, item: &Item) -> Result<LogEntry, Unreadable> {
    let message = Message::read_attributes(room, item)?;
    let layout = match read_optional_number(item, SHARDS)? {
        None => Layout::Direct,
        Some(shards) => {
            let shards = u16::try_from(shards).ok().and_then(NonZeroU16::new);
            Layout::Shards(shards.ok_or(Unreadable(SHARDS))?)
        }
    };
    let seq = read_number(item, "seq")?;
    let append_start = read_optional_number(item, APPEND_START)?.unwrap_or(seq);
    if append_start > seq {
        return Err(Unreadable(APPEND_START));
    }
    Ok(LogEntry {
        logged: LoggedMessage { seq, message },
        append_start,
        previous: read_optional_number(item, PREVIOUS)?,
        appended_at: read_number(item, "appendedAt")?,
        expires_at: read_number(item, "expiresAt")?,
        layout,
        floor: read_optional_number(item, FLOOR)?.unwrap_or(0),
        state_at: read_optional_number(item, STATE_AT)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;
    use crate::{
        json,
        limits::MAX_INTEGER,
        message::draft::{Draft, Origin},
    };

    fn entry() -> LogEntry {
        let message =
            Message::new(RoomId::parse("r").unwrap(), "i", "alice", 7, RawValue::from_string("1".into()).unwrap());
        let logged = LoggedMessage { seq: 5, message };
        LogEntry {
            logged,
            append_start: 5,
            previous: None,
            appended_at: 8,
            expires_at: 9,
            layout: Layout::Direct,
            floor: 0,
            state_at: None,
        }
    }

    #[test]
    fn an_entry_that_goes_out_directly_says_nothing_of_shards_floor_or_state() {
        let item = to_item(&entry());
        assert!(
            [APPEND_START, PREVIOUS, SHARDS, FLOOR, STATE_AT].iter().all(|attribute| !item.contains_key(*attribute))
        );
        let read = read_entry(&entry().logged.message.room, &item).unwrap();
        assert_eq!((read.seq(), read.layout, read.floor, read.expires_at), (5, Layout::Direct, 0, 9));
    }

    #[test]
    fn what_was_appended_with_it_and_before_it_reads_back() {
        for (append_start, previous) in [(5, None), (3, None), (5, Some(2))] {
            let item = to_item(&LogEntry { append_start, previous, ..entry() });
            let read = read_entry(&entry().logged.message.room, &item).unwrap();
            assert_eq!((read.append_start, read.previous), (append_start, previous));
        }
    }

    #[test]
    fn layout_and_floor_read_back() {
        let layout = Layout::Shards(NonZeroU16::new(16).unwrap());
        let item = to_item(&LogEntry { layout, floor: 4, ..entry() });
        assert_eq!((&item[SHARDS], &item[FLOOR]), (&number(16), &number(4)));
        let read = read_entry(&entry().logged.message.room, &item).unwrap();
        assert_eq!((read.layout, read.floor), (layout, 4));
    }

    #[test]
    fn an_entry_tells_up_to_where_the_state_is_complete() {
        let with = |key: Option<&str>, state_at| {
            let mut entry = LogEntry { state_at, ..entry() };
            entry.logged.message.key = key.map(str::to_owned);
            let read = read_entry(&entry.logged.message.room, &to_item(&entry)).unwrap();
            assert_eq!(read.state_at, state_at);
            read.state_complete_to()
        };
        assert_eq!((with(None, None), with(Some("k"), None)), (5, 4));
        assert_eq!((with(None, Some(2)), with(Some("k"), Some(2)), with(Some("k"), Some(0))), (2, 2, 0));
        // Never beyond what was there before it.
        assert_eq!(with(Some("k"), Some(9)), 4);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let unreadable = |attribute: &str, value| {
            let mut item = to_item(&entry());
            item.insert(attribute.to_owned(), value);
            read_entry(&entry().logged.message.room, &item).unwrap_err()
        };
        assert_eq!(unreadable(SHARDS, number(0)), Unreadable(SHARDS));
        assert_eq!(unreadable(SHARDS, number(65_536)), Unreadable(SHARDS));
        assert_eq!(unreadable(FLOOR, text("x")), Unreadable(FLOOR));
        assert_eq!(unreadable(APPEND_START, number(6)), Unreadable(APPEND_START));
        assert_eq!(unreadable("data", text("{")), Unreadable("data"));
        assert_eq!(unreadable("version", number("1.5")), Unreadable("version"));
        // Beyond all numbers that are written: whoever counts on from it would start again at 0.
        assert_eq!(unreadable("seq", number(u64::MAX)), Unreadable("seq"));
        assert_eq!(unreadable("seq", number(MAX_INTEGER + 1)), Unreadable("seq"));
    }

    proptest! {
        #[test]
        fn an_accepted_message_reads_back_as_it_was(
            names in prop::collection::vec("[\\PC\0\u{202e}\u{fffe}]{1,64}", 3),
            text in "[\\PC\u{fffe}\u{ffff}]{0,40}",
            (version, seq) in (prop::option::of(0..=MAX_INTEGER), 1..=MAX_INTEGER),
        ) {
            let draft = serde_json::json!({
                "roomId": "r", "id": names[0], "key": names[1], "version": version, "data": {"text": text},
            });
            let draft = draft.to_string();
            let draft: Draft<'_> = json::read(&draft).unwrap();
            let message = draft.accept(Origin { id: "m", from: &names[2], sent_at: MAX_INTEGER }).unwrap();
            let entry = LogEntry { logged: LoggedMessage { seq, message }, ..entry() };
            let read = read_entry(&entry.logged.message.room, &to_item(&entry)).unwrap();
            prop_assert_eq!(read.logged.message.to_body(), entry.logged.message.to_body());
            prop_assert_eq!(read.logged.message.identity(), entry.logged.message.identity());
            prop_assert_eq!((read.seq(), read.appended_at, read.expires_at), (seq, 8, 9));
        }
    }
}
