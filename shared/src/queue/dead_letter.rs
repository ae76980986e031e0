//! Dead letters. The dead-letter queue must be able to take every record that can never succeed: one that it refuses
//! would block its group for good.

use std::borrow::Cow;

use super::Record;
use crate::text::cut;

/// The message attribute that says why a record is in the dead-letter queue.
pub const REASON: &str = "reason";

/// Bytes of a record, attributes included, that every queue takes. New queues take 1 MiB; those made before August 2025
/// keep the limit of that time ("Amazon SQS message quotas").
pub(super) const RECORD_BYTES: usize = 256 * 1024;

/// Bytes of a reason at the most.
const REASON_BYTES: usize = 1024;

/// Bytes that the attribute takes besides its value: its name and its type count, too.
const ATTRIBUTE_BYTES: usize = REASON.len() + "String".len();

/// The part of a record that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sendable<'a> {
    pub(super) body: Cow<'a, str>,
    pub(super) reason: Option<String>,
}

impl<'a> Sendable<'a> {
    /// The part of a record that is sent. A dead letter's reason is cut, and its body too if both together would be
    /// too large.
    pub(super) fn of(record: &'a Record) -> Self {
        let Some(reason) = &record.reason else {
            return Self { body: Cow::Borrowed(&record.body), reason: None };
        };
        let reason = permitted(cut(reason, REASON_BYTES));
        let left = RECORD_BYTES - ATTRIBUTE_BYTES - REASON_BYTES;
        if record.body.len() > left {
            let note = format!(" (the body is cut, it had {} bytes)", record.body.len());
            let reason = cut(&reason, REASON_BYTES - note.len()) + &note;
            return Self { body: Cow::Owned(cut(&record.body, left)), reason: Some(reason) };
        }
        // Neither a body nor an attribute may be empty.
        let body = if record.body.is_empty() { " " } else { &record.body };
        Self { body: Cow::Borrowed(body), reason: Some(reason).filter(|reason| !reason.is_empty()) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.body.len() + self.reason.as_ref().map_or(0, |reason| ATTRIBUTE_BYTES + reason.len())
    }
}

/// Replaces what SQS refuses in a text: control characters and U+FFFE, U+FFFF.
fn permitted(text: String) -> String {
    let is_refused = |c: char| (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}');
    if text.contains(is_refused) { text.replace(is_refused, "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(body: &str, reason: &str) -> Record {
        let (group_id, deduplication_id) = ("g".to_owned(), "d".to_owned());
        Record { group_id, deduplication_id, body: body.to_owned(), reason: Some(reason.to_owned()), trace: None }
    }

    #[test]
    fn a_small_letter_is_sent_as_it_is() {
        let record = letter("{", "bad");
        let sendable = Sendable::of(&record);
        assert_eq!((&*sendable.body, sendable.reason.as_deref(), sendable.bytes()), ("{", Some("bad"), 1 + 12 + 3));
        assert_eq!(Sendable::of(&letter("", "")), Sendable { body: " ".into(), reason: None });
    }

    #[test]
    fn a_reason_is_cut_and_has_only_what_sqs_takes() {
        let record = letter("{", &"x".repeat(5_000));
        assert_eq!(Sendable::of(&record).reason.unwrap().len(), REASON_BYTES);
        let record = letter("{", "a\u{0}b\u{ffff}\tc");
        assert_eq!(Sendable::of(&record).reason.as_deref(), Some("a\u{fffd}b\u{fffd}\tc"));
    }

    #[test]
    fn no_letter_is_too_large_and_one_that_was_says_so() {
        for bytes in [RECORD_BYTES - 2_000, RECORD_BYTES, 1 << 20] {
            for reason in [3, 1_000, 100_000] {
                let record = letter(&"\u{e9}".repeat(bytes / 2), &"x".repeat(reason));
                let sendable = Sendable::of(&record);
                assert!(sendable.bytes() <= RECORD_BYTES, "{}", sendable.bytes());
                let is_cut = sendable.body.len() < record.body.len();
                let told = sendable.reason.unwrap();
                assert_eq!(is_cut, told.ends_with(&format!("(the body is cut, it had {} bytes)", record.body.len())));
                assert_eq!(is_cut, bytes > RECORD_BYTES - 2_000);
            }
        }
    }

    #[test]
    fn what_is_no_dead_letter_is_never_changed() {
        let record = Record { reason: None, ..letter(&"x".repeat(1 << 20), "") };
        assert_eq!(Sendable::of(&record), Sendable { body: record.body.as_str().into(), reason: None });
    }
}
