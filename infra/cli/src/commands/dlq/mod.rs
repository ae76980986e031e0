//! `roomcast dlq`: lists dead letters with their reasons, sends them again, or deletes them.

mod redrive;
mod select;

use std::process::ExitCode;

use aws_sdk_sqs::Client as Sqs;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    failure::Failure,
    letters::{self, Kind, Letter, Letters},
    output::{Output, in_line},
    stack::Stack,
    time,
};
use redrive::Destinations;
use select::{Selection, Source};

/// What to do with dead letters.
///
/// What is looked at is hidden from others meanwhile, for half a minute at the most. Of one room, SQS hands out the
/// first ten letters only: those behind them can be seen when these are gone.
#[derive(Debug, Subcommand)]
pub enum Options {
    /// The dead letters, with their reasons.
    List(Selection),
    /// The same with their bodies.
    Show(Selection),
    /// Send letters again, each to the queue it came from, and delete what that queue has confirmed.
    Redrive(Redrive),
    /// Delete letters for good.
    Discard(Discard),
}

/// Options of `roomcast dlq redrive`.
#[derive(Args, Debug)]
pub struct Redrive {
    #[command(flatten)]
    selection: Selection,
    /// Say which, and send none.
    #[arg(long)]
    dry_run: bool,
}

/// Options of `roomcast dlq discard`.
#[derive(Args, Debug)]
pub struct Discard {
    #[command(flatten)]
    selection: Selection,
    /// Say which, and delete none.
    #[arg(long)]
    dry_run: bool,
    /// Yes, delete them.
    #[arg(long)]
    yes: bool,
}

/// The work on the chosen letters.
enum Work {
    List { with_body: bool },
    Redrive { destinations: Destinations, is_dry: bool },
    Discard { is_dry: bool },
}

/// A letter as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    letter_id: &'a str,
    kind: Kind,
    room: Option<&'a str>,
    id: Option<&'a str>,
    reason: Option<&'a str>,
    queued_at: u64,
    /// For `redrive` and `discard`: `redriven`, `discarded`, `chosen` in a dry run, or `kept`.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    /// The reason why it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    /// For `show`: the body, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Box<RawValue>>,
    /// For `show`: the body, if it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

/// The numbers of letters.
#[derive(Default)]
struct Counts {
    seen: u64,
    chosen: u64,
    done: u64,
    kept: u64,
}

/// Runs the command. The exit code is 1 when a letter was kept that should have gone.
///
/// # Errors
/// When a queue does not answer, or what was asked makes no sense.
pub async fn run(options: Options, stack: &Stack, output: &Output) -> Result<ExitCode, Failure> {
    let (selection, work) = match options {
        Options::List(selection) => (selection, Work::List { with_body: false }),
        Options::Show(selection) => (selection, Work::List { with_body: true }),
        Options::Redrive(Redrive { selection, dry_run }) => {
            if selection.queue == Source::Unmatched {
                let why = "unmatched events are nothing for a room: no function would take them";
                return Err(Failure::Asked(why.to_owned()));
            }
            (selection, Work::Redrive { destinations: Destinations::of(stack)?, is_dry: dry_run })
        }
        Options::Discard(Discard { selection, dry_run, yes }) => {
            if !(yes || dry_run) {
                return Err(Failure::Asked("it deletes for good: say --yes, or look with --dry-run first".to_owned()));
            }
            (selection, Work::Discard { is_dry: dry_run })
        }
    };
    let url = selection.queue.url(stack)?;
    let client = Sqs::new(&stack.sdk);
    let (waiting, in_flight) = letters::depth(&client, url).await?;
    let counts =
        Letters::with(client, url, async |letters| go_through(letters, &selection, &work, *output).await).await?;
    say_counts(&counts, waiting + in_flight, &work, *output);
    Ok(if counts.kept == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn go_through(
    letters: &mut Letters,
    selection: &Selection,
    work: &Work,
    output: Output,
) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    let mut redriven = redrive::Redriven::default();
    let limit = selection.limit.unwrap_or(u64::MAX);
    while counts.chosen < limit {
        let batch = letters.next().await?;
        if batch.is_empty() {
            break;
        }
        counts.seen += batch.len() as u64;
        let most = usize::try_from(limit - counts.chosen).unwrap_or(usize::MAX);
        let chosen: Vec<_> = batch.into_iter().filter(|letter| selection.chooses(letter)).take(most).collect();
        counts.chosen += chosen.len() as u64;
        match work {
            Work::List { with_body } => {
                for letter in &chosen {
                    show(letter, *with_body, None, output);
                }
            }
            Work::Redrive { is_dry: true, .. } | Work::Discard { is_dry: true } => {
                for letter in &chosen {
                    show(letter, false, Some(Ok("chosen")), output);
                }
            }
            Work::Redrive { destinations, .. } => {
                let (sendable, kept) = redriven.sort(chosen);
                let (sent, failed) = destinations.send(sendable).await;
                let deleted = letters.delete(&sent).await;
                let outcomes = sent.iter().zip(deleted).map(|(letter, deleted)| match deleted {
                    Ok(()) => (letter, Ok(())),
                    Err(error) => {
                        (letter, Err(format!("it was sent, but not deleted, and may be redriven again: {error}")))
                    }
                });
                let kept = kept.iter().chain(&failed).map(|(letter, why)| (letter, Err(why.clone())));
                settle(outcomes.chain(kept), "redriven", &mut counts, output);
            }
            Work::Discard { .. } => {
                let deleted = letters.delete(&chosen).await;
                let outcomes = chosen.iter().zip(deleted);
                let outcomes = outcomes.map(|(letter, deleted)| (letter, deleted.map_err(|error| error.to_string())));
                settle(outcomes, "discarded", &mut counts, output);
            }
        }
    }
    Ok(counts)
}

fn settle<'a>(
    outcomes: impl Iterator<Item = (&'a Letter, Result<(), String>)>,
    done: &str,
    counts: &mut Counts,
    output: Output,
) {
    for (letter, outcome) in outcomes {
        *(if outcome.is_ok() { &mut counts.done } else { &mut counts.kept }) += 1;
        show(letter, false, Some(outcome.as_ref().map(|()| done).map_err(String::as_str)), output);
    }
}

fn show(letter: &Letter, with_body: bool, outcome: Option<Result<&str, &str>>, output: Output) {
    let json = letter.json().filter(|_| with_body);
    let text = Some(letter.body.as_str()).filter(|_| with_body && json.is_none());
    let shown = Shown {
        letter_id: &letter.letter_id,
        kind: letter.kind,
        room: letter.room.as_deref(),
        id: letter.id.as_deref(),
        reason: letter.reason.as_deref(),
        queued_at: letter.queued_at,
        outcome: outcome.map(|outcome| outcome.unwrap_or("kept")),
        why: outcome.and_then(Result::err),
        body: json,
        text,
    };
    output.item(&shown, || {
        let (room, id) = (shown.room.unwrap_or("-"), shown.id.unwrap_or(shown.letter_id));
        let mut line = format!("{}  {room}  {id}  {}", time::at_millis(letter.queued_at), letter.told());
        line = in_line(&line).into_owned();
        match outcome {
            Some(Ok(done)) => line = format!("{done}: {line}"),
            Some(Err(why)) => line = format!("kept: {line}\n    {why}"),
            None => {}
        }
        if with_body {
            line = format!("{line}\n    {}", letter.body.replace('\n', "\n    "));
        }
        line
    });
}

fn say_counts(counts: &Counts, depth: u64, work: &Work, output: Output) {
    let Counts { seen, chosen, done, kept } = *counts;
    output.line(&match work {
        Work::List { .. } => format!("{chosen} of about {depth} letters"),
        Work::Redrive { is_dry: true, .. } | Work::Discard { is_dry: true } => format!("{chosen} letters chosen"),
        Work::Redrive { .. } => format!("{done} letters redriven, {kept} kept"),
        Work::Discard { .. } => format!("{done} letters discarded, {kept} kept"),
    });
    if depth > seen {
        let more = depth - seen;
        output.note(&format!(
            "about {more} more were not looked at: beyond --limit, or behind the first ten of their room"
        ));
    }
}
