//! An entry as a row.

use std::num::NonZeroU16;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::value::RawValue;

use super::{Layout, LogEntry};
use crate::{
    message::{LoggedMessage, Message},
    room::RoomId,
    store::item::{Item, Unreadable, number, read_number, read_optional_number, read_text, text},
};

/// The attribute that says in how many shards an entry goes out; absent from one that goes out directly.
const SHARDS: &str = "shards";

/// The attribute of [`LogEntry::floor`]; absent is 0.
const FLOOR: &str = "floor";

pub(super) fn to_item(entry: &LogEntry) -> Item {
    let LoggedMessage { seq, message } = &entry.logged;
    let mut item = Item::from([
        ("roomId".into(), text(message.room.as_str())),
        ("seq".into(), number(seq)),
        ("id".into(), text(&message.id)),
        ("from".into(), text(&message.from)),
        ("sentAt".into(), number(message.sent_at)),
        ("data".into(), text(message.data.get())),
        ("appendedAt".into(), number(entry.appended_at)),
        ("expiresAt".into(), number(entry.expires_at)),
    ]);
    if let Some(key) = &message.key {
        item.insert("key".into(), text(key));
    }
    if let Some(version) = message.version {
        item.insert("version".into(), number(version));
    }
    if message.remove {
        item.insert("remove".into(), AttributeValue::Bool(true));
    }
    if let Some(seconds) = message.ttl_seconds {
        item.insert("ttlSeconds".into(), number(seconds));
    }
    if let Layout::Shards(shards) = entry.layout {
        item.insert(SHARDS.into(), number(shards));
    }
    if entry.floor > 0 {
        item.insert(FLOOR.into(), number(entry.floor));
    }
    item
}

pub(super) fn read_entry(room: &RoomId, item: &Item) -> Result<LogEntry, Unreadable> {
    let data = RawValue::from_string(read_text(item, "data")?.to_owned()).map_err(|_| Unreadable("data"))?;
    let message = Message {
        room: room.clone(),
        id: read_text(item, "id")?.to_owned(),
        from: read_text(item, "from")?.to_owned(),
        sent_at: read_number(item, "sentAt")?,
        data,
        key: item.contains_key("key").then(|| read_text(item, "key")).transpose()?.map(str::to_owned),
        version: read_optional_number(item, "version")?,
        remove: item.contains_key("remove"),
        ttl_seconds: read_optional_number(item, "ttlSeconds")?,
    };
    let layout = match read_optional_number(item, SHARDS)? {
        None => Layout::Direct,
        Some(shards) => {
            let shards = u16::try_from(shards).ok().and_then(NonZeroU16::new);
            Layout::Shards(shards.ok_or(Unreadable(SHARDS))?)
        }
    };
    Ok(LogEntry {
        logged: LoggedMessage { seq: read_number(item, "seq")?, message },
        appended_at: read_number(item, "appendedAt")?,
        expires_at: read_number(item, "expiresAt")?,
        layout,
        floor: read_optional_number(item, FLOOR)?.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        draft::{Draft, Origin},
        json,
        limits::MAX_INTEGER,
    };

    fn entry() -> LogEntry {
        let message = Message {
            room: RoomId::parse("r").unwrap(),
            id: "i".into(),
            from: "alice".into(),
            sent_at: 7,
            data: RawValue::from_string("1".into()).unwrap(),
            key: None,
            version: None,
            remove: false,
            ttl_seconds: None,
        };
        let logged = LoggedMessage { seq: 5, message };
        LogEntry { logged, appended_at: 8, expires_at: 9, layout: Layout::Direct, floor: 0 }
    }

    #[test]
    fn an_entry_that_goes_out_directly_says_nothing_of_shards_or_floor() {
        let item = to_item(&entry());
        assert!(!item.contains_key(SHARDS) && !item.contains_key(FLOOR));
        let read = read_entry(&entry().logged.message.room, &item).unwrap();
        assert_eq!((read.seq(), read.layout, read.floor, read.expires_at), (5, Layout::Direct, 0, 9));
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
    fn what_cannot_be_read_is_named() {
        let unreadable = |attribute: &str, value| {
            let mut item = to_item(&entry());
            item.insert(attribute.to_owned(), value);
            read_entry(&entry().logged.message.room, &item).unwrap_err()
        };
        assert_eq!(unreadable(SHARDS, number(0)), Unreadable(SHARDS));
        assert_eq!(unreadable(SHARDS, number(65_536)), Unreadable(SHARDS));
        assert_eq!(unreadable(FLOOR, text("x")), Unreadable(FLOOR));
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
