//! Reading and writing attributes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::{limits::MAX_INTEGER, room::RoomId};

/// A row.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// An attribute of a row that is missing, of another type or out of range: this code did not write the row, or a
/// version of it from the future did. Never has what the attribute holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) &'static str);

/// The unreadable rows of a room that one call has met. They are logged in one line.
#[derive(Debug, Default)]
pub(crate) struct UnreadableRows {
    rows: usize,
    first: Option<Unreadable>,
}

impl UnreadableRows {
    pub(crate) fn add(&mut self, row: Unreadable) {
        self.rows += 1;
        self.first.get_or_insert(row);
    }

    pub(crate) fn warn(self, room: &RoomId) {
        if let Some(Unreadable(attribute)) = self.first {
            tracing::warn!(%room, rows = self.rows, attribute, "rows that cannot be read are left out");
        }
    }
}

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(crate) fn read_text<'a>(item: &'a Item, attribute: &'static str) -> Result<&'a str, Unreadable> {
    item.get(attribute).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or(Unreadable(attribute))
}

/// A number of at most [`MAX_INTEGER`], as all are that are written, so that counting on from it cannot overflow.
pub(crate) fn read_number(item: &Item, attribute: &'static str) -> Result<u64, Unreadable> {
    let digits = item.get(attribute).and_then(|value| value.as_n().ok());
    let number = digits.and_then(|digits| digits.parse().ok());
    number.filter(|number| *number <= MAX_INTEGER).ok_or(Unreadable(attribute))
}

/// As [`read_number`]; a missing attribute is `None`.
pub(crate) fn read_optional_number(item: &Item, attribute: &'static str) -> Result<Option<u64>, Unreadable> {
    item.contains_key(attribute).then(|| read_number(item, attribute)).transpose()
}

/// About how many bytes a row takes in the table, as DynamoDB counts them: names and values, a number at half a byte a
/// digit.
pub(crate) fn bytes(item: &Item) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        _ => 1,
    };
    item.iter().map(|(name, attribute)| name.len() + value(attribute)).sum()
}
