//! The JSON that a message may carry: every client must be able to read it. A frame holds messages of many senders. A
//! client whose parser refuses one of them would lose the whole frame, and lose it again at each sync: one message
//! would shut it out of the room.
//!
//! The rules are those of I-JSON (RFC 7493), except that a field may be there twice, which parsers accept.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::{json::FieldError, limits::DATA_LEVELS};

/// Checks that every client can read `data`; `field` is its name in the error.
///
/// # Errors
/// When some parsers would refuse it.
pub(crate) fn check(field: &'static str, data: &RawValue) -> Result<(), FieldError> {
    let mut json = serde_json::Deserializer::from_str(data.get());
    Levels(DATA_LEVELS).deserialize(&mut json).map_err(|_| {
        let rules = "numbers that fit a double, no half of a surrogate pair";
        FieldError::invalid(field, format!("must be readable everywhere: at most {DATA_LEVELS} levels, {rules}"))
    })
}

/// A reader that keeps nothing. The parser checks numbers and texts; this counts the levels of arrays and objects.
#[derive(Clone, Copy)]
struct Levels(usize);

impl Levels {
    fn below<E: Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Levels {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Levels {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let below = self.below()?;
        while items.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let below = self.below()?;
        while fields.next_key_seed(below)?.is_some() {
            fields.next_value_seed(below)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(data: &str) -> bool {
        check("data", &RawValue::from_string(data.to_owned()).unwrap()).is_ok()
    }

    #[test]
    fn what_all_clients_can_read_is_taken() {
        for data in [
            "null",
            "true",
            r#""""#,
            "[]",
            "{}",
            "-0",
            "1e308",
            "-1.7976931348623157e308",
            "1e-400",
            "18446744073709551616",
            r#"{"a":[1,{"b":"\u0000\ud83d\ude00"}],"a":2}"#,
        ] {
            assert!(is_taken(data), "{data}");
        }
        assert!(is_taken(&"9".repeat(300)));
    }

    #[test]
    fn numbers_that_no_double_holds_and_halves_of_characters_are_refused() {
        for data in ["1e309", "[-1e400]", r#""\ud800""#, r#"{"\udc00":1}"#, r#"{"a":["\ud800x"]}"#] {
            assert!(!is_taken(data), "{data}");
        }
        assert!(!is_taken(&"9".repeat(400)));
    }

    #[test]
    fn depth_has_a_limit_and_costs_no_stack() {
        let nested =
            |levels: usize, open: &str, close: &str| format!("{}1{}", open.repeat(levels), close.repeat(levels));
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            assert!(is_taken(&nested(DATA_LEVELS, open, close)));
            assert!(!is_taken(&nested(DATA_LEVELS + 1, open, close)));
            assert!(!is_taken(&nested(20_000, open, close)));
        }
    }
}
