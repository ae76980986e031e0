//! The choice of letters.

use clap::{Args, ValueEnum};
use shared::RoomId;

use crate::{failure::Failure, letters::Letter, parse, stack::Stack};

/// A queue of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Source {
    /// Messages, jobs and events that can never be broadcast.
    DeadLetters,
    /// Events that did not get as far as the rooms' queue; relay takes them from there by itself.
    RelayFailures,
    /// Events of the bus that are nothing for a room.
    Unmatched,
}

impl Source {
    /// The URL of the queue.
    ///
    /// # Errors
    /// When the stack has none.
    pub(super) fn url(self, stack: &Stack) -> Result<&str, Failure> {
        match self {
            Self::DeadLetters => stack.output("DlqUrl"),
            Self::RelayFailures => stack.output("RelayFailureQueueUrl"),
            Self::Unmatched => stack.optional_output("UnmatchedQueueUrl").ok_or_else(|| {
                Failure::Met("the stack keeps no unmatched events (UnmatchedRetentionSeconds=0)".to_owned())
            }),
        }
    }
}

/// The letters of a queue that are meant.
#[derive(Args, Debug)]
pub struct Selection {
    /// The queue.
    #[arg(long, value_enum, default_value_t = Source::DeadLetters)]
    pub(super) queue: Source,
    /// Those for this room.
    #[arg(long, value_parser = parse::room)]
    room: Option<RoomId>,
    /// Those whose reason has this text.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Those with this id: the message's, or the letter's own (letterId).
    #[arg(long)]
    id: Option<String>,
    /// No more than so many.
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u64>,
}

impl Selection {
    /// Whether a letter is chosen.
    pub(super) fn chooses(&self, letter: &Letter) -> bool {
        let is_rooms = |room: &RoomId| letter.room.as_deref() == Some(room.as_str());
        let says = |text: &String| letter.told().contains(text.as_str());
        let is_it = |id: &String| letter.id.as_ref() == Some(id) || letter.letter_id == *id;
        self.room.as_ref().is_none_or(is_rooms)
            && self.reason.as_ref().is_none_or(says)
            && self.id.as_ref().is_none_or(is_it)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::letters::Kind;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        selection: Selection,
    }

    #[test]
    fn a_letter_is_chosen_that_is_all_that_was_said() {
        let letter = Letter {
            letter_id: "l".into(),
            kind: Kind::Message,
            room: Some("r".into()),
            id: Some("m".into()),
            reason: Some("`data` is missing".into()),
            queued_at: 0,
            group_id: None,
            body: String::new(),
            receipt_handle: String::new(),
        };
        let chooses = |words: &[&str]| {
            let words = [&["dlq"], words].concat();
            Words::try_parse_from(words).is_ok_and(|words| words.selection.chooses(&letter))
        };
        for good in [&[][..], &["--room", "r"], &["--reason", "data"], &["--id", "m"], &["--id", "l", "--room", "r"]] {
            assert!(chooses(good), "{good:?}");
        }
        for bad in [&["--room", "s"][..], &["--reason", "Data"], &["--id", "x"], &["--id", "m", "--room", "s"]] {
            assert!(!chooses(bad), "{bad:?}");
        }
        assert!(Words::try_parse_from(["dlq", "--room", "a b"]).is_err());
        assert!(Words::try_parse_from(["dlq", "--queue", "broadcast"]).is_err());
    }
}
