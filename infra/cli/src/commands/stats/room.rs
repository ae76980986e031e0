//! One room: its members, its log, its broadcasts under way, and whether it is behind.

use aws_sdk_dynamodb::Client as DynamoDb;
use serde::Serialize;
use shared::{
    RoomId,
    clock::{Clock, SystemClock},
    store::{
        congestion::CongestionTable,
        connections::{ALL_SLOTS, ConnectionTable},
        log::{Layout, LogTable, ProgressOf},
        presence::PresenceTable,
    },
};

use crate::{failure::Failure, output::Output, stack::Stack, time};

/// Members in a page: as many as a query returns.
const PAGE: u32 = 10_000;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    room: &'a RoomId,
    members: u64,
    /// The newest number of the log, also after it has expired.
    head_seq: Option<u64>,
    /// The oldest number that the log still has.
    first_seq: Option<u64>,
    /// The number at which the log was last started, or carried on near its end.
    fence_seq: Option<u64>,
    /// When the newest message was logged, in milliseconds since the Unix epoch.
    last_logged_at: Option<u64>,
    /// The number of shards in which the newest message went out; 0 means that it was posted directly.
    shards: u16,
    /// A broadcast of the room that stopped in the middle.
    unfinished: Option<Unfinished>,
    behind: Option<Behind>,
    /// The list of members that presence has published.
    presence: Option<Presence>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Presence {
    /// The version of the published list.
    rev: u64,
    /// Members whom clients see: distinct subjects.
    count: u64,
    /// When the members' rows were last read, in milliseconds since the Unix epoch.
    read_at: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Unfinished {
    /// Every number up to this one is out.
    done_seq: u64,
    /// Connections below the slot have everything up to this number.
    up_to_seq: u64,
    /// The slot, of 65,536.
    slot: u16,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Behind {
    /// The time that the room's oldest message had waited when it was last seen, in milliseconds.
    waited_ms: u64,
    /// The time when it was seen, in milliseconds since the Unix epoch.
    seen_at: u64,
    /// The share of its messages that is admitted now.
    admitted: f64,
}

/// Shows the room.
pub(super) async fn show(room: &RoomId, stack: &Stack, output: &Output) -> Result<(), Failure> {
    let client = DynamoDb::new(&stack.sdk);
    let members = members(room, &client, stack).await?;
    let log = LogTable::new(client.clone(), stack.output("MessagesTable")?, SystemClock);
    let reading = || Failure::call("the room's log was to be read");
    let head = log.head(room).await.map_err(reading())?;
    let fence = log.fence(room).await.map_err(reading())?;
    let oldest = log.since(room, 1, 1).await.map_err(reading())?.entries.into_iter().next();
    let newest = log.latest(room, None, 1).await.map_err(reading())?.entries.into_iter().next();
    let progress = log.progress(room, ProgressOf::Room).await.map_err(reading())?;
    let congestion = CongestionTable::new(client.clone(), stack.output("CongestionTable")?).row(room.as_str()).await;
    let congestion = congestion.map_err(Failure::call("the table of congestion was to be read"))?;
    let presence = PresenceTable::new(client, stack.output("ConnectionsTable")?, SystemClock).get(room).await;
    let presence = presence.map_err(Failure::call("the room's presence was to be read"))?;
    let now = SystemClock.unix_millis();
    let shown = Shown {
        room,
        members,
        head_seq: head.map(|head| head.seq),
        first_seq: oldest.as_ref().map(shared::store::log::LogEntry::seq),
        fence_seq: fence.map(|fence| fence.start),
        last_logged_at: head.map(|head| head.appended_at),
        shards: newest.map_or(0, |newest| match newest.layout {
            Layout::Direct => 0,
            Layout::Shards(shards) => shards.get(),
        }),
        unfinished: progress.filter(|progress| progress.up_to > progress.done).map(|progress| Unfinished {
            done_seq: progress.done,
            up_to_seq: progress.up_to,
            slot: progress.slot,
        }),
        // The table keeps rows for a while after they have lost their effect.
        behind: congestion.filter(|row| row.ends_at() > now).map(|row| Behind {
            waited_ms: row.sight.waited(),
            seen_at: row.sight.seen_at,
            admitted: row.cut.map_or(1.0, |cut| cut.fraction_at(now)),
        }),
        presence: presence.map(|row| Presence { rev: row.rev, count: row.count, read_at: row.read_at }),
    };
    output.item(&shown, || text(&shown));
    Ok(())
}

/// Counts the room's rows, page by page.
async fn members(room: &RoomId, client: &DynamoDb, stack: &Stack) -> Result<u64, Failure> {
    let table = ConnectionTable::new(client.clone(), stack.output("ConnectionsTable")?, SystemClock);
    let (mut members, mut cursor) = (0, None);
    loop {
        let page = table.page(room, ALL_SLOTS, cursor, PAGE).await;
        let page = page.map_err(Failure::call("the room's members were to be read"))?;
        members += page.members.len() as u64;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(members);
        }
    }
}

fn text(shown: &Shown<'_>) -> String {
    let seq = |seq: Option<u64>| seq.map_or_else(|| "-".to_owned(), |seq| seq.to_string());
    let way = if shown.shards == 0 { "directly".to_owned() } else { format!("in {} shards", shown.shards) };
    let broadcast = |at| format!("{}, broadcast {way}", time::at_millis(at));
    let last = shown.last_logged_at.map_or_else(|| "never".to_owned(), broadcast);
    let mut lines = vec![
        format!("members         {}", shown.members),
        format!("head            {}", seq(shown.head_seq)),
        format!("first retained  {}", seq(shown.first_seq)),
        format!("fence           {}", seq(shown.fence_seq)),
        format!("last message    {last}"),
        match &shown.unfinished {
            None => "unfinished      no".to_owned(),
            Some(Unfinished { done_seq, up_to_seq, slot }) => {
                format!("unfinished      {} to {up_to_seq}: out to the slots below {slot} of 65536", done_seq + 1)
            }
        },
    ];
    lines.push(match &shown.behind {
        None => "behind          no".to_owned(),
        Some(Behind { waited_ms, seen_at, admitted }) => format!(
            "behind          its oldest message had waited {} at {}; admits {:.2}% of its messages",
            time::span(waited_ms / 1_000),
            time::at_millis(*seen_at),
            admitted * 100.0
        ),
    });
    if let Some(Presence { rev, count, read_at }) = &shown.presence {
        lines.push(format!("presence        {count} at rev {rev}, looked at {}", time::at_millis(*read_at)));
    }
    lines.join("\n")
}
