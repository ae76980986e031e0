//! `roomcast state`: the value of each key of a room, as clients have it.

use std::{process::ExitCode, time::Duration};

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::Client as Sqs;
use clap::Args;
use fanout::state::StateWriter;
use ingest::state::{States, Wanted};
use serde::Serialize;
use shared::{
    Message, RoomId,
    clock::{Clock, SystemClock},
    frame::server::{StateEntry, StateRemoval},
    limits::STATE_ENTRIES,
    message::draft::{Origin, ProducerDraft},
    order::Rank,
    queue::{Queue, Record, sqs::SqsQueue},
    room_pattern::RoomPatterns,
    store::{log::LogTable, state::StateTable},
};

use crate::{
    failure::Failure,
    output::{Output, in_line},
    parse,
    stack::Stack,
    time,
};

/// The sender of a removal.
const FROM: &str = "roomcast";

/// Options of `roomcast state`.
#[derive(Args, Debug)]
pub struct Options {
    /// The room.
    #[arg(value_parser = parse::room)]
    room: RoomId,
    /// Fold the room's log into its state: for a room whose log began before it kept state.
    #[arg(long)]
    rebuild: bool,
    /// Take a key's value away: sends a removal with the version that the value has.
    #[arg(long, value_name = "KEY", conflicts_with = "rebuild", value_parser = parse::name)]
    clear: Option<String>,
}

/// The result of `--rebuild`.
#[derive(Debug, Serialize)]
struct Rebuilt {
    messages: u64,
    written: u64,
    superseded: u64,
}

/// The message that `--clear` has sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cleared<'a> {
    key: &'a str,
    id: &'a str,
    version: Option<u64>,
    /// The time until which lower versions are ignored, in milliseconds since the Unix epoch; each lower version that
    /// comes meanwhile prolongs it.
    lower_ignored_until: Option<u64>,
}

impl Cleared<'_> {
    fn text(&self) -> String {
        let Self { key, id, version, lower_ignored_until } = self;
        let taken = format!("{key} is taken away by {id}, when that comes out of the queue");
        let Some((version, until)) = version.zip(*lower_ignored_until) else { return taken };
        let until = time::at_millis(until);
        format!(
            "{taken}\nversions below v{version} are ignored until {until}, and after that for as long as the log has any of them"
        )
    }
}

/// A removal as a producer would write it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Removal<'a> {
    room_id: &'a RoomId,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    remove: bool,
}

/// Shows a room's state, rebuilds it, or removes a value.
///
/// # Errors
/// When the room keeps no state, or a table or the queue does not answer.
pub async fn run(options: Options, stack: &Stack, output: &Output) -> Result<ExitCode, Failure> {
    let room = &options.room;
    let parameter = |name: &str| stack.parameters.get(name).map(String::as_str);
    let rooms = RoomPatterns::parse(parameter("StateRooms").unwrap_or_default()).map_err(Failure::Met)?;
    if !rooms.matches(room) {
        return Err(Failure::Met(format!("no state is kept of {room}: StateRooms does not match it")));
    }
    let seconds = |name: &str| parameter(name).and_then(|text| text.parse().ok());
    let retention = Duration::from_secs(seconds("RetentionSeconds").unwrap_or_default());
    let dynamodb = DynamoDb::new(&stack.sdk);
    let log = LogTable::new(dynamodb.clone(), stack.output("MessagesTable")?, SystemClock);
    let table = StateTable::new(dynamodb, stack.output("StateTable")?, SystemClock);
    if let Some(key) = &options.clear {
        let queue = SqsQueue::new(Sqs::new(&stack.sdk), stack.output("QueueUrl")?);
        return clear(&table, &queue, room, key, retention, output).await;
    }
    if options.rebuild {
        let ttl_seconds = seconds("StateRetentionSeconds").filter(|seconds| *seconds > 0);
        return rebuild(&StateWriter::new(table, rooms, ttl_seconds, retention), &log, room, output).await;
    }
    show(&States::new(table, rooms, SystemClock), &log, room, output).await
}

/// Shows the state page by page, by consistent reads of log and state, as a client gets it.
async fn show(
    states: &States<SystemClock>,
    log: &LogTable<SystemClock>,
    room: &RoomId,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let (mut after, mut first, mut shown) = (String::new(), None, 0);
    loop {
        // Removals are asked for from the beginning of the log, so that all that are still known are shown.
        let wanted = Wanted::alone(&after, 0, STATE_ENTRIES);
        let page = states.page(log, room, wanted).await;
        let (seq, page) = page.map_err(Failure::call("the room's state was to be read"))?;
        first.get_or_insert(seq);
        for entry in &page.entries {
            output.item(entry, || text_of_entry(entry));
        }
        for removal in &page.removed {
            output.item(removal, || text_of_removal(removal));
        }
        shown += page.entries.len() + page.removed.len();
        match page.next {
            Some(next) if output.is_read() => after = next,
            _ => break,
        }
    }
    match first {
        Some(seq) if shown > 0 => output.note(&format!("as of {seq}")),
        _ => output.note(&format!("{room} has no state")),
    }
    Ok(ExitCode::SUCCESS)
}

fn text_of_entry(entry: &StateEntry) -> String {
    let version = entry.version.map_or_else(|| "-".to_owned(), |version| format!("v{version}"));
    let (key, from, since) = (in_line(&entry.key), in_line(&entry.from), time::at_millis(entry.sent_at));
    let until = entry.ttl_seconds.map(|seconds| time::at_millis(entry.sent_at + seconds * 1_000));
    let until = until.map(|until| format!("  until {until}")).unwrap_or_default();
    format!("{key:<20}  {:>16}  {version}  {since}{until}  {from}  {}", entry.seq, entry.data)
}

fn text_of_removal(removal: &StateRemoval) -> String {
    let version = removal.version.map_or_else(|| "-".to_owned(), |version| format!("v{version}"));
    format!("{:<20}  {:>16}  {version}  removed", in_line(&removal.key), removal.seq)
}

async fn rebuild(
    writer: &StateWriter<SystemClock>,
    log: &LogTable<SystemClock>,
    room: &RoomId,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let folded = writer.fold(log, room).await;
    let folded = folded.map_err(Failure::call("the room's log was to be written into its state; again is fine"))?;
    let (messages, written, superseded) = (folded.messages, folded.written, folded.superseded);
    output.item(&Rebuilt { messages, written, superseded }, || {
        format!("{messages} messages with keys, {written} values written, {superseded} were there already")
    });
    Ok(ExitCode::SUCCESS)
}

async fn clear(
    table: &StateTable<SystemClock>,
    queue: &SqsQueue,
    room: &RoomId,
    key: &str,
    retention: Duration,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let now = SystemClock.unix_millis();
    let value = table.get(room, key).await.map_err(Failure::call("the key's value was to be read"))?;
    let Some(rank) = value.filter(|value| value.data_at(now).is_some()).map(|value| value.rank) else {
        output.note(&format!("{key} has no value in {room}"));
        return Ok(ExitCode::SUCCESS);
    };
    let id = format!("clear-{:016x}", fastrand::u64(..));
    let message = removal(room, key, rank, Origin { id: &id, from: FROM, sent_at: now }).map_err(Failure::Met)?;
    let sent = queue.send(&[Record::of_message(&message, None)]).await;
    for result in sent {
        result.map_err(Failure::call("the removal was to be sent"))?;
    }
    let lower_ignored_until = message.version.map(|_| now + retention.as_secs() * 1_000);
    let cleared = Cleared { key, id: &id, version: message.version, lower_ignored_until };
    output.item(&cleared, || cleared.text());
    Ok(ExitCode::SUCCESS)
}

/// A removal of the value with this rank: its version is the same and its number greater, so that it replaces the
/// value.
fn removal(room: &RoomId, key: &str, rank: Rank, origin: Origin<'_>) -> Result<Message, String> {
    let version = Some(rank.version).filter(|version| *version > 0);
    let removal = Removal { room_id: room, key, version, remove: true };
    let text = serde_json::to_string(&removal).map_err(|error| error.to_string())?;
    let draft = ProducerDraft::read(&text).map_err(|error| error.to_string())?;
    draft.accept(origin).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_until_when_lower_versions_are_ignored() {
        let cleared = |version: Option<u64>| {
            Cleared { key: "k", id: "i", version, lower_ignored_until: version.map(|_| 1_795_219_207_999) }.text()
        };
        assert_eq!(cleared(None), "k is taken away by i, when that comes out of the queue");
        let told = "versions below v9 are ignored until 2026-11-21T00:00:07Z, and after that for as long as the log has any of them";
        assert_eq!(cleared(Some(9)).lines().nth(1), Some(told));
    }

    #[test]
    fn a_removal_takes_the_values_place() {
        let room = RoomId::parse("fx").unwrap();
        let origin = Origin { id: "i", from: FROM, sent_at: 7 };
        for (version, sent) in [(0, None), (9, Some(9))] {
            let rank = Rank { version, seq: 5 };
            let message = removal(&room, "EURUSD", rank, origin).unwrap();
            assert_eq!((message.version, message.remove, message.key.as_deref()), (sent, true, Some("EURUSD")));
            assert!(Rank::of(message.version, 6).supersedes(rank));
        }
    }
}
