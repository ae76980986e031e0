//! The verdict on all findings, in one sentence.

use serde::Serialize;

use super::findings::{Broadcast, Findings};
use crate::output::in_line;

/// The verdict in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It is out.
    Posted,
    /// It is in the log, and either out or about to be; nothing tells which.
    Logged,
    /// Its broadcast stopped in the middle.
    Unfinished,
    /// It was accepted, and waits.
    Waiting,
    /// It is a dead letter.
    DeadLetter,
    /// It was in the log, and has expired.
    Expired,
    /// It is nowhere to be found.
    Unknown,
}

impl Outcome {
    /// Whether the operator need not do anything.
    pub(crate) fn is_well(self) -> bool {
        matches!(self, Self::Posted | Self::Logged | Self::Waiting)
    }
}

/// The outcome, and a sentence about it.
pub(crate) fn verdict(findings: &Findings) -> (Outcome, String) {
    if let Some(logged) = &findings.logged {
        return of_logged(findings, logged.seq, logged.shards > 0);
    }
    if let Some(letter) = findings.dead_letters.first() {
        let reason = letter.reason.as_deref().unwrap_or("it was received too often, or its sender gave none");
        let told = format!(
            "It is a dead letter ({}): roomcast dlq redrive --id {} once that is mended.",
            in_line(reason),
            letter.letter_id
        );
        return (Outcome::DeadLetter, told);
    }
    let Some(_) = &findings.id else {
        let told = match (findings.first_seq, findings.head_seq) {
            (Some(first), _) => format!("The log has no such number: what was before {first} has expired."),
            (None, _) => "The log has no such number: all of it has expired.".to_owned(),
        };
        return (Outcome::Expired, told);
    };
    match (findings.accepted_at, findings.waiting) {
        (Some(_), 0) => {
            let told = "It was accepted and is neither in the log nor, as far as SQS can count, in a queue: it has expired from the \
                        log, went with a queue's retention, or is among what was not seen.";
            (Outcome::Unknown, told.to_owned())
        }
        (Some(_), waiting) => {
            let told =
                format!("It was accepted and is not in the log yet: it waits in a queue, among about {waiting}.");
            (Outcome::Waiting, told)
        }
        (None, 0) => (Outcome::Unknown, "Nobody knows of it: it was never accepted, or long ago.".to_owned()),
        (None, waiting) => {
            let told = format!(
                "Nobody knows of it, unless it is among the about {waiting} messages in the queues, which cannot be looked into."
            );
            (Outcome::Unknown, told)
        }
    }
}

fn of_logged(findings: &Findings, seq: u64, is_sharded: bool) -> (Outcome, String) {
    let again = match findings.dead_letters.len() {
        0 => String::new(),
        count => format!(" A copy of it is a dead letter ({count}): redriven, it keeps its number."),
    };
    let (outcome, told) = match findings.broadcast {
        Broadcast::Finished => {
            (Outcome::Posted, format!("It is number {seq}, and was broadcast: who missed it finds it in the log."))
        }
        Broadcast::Unfinished => (
            Outcome::Unfinished,
            format!("It is number {seq}; its broadcast stopped in the middle and goes on when its records come back."),
        ),
        Broadcast::Unwritten if is_sharded && findings.waiting_jobs > 0 => (
            Outcome::Logged,
            format!(
                "It is number {seq}, and is in the hands of the shards: among about {} jobs, or done with.",
                findings.waiting_jobs
            ),
        ),
        Broadcast::Unwritten if !is_sharded && findings.posted_at.is_some() => {
            (Outcome::Posted, format!("It is number {seq}, and was posted to the room: a log line says so."))
        }
        Broadcast::Unwritten if findings.waiting + findings.waiting_jobs == 0 => (
            Outcome::Posted,
            format!("It is number {seq}, and was broadcast: nothing is left in the queues, as far as SQS can count."),
        ),
        Broadcast::Unwritten => (
            Outcome::Logged,
            format!(
                "It is number {seq}; whether it is out cannot be known while about {} messages are in the queues.",
                findings.waiting + findings.waiting_jobs
            ),
        ),
    };
    (outcome, format!("{told}{again}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::explain::{DeadLetter, Logged};

    fn logged(shards: u16) -> Findings {
        let logged = Logged { seq: 7, from: "alice".into(), sent_at: 1, appended_at: 2, shards };
        Findings { id: Some("m".into()), logged: Some(logged), waiting: 3, ..Findings::default() }
    }

    fn unlogged() -> Findings {
        Findings { id: Some("m".into()), ..Findings::default() }
    }

    fn letter() -> Vec<DeadLetter> {
        vec![DeadLetter { letter_id: "l".into(), reason: Some("`data` is missing".into()), queued_at: 0 }]
    }

    fn outcome(findings: Findings) -> Outcome {
        verdict(&findings).0
    }

    #[test]
    fn what_is_in_the_log_is_out_when_something_says_so() {
        assert_eq!(outcome(logged(0)), Outcome::Logged);
        assert_eq!(outcome(Findings { broadcast: Broadcast::Finished, ..logged(0) }), Outcome::Posted);
        assert_eq!(outcome(Findings { posted_at: Some(5), ..logged(0) }), Outcome::Posted);
        assert_eq!(outcome(Findings { waiting: 0, ..logged(0) }), Outcome::Posted);
        assert_eq!(
            outcome(Findings { broadcast: Broadcast::Unfinished, posted_at: Some(5), ..logged(0) }),
            Outcome::Unfinished
        );
    }

    #[test]
    fn one_shards_line_says_nothing_of_the_others() {
        assert_eq!(outcome(Findings { posted_at: Some(5), waiting_jobs: 2, ..logged(4) }), Outcome::Logged);
        assert_eq!(outcome(Findings { posted_at: Some(5), ..logged(4) }), Outcome::Logged);
        assert_eq!(outcome(Findings { waiting: 0, ..logged(4) }), Outcome::Posted);
        assert_eq!(outcome(Findings { broadcast: Broadcast::Finished, ..logged(4) }), Outcome::Posted);
    }

    #[test]
    fn what_is_not_in_the_log_waits_is_dead_or_unknown() {
        let dead = Findings { dead_letters: letter(), accepted_at: Some(1), waiting: 5, ..unlogged() };
        let (dead, told) = verdict(&dead);
        assert_eq!(dead, Outcome::DeadLetter);
        assert!(told.contains("`data` is missing") && told.contains("dlq redrive --id l"), "{told}");
        assert_eq!(outcome(Findings { accepted_at: Some(1), waiting: 5, ..unlogged() }), Outcome::Waiting);
        assert_eq!(outcome(Findings { accepted_at: Some(1), ..unlogged() }), Outcome::Unknown);
        assert_eq!(outcome(Findings { waiting: 5, ..unlogged() }), Outcome::Unknown);
        assert_eq!(outcome(unlogged()), Outcome::Unknown);
    }

    #[test]
    fn a_number_below_the_log_has_expired() {
        let findings = Findings { head_seq: Some(9), first_seq: Some(8), ..Findings::default() };
        let (outcome, told) = verdict(&findings);
        assert_eq!(outcome, Outcome::Expired);
        assert!(told.contains("before 8"), "{told}");
    }

    #[test]
    fn a_copy_among_the_dead_letters_is_told_of() {
        let (outcome, told) =
            verdict(&Findings { dead_letters: letter(), broadcast: Broadcast::Finished, ..logged(0) });
        assert_eq!(outcome, Outcome::Posted);
        assert!(told.contains("A copy of it is a dead letter"), "{told}");
    }
}
