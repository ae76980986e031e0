//! `roomcast members`: who is in a room.

use std::{process::ExitCode, time::Duration};

use aws_sdk_dynamodb::Client as DynamoDb;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use shared::{
    RoomId,
    clock::{Clock, SystemClock},
    presence::{ListedMember, MemberData},
    room_pattern::RoomPatterns,
    store::{
        connections::{ALL_SLOTS, ConnectionTable},
        presence::PresenceTable,
    },
};

use crate::{failure::Failure, output::Output, parse, stack::Stack, time};

/// Members in a page: the rows of so many are read with one call.
const PAGE: u32 = 100;

/// Options of `roomcast members`.
#[derive(Args, Debug)]
pub struct Options {
    /// The room.
    #[arg(value_parser = parse::room)]
    room: RoomId,
    /// Show no more than so many.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Show who is there as clients see it: the subjects that presence has published last.
    #[arg(long)]
    presence: bool,
}

/// A member as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    connection: &'a str,
    user: Option<&'a str>,
    joined_at: u64,
    expires_at: u64,
}

/// Shows a room's members, page by page: only one page is held in memory, however large the room is.
///
/// # Errors
/// When a table does not answer.
pub async fn run(options: Options, stack: &Stack, output: &Output) -> Result<ExitCode, Failure> {
    let client = DynamoDb::new(&stack.sdk);
    let limit = options.limit.unwrap_or(u64::MAX);
    if options.presence {
        published(&options.room, limit, client, stack, output).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let table = ConnectionTable::new(client, stack.output("ConnectionsTable")?, SystemClock);
    let (mut shown, mut cursor) = (0, None);
    while shown < limit {
        let most = u32::try_from(limit - shown).unwrap_or(PAGE).min(PAGE);
        let page = table.page(&options.room, ALL_SLOTS, cursor, most).await;
        let page = page.map_err(Failure::call("the room's members were to be read"))?;
        let connections: Vec<_> = page.members.iter().map(|member| member.connection.clone()).collect();
        let subjects = table.subjects(&options.room, &connections).await;
        let subjects = subjects.map_err(Failure::call("the members' rows were to be read"))?;
        for member in &page.members {
            let user = subjects.get(&member.connection).map(String::as_str);
            let connection = member.connection.as_str();
            let member = Shown { connection, user, joined_at: member.joined_at, expires_at: member.expires_at };
            output.item(&member, || member.text());
        }
        shown += page.members.len() as u64;
        cursor = page.next;
        if cursor.is_none() || !output.is_read() {
            break;
        }
    }
    if shown == 0 {
        output.note(&format!("nobody is in {}", options.room));
    } else if cursor.is_some() {
        output.note(&format!("the first {shown}; there are more"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the list of a room's members that presence has published.
async fn published(room: &RoomId, limit: u64, client: DynamoDb, stack: &Stack, output: &Output) -> Result<(), Failure> {
    let table = PresenceTable::new(client, stack.output("ConnectionsTable")?, SystemClock);
    let row = table.get(room).await.map_err(Failure::call("the room's presence was to be read"))?;
    let Some(row) = row else {
        let patterns = stack.parameters.get("PresenceRooms").map(String::as_str).unwrap_or_default();
        let has_presence = RoomPatterns::parse(patterns).map_err(Failure::Met)?.matches(room);
        let why = if has_presence { "nobody was there for hours" } else { "PresenceRooms does not match it" };
        output.note(&format!("nothing is published of {room}: {why}"));
        return Ok(());
    };
    let has_list = row.members.is_some();
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    for (id, data) in row.members.unwrap_or_default().into_iter().take(most) {
        let member = ListedMember { id, data };
        let said = || member.data.as_ref().map_or("", MemberData::as_json).to_owned();
        output.item(&member, || format!("{:<24}  {}", member.id, said()));
    }
    let (rev, count, read_at) = (row.rev, row.count, row.read_at);
    let sum = json!({ "presence": { "rev": rev, "count": count, "everybody": row.everybody, "readAt": read_at } });
    output.item(&sum, || {
        let shape = if has_list { "" } else { ", too many for a list" };
        format!("rev {rev}: {count} members{shape}, looked at {}", time::at_millis(read_at))
    });
    Ok(())
}

impl Shown<'_> {
    fn text(&self) -> String {
        let age = Duration::from_millis(SystemClock.unix_millis().saturating_sub(self.joined_at));
        let (user, since) = (self.user.unwrap_or("-"), time::at_millis(self.joined_at));
        let (age, expires) = (time::span(age.as_secs()), time::at_seconds(self.expires_at));
        format!("{:<20}  {user:<24}  since {since} ({age})  until {expires} at most", self.connection)
    }
}
