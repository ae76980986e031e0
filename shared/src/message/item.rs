//! A message as attributes of a row of its room's log.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::value::RawValue;

use super::Message;
use crate::{
    item::{Item, Unreadable, number, read_number, read_optional_number, read_text, text},
    room::RoomId,
};

impl Message {
    /// Its attributes, but for the room, which is the row's key.
    pub(crate) fn to_attributes(&self) -> Item {
        let mut item = Item::from([
            ("id".into(), text(&self.id)),
            ("from".into(), text(&self.from)),
            ("sentAt".into(), number(self.sent_at)),
            ("data".into(), text(self.data.get())),
        ]);
        if let Some(key) = &self.key {
            item.insert("key".into(), text(key));
        }
        if let Some(version) = self.version {
            item.insert("version".into(), number(version));
        }
        if self.remove {
            item.insert("remove".into(), AttributeValue::Bool(true));
        }
        if let Some(seconds) = self.ttl_seconds {
            item.insert("ttlSeconds".into(), number(seconds));
        }
        item
    }

    /// Reads a room's message.
    pub(crate) fn read_attributes(room: &RoomId, item: &Item) -> Result<Self, Unreadable> {
        let data = RawValue::from_string(read_text(item, "data")?.to_owned()).map_err(|_| Unreadable("data"))?;
        Ok(Self {
            room: room.clone(),
            id: read_text(item, "id")?.to_owned(),
            from: read_text(item, "from")?.to_owned(),
            sent_at: read_number(item, "sentAt")?,
            data,
            key: item.contains_key("key").then(|| read_text(item, "key")).transpose()?.map(str::to_owned),
            version: read_optional_number(item, "version")?,
            remove: item.contains_key("remove"),
            ttl_seconds: read_optional_number(item, "ttlSeconds")?,
        })
    }
}
