//! Requests about a room's members: `presence` in `joinRoom`, and `getMembers`.

use serde::{Deserialize, Deserializer, de::Error};
use shared::{
    RoomId,
    json::{Counter, FieldError, Text, required},
    limits::{MEMBERS, MEMBERS_DEFAULT, SUBJECT_BYTES},
    presence::{Listing, MemberData},
};

use super::{JoinRoom, PageLimit};

impl JoinRoom<'_> {
    /// The connection's entry in the list of members, if it is to be in it.
    ///
    /// # Errors
    /// When `presenceData` is too long, not readable everywhere, or there without `presence`.
    pub fn listing(&self) -> Result<Option<Listing>, FieldError> {
        match (self.presence == Some(true), self.presence_data) {
            (true, data) => Ok(Some(Listing { data: data.map(MemberData::of_client).transpose()? })),
            (false, None) => Ok(None),
            (false, Some(_)) => Err(FieldError::invalid("presenceData", "must come with `presence`")),
        }
    }
}

/// The fields of `getMembers`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetMembers {
    /// The room whose members are read.
    #[serde(deserialize_with = "required")]
    pub room_id: RoomId,
    /// Only members whose subjects come after this one.
    pub after: Option<SubjectAfter>,
    /// The `rev` that came with the first page.
    pub rev: Option<Counter>,
    /// The most members on the page.
    pub limit: Option<PageLimit<MEMBERS>>,
}

impl GetMembers {
    /// Members at most; the default if the request names no limit.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.map_or(MEMBERS_DEFAULT, |PageLimit(limit)| limit)
    }
}

/// The subject after which a page of members begins; an empty one is before all.
#[derive(Clone, Debug)]
pub struct SubjectAfter(pub String);

impl<'de> Deserialize<'de> for SubjectAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        if text.len() > SUBJECT_BYTES {
            return Err(D::Error::custom(format!("must have at most {SUBJECT_BYTES} bytes")));
        }
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Inbound, Request};

    #[test]
    fn what_a_member_says_of_itself_is_small_readable_and_comes_with_presence() {
        let listing = |fields: &str| {
            let text = format!(r#"{{"action":"joinRoom","roomId":"r",{fields}}}"#);
            let Request::JoinRoom(join) = Inbound::parse(&text).unwrap().request else { panic!() };
            join.listing().map(|listing| listing.map(|listing| listing.data.map(|data| data.as_json().to_owned())))
        };
        assert_eq!(listing(r#""presence":true"#), Ok(Some(None)));
        assert_eq!(listing(r#""presence":true,"presenceData":null"#), Ok(Some(None)));
        assert_eq!(listing(r#""presence":true,"presenceData":{"a": 1}"#), Ok(Some(Some(r#"{"a": 1}"#.to_owned()))));
        assert_eq!(listing(r#""presence":false"#), Ok(None));
        let of_bytes =
            |bytes: usize| listing(&format!(r#""presence":true,"presenceData":"{}""#, "x".repeat(bytes - 2)));
        assert!(of_bytes(1_024).is_ok());
        let told = |result: Result<_, FieldError>| result.unwrap_err().to_string();
        assert_eq!(told(of_bytes(1_025)), "`presenceData` must have at most 1024 bytes of JSON, has 1025");
        assert!(
            told(listing(r#""presence":true,"presenceData":1e999"#)).starts_with("`presenceData` must be readable")
        );
        assert_eq!(told(listing(r#""presenceData":1"#)), "`presenceData` must come with `presence`");
    }
}
