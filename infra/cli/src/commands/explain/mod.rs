//! `roomcast explain`: tells what became of a message, from every place that knows something of it.

mod findings;
mod logs;
mod verdict;

use std::{num::NonZeroU16, process::ExitCode};

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::Client as Sqs;
use clap::Args;
use serde::Serialize;
use shared::{
    RoomId,
    clock::SystemClock,
    limits::MAX_INTEGER,
    store::log::{Layout, LogEntry, LogTable, ProgressOf},
};

use crate::{
    failure::Failure,
    letters::{self, Letter, Letters},
    output::{Output, in_line},
    parse,
    stack::Stack,
    time,
};
use findings::{Broadcast, DeadLetter, Findings, Logged};
use verdict::{Outcome, verdict};

/// Messages in a page of the log.
const PAGE: u32 = 100;

/// Options of `roomcast explain`.
#[derive(Args, Debug)]
pub struct Options {
    /// The room.
    #[arg(value_parser = parse::room)]
    room: RoomId,
    /// The message: its number, or its id. Digits are a number first; if the log has no such number, an id.
    #[arg(value_name = "SEQ|ID", value_parser = parse::name)]
    message: String,
    /// Look for an id among so many of the room's newest messages.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    search: u32,
    /// Look for log lines of so many hours.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=24 * 365))]
    hours: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    room: &'a RoomId,
    #[serde(flatten)]
    findings: &'a Findings,
    outcome: Outcome,
    verdict: &'a str,
}

/// Gathers all that is known of a message, and prints a verdict. The exit code is 1 unless the message is out or on its
/// way.
///
/// # Errors
/// When a table or queue does not answer. Logs that cannot be read are left out, and a note says so.
pub async fn run(options: Options, stack: &Stack, output: &Output) -> Result<ExitCode, Failure> {
    let findings = gather(&options, stack).await?;
    let (outcome, told) = verdict(&findings);
    let shown = Shown { room: &options.room, findings: &findings, outcome, verdict: &told };
    output.item(&shown, || text(&findings, &told));
    Ok(if outcome.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn gather(options: &Options, stack: &Stack) -> Result<Findings, Failure> {
    let room = &options.room;
    let log = LogTable::new(DynamoDb::new(&stack.sdk), stack.output("MessagesTable")?, SystemClock);
    let reading = || Failure::call("the room's log was to be read");
    let sqs = Sqs::new(&stack.sdk);
    let (waiting, waiting_jobs) = waiting(&sqs, stack).await?;
    let mut findings = Findings {
        waiting,
        waiting_jobs,
        head_seq: log.head(room).await.map_err(reading())?.map(|head| head.seq),
        first_seq: log.since(room, 1, 1).await.map_err(reading())?.entries.first().map(LogEntry::seq),
        ..Findings::default()
    };
    let entry = find(&log, options, &mut findings.unseen).await.map_err(reading())?;
    let seq = entry.as_ref().map(LogEntry::seq);
    if let Some(entry) = &entry {
        let shards = match entry.layout {
            Layout::Direct => None,
            Layout::Shards(shards) => Some(shards),
        };
        findings.broadcast = broadcast(&log, room, entry.seq(), shards).await.map_err(reading())?;
        let message = &entry.logged.message;
        findings.logged = Some(Logged {
            seq: entry.seq(),
            from: message.from.clone(),
            sent_at: message.sent_at,
            appended_at: entry.appended_at,
            shards: shards.map_or(0, NonZeroU16::get),
        });
        findings.id = Some(message.id.clone());
    } else if options.message.parse().ok().is_none_or(|seq: u64| findings.head_seq.is_none_or(|head| seq > head)) {
        findings.id = Some(options.message.clone());
    }
    if let Some(id) = findings.id.clone() {
        findings.dead_letters = dead_letters(&sqs, stack.output("DlqUrl")?, room, &id).await?;
        logs::read(stack, room, &id, seq, options.hours, &mut findings).await;
    }
    // The queues are looked at before and after the log is read: a message that was in them at neither time was in none
    // meanwhile.
    let (waiting, waiting_jobs) = self::waiting(&sqs, stack).await?;
    findings.waiting = findings.waiting.max(waiting);
    findings.waiting_jobs = findings.waiting_jobs.max(waiting_jobs);
    Ok(findings)
}

/// The number of messages in the queues before the log, and of jobs in the shard queue; both include those in flight.
async fn waiting(sqs: &Sqs, stack: &Stack) -> Result<(u64, u64), Failure> {
    let total = async |output| {
        let (waiting, in_flight) = letters::depth(sqs, stack.output(output)?).await?;
        Ok::<_, Failure>(waiting + in_flight)
    };
    let messages = total("EventQueueUrl").await? + total("RelayFailureQueueUrl").await? + total("QueueUrl").await?;
    Ok((messages, total("ShardQueueUrl").await?))
}

/// The message in the log, by number or id.
async fn find(
    log: &LogTable<SystemClock>,
    options: &Options,
    unseen: &mut Vec<String>,
) -> Result<Option<LogEntry>, shared::store::StoreError> {
    let (room, asked) = (&options.room, &options.message);
    if let Some(seq) = asked.parse().ok().filter(|seq| (1..=MAX_INTEGER).contains(seq)) {
        let page = log.since(room, seq, 1).await?;
        if let Some(entry) = page.entries.into_iter().find(|entry| entry.seq() == seq) {
            return Ok(Some(entry));
        }
    }
    let (mut before, mut left) = (None, options.search);
    while left > 0 {
        let page = log.latest(room, before, left.min(PAGE)).await?;
        let Some(oldest) = page.entries.last().map(LogEntry::seq) else { return Ok(None) };
        left = left.saturating_sub(u32::try_from(page.entries.len()).unwrap_or(u32::MAX));
        if let Some(entry) = page.entries.into_iter().find(|entry| entry.logged.message.id == *asked) {
            return Ok(Some(entry));
        }
        if !page.more {
            return Ok(None);
        }
        before = Some(oldest);
    }
    unseen.push(format!("messages of the log older than the newest {} (--search)", options.search));
    Ok(None)
}

/// The state of a message's broadcast, by the rows of progress and by the entries after the message.
async fn broadcast(
    log: &LogTable<SystemClock>,
    room: &RoomId,
    seq: u64,
    shards: Option<NonZeroU16>,
) -> Result<Broadcast, shared::store::StoreError> {
    if let Some(shards) = shards {
        // An entry's floor is about the room's own group, which has finished as soon as the jobs are queued.
        let done = log.shards_done(room, shards).await?;
        return Ok(if done >= seq { Broadcast::Finished } else { Broadcast::Unwritten });
    }
    let row = log.progress(room, ProgressOf::Room).await?.unwrap_or_default();
    let newest = log.latest(room, None, 1).await?.entries.into_iter().next();
    let floor = newest.map_or(0, |newest| newest.floor);
    Ok(if row.done >= seq || floor > seq {
        Broadcast::Finished
    } else if row.up_to >= seq {
        Broadcast::Unfinished
    } else {
        Broadcast::Unwritten
    })
}

/// The message's dead letters, among those that the queue hands out.
async fn dead_letters(sqs: &Sqs, url: &str, room: &RoomId, id: &str) -> Result<Vec<DeadLetter>, Failure> {
    let (waiting, in_flight) = letters::depth(sqs, url).await?;
    if waiting + in_flight == 0 {
        return Ok(Vec::new());
    }
    Letters::with(sqs.clone(), url, async |letters| {
        let mut found = Vec::new();
        loop {
            let batch = letters.next().await?;
            if batch.is_empty() {
                return Ok(found);
            }
            let is_it = |letter: &Letter| {
                letter.room.as_deref() == Some(room.as_str())
                    && (letter.id.as_deref() == Some(id) || letter.letter_id == id)
            };
            found.extend(batch.into_iter().filter(is_it).map(|letter| DeadLetter {
                letter_id: letter.letter_id,
                reason: letter.reason,
                queued_at: letter.queued_at,
            }));
        }
    })
    .await
}

fn text(findings: &Findings, told: &str) -> String {
    let at = |millis: Option<u64>| millis.map_or_else(|| "no line says so".to_owned(), time::at_millis);
    let mut lines = vec![format!("accepted      {}", at(findings.accepted_at))];
    lines.push(match &findings.logged {
        None => "logged        no".to_owned(),
        Some(logged) => format!(
            "logged        as {} at {}, from {}, sent at {}",
            logged.seq,
            time::at_millis(logged.appended_at),
            logged.from,
            time::at_millis(logged.sent_at)
        ),
    });
    let way = match findings.logged.as_ref().map_or(0, |logged| logged.shards) {
        0 => String::new(),
        shards => format!(", in {shards} shards"),
    };
    lines.push(match findings.broadcast {
        Broadcast::Finished => format!("broadcast     finished with{way}"),
        Broadcast::Unfinished => "broadcast     stopped in the middle".to_owned(),
        Broadcast::Unwritten => format!("broadcast     no row says{way}"),
    });
    lines.push(format!("posted        {}", at(findings.posted_at)));
    lines.push(format!("queues        about {} messages, {} jobs of shards", findings.waiting, findings.waiting_jobs));
    for letter in &findings.dead_letters {
        let reason = letter.reason.as_deref().unwrap_or("without a reason");
        let at = time::at_millis(letter.queued_at);
        lines.push(format!("dead letter   {} at {at}: {}", letter.letter_id, in_line(reason)));
    }
    lines.extend(findings.unseen.iter().map(|what| format!("not seen      {what}")));
    lines.push(told.to_owned());
    lines.join("\n")
}
