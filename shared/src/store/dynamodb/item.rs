//! Reading and writing attributes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::store::StoreError;

/// A row.
pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A row that this code did not write, or a version of it from the future.
fn unreadable(attribute: &'static str) -> StoreError {
    StoreError {
        operation: "reading a row",
        source: format!("attribute {attribute} is missing or of another type").into(),
    }
}

pub(super) fn read_text<'a>(item: &'a Item, attribute: &'static str) -> Result<&'a str, StoreError> {
    item.get(attribute).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or_else(|| unreadable(attribute))
}

pub(super) fn read_number(item: &Item, attribute: &'static str) -> Result<u64, StoreError> {
    let digits = item.get(attribute).and_then(|value| value.as_n().ok());
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| unreadable(attribute))
}
