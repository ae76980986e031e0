//! `roomcast tail`: shows a room's messages from its log, without being a client.

use std::{process::ExitCode, time::Duration};

use aws_sdk_dynamodb::Client as DynamoDb;
use clap::Args;
use shared::{
    RoomId,
    clock::SystemClock,
    limits::MAX_INTEGER,
    store::log::{LogEntry, LogTable},
};

use crate::{failure::Failure, output::Output, parse, stack::Stack, time};

/// Messages in a page.
const PAGE: u32 = 100;

/// The wait for the next message: this long after a message, twice as long each time there was none.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(4);

/// Options of `roomcast tail`.
#[derive(Args, Debug)]
pub struct Options {
    /// The room.
    #[arg(value_parser = parse::room)]
    room: RoomId,
    /// Show the messages after this number; 0 is all that the log retains.
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(..=MAX_INTEGER))]
    after: Option<u64>,
    /// Show the last so many.
    #[arg(short = 'n', long = "last", value_name = "N", default_value_t = 10, conflicts_with = "after")]
    last: u32,
    /// Go on with those that are still to come, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
}

/// Shows messages of a room's log, by consistent reads: everything that was logged before the command is shown.
///
/// # Errors
/// When the table does not answer.
pub async fn run(options: Options, stack: &Stack, output: &Output) -> Result<ExitCode, Failure> {
    let log = LogTable::new(DynamoDb::new(&stack.sdk), stack.output("MessagesTable")?, SystemClock);
    let room = &options.room;
    let mut after = match options.after {
        Some(after) => after,
        None => before_the_last(&log, room, options.last).await?,
    };
    let mut is_first = options.after.is_some_and(|after| after > 0);
    let mut wait = SHORTEST;
    loop {
        let page = log.since(room, after + 1, PAGE).await;
        let page = page.map_err(Failure::call("the room's log was to be read"))?;
        if let Some(oldest) = page.entries.first().filter(|oldest| is_first && oldest.seq() > after + 1) {
            output.note(&format!("the log has nothing between {after} and {}: it has expired", oldest.seq()));
        }
        for entry in &page.entries {
            output.item(&entry.logged, || text(entry));
            is_first = false;
            after = entry.seq();
        }
        if !output.is_read() || !(page.more || options.follow) {
            return Ok(ExitCode::SUCCESS);
        }
        if page.entries.is_empty() {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST);
        } else {
            wait = SHORTEST;
        }
    }
}

/// The number that precedes the last so many messages.
async fn before_the_last(log: &LogTable<SystemClock>, room: &RoomId, last: u32) -> Result<u64, Failure> {
    let reading = || Failure::call("the room's log was to be read");
    let (mut before, mut left) = (None, last);
    loop {
        let page = log.latest(room, before, left.max(1)).await.map_err(reading())?;
        // With no messages wanted, the number is that of the newest one.
        if let (0, Some(newest)) = (last, page.entries.first()) {
            return Ok(newest.seq());
        }
        let Some(oldest) = page.entries.last() else { return Ok(before.map_or(0, |before: u64| before - 1)) };
        left = left.saturating_sub(u32::try_from(page.entries.len()).unwrap_or(u32::MAX));
        if left == 0 || !page.more {
            return Ok(oldest.seq() - 1);
        }
        before = Some(oldest.seq());
    }
}

fn text(entry: &LogEntry) -> String {
    let message = &entry.logged.message;
    let (seq, at) = (entry.seq(), time::at_millis(message.sent_at));
    format!("{seq}  {at}  {}  {}", message.from, message.data.get())
}
