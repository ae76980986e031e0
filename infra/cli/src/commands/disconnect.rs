//! `roomcast disconnect`: closes a subject's connections.

use std::{collections::BTreeSet, process::ExitCode};

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::Client as Sqs;
use clap::Args;
use ingest::{connections_api::ConnectionsApi, presence::tick::Ticks};
use serde::Serialize;
use shared::{
    ConnectionId, RoomId, Subject,
    clock::SystemClock,
    metrics::Metrics,
    queue::sqs::SqsQueue,
    store::{connections::ConnectionTable, scan::RowTable, subjects::SubjectTable},
};

use crate::{failure::Failure, output::Output, parse, stack::Stack};

/// Rows in a page of a search through the whole table.
const PAGE: u32 = 1_000;

/// Options of `roomcast disconnect`.
#[derive(Args, Debug)]
#[command(
    after_help = "A token that the subject has stays valid: with it they connect again until it expires. To keep somebody out, have \
                        your backend sign no new ones first."
)]
pub struct Options {
    /// Whose connections: the `sub` of their tokens.
    #[arg(value_parser = parse::subject)]
    user: Subject,
    /// Look through the whole table, which costs a read of all of it: where connections are not counted by subject
    /// (SubjectConnections=0, for which it is done in any case), or to be certain.
    #[arg(long)]
    scan: bool,
    /// Say which, and close none.
    #[arg(long)]
    dry_run: bool,
}

/// A connection and what was done with it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done<'a> {
    connection: &'a str,
    /// `closed`, `gone` (it was), or `found` in a dry run.
    outcome: &'a str,
}

/// Closes them, and deletes their rows.
///
/// # Errors
/// When the API or a table does not answer; some may be closed by then.
pub async fn run(options: Options, stack: &Stack, output: &Output) -> Result<ExitCode, Failure> {
    let (dynamodb, table) = (DynamoDb::new(&stack.sdk), stack.output("ConnectionsTable")?);
    let subjects = SubjectTable::new(dynamodb.clone(), table, SystemClock);
    let found = subjects.all_connections(&options.user).await;
    let found = found.map_err(Failure::call("the subject's connections were to be read"))?;
    let mut connections: BTreeSet<ConnectionId> = found.into_iter().map(|found| found.id).collect();
    let is_uncounted = stack.parameters.get("SubjectConnections").is_some_and(|limit| limit == "0");
    if options.scan || is_uncounted {
        connections.extend(search(&RowTable::new(dynamodb.clone(), table), &options.user, output).await?);
    }
    let members = ConnectionTable::new(dynamodb, table, SystemClock);
    let api = ConnectionsApi::new(&stack.sdk, stack.output("ConnectionsEndpoint")?);
    let queue = stack.optional_output("PresenceQueueUrl").map(|url| SqsQueue::new(Sqs::new(&stack.sdk), url));
    let ticks = Ticks::new(queue, SystemClock);
    let (mut closed, mut gone) = (0, 0);
    for connection in &connections {
        let outcome = if options.dry_run {
            "found"
        } else {
            let was_there = api.close(connection).await.map_err(Failure::call("a connection was to be closed"))?;
            // `$disconnect` deletes the rows as well, but API Gateway does not always call it.
            let rooms = members.rooms(connection).await;
            let rooms = rooms.map_err(Failure::call("a connection's rows were to be read"))?;
            let left = members.leave_rooms(connection, &rooms).await;
            let was_present = rooms.iter().filter(|row| row.is_present);
            let changed = was_present.filter_map(|row| RoomId::parse(&row.room).ok()).collect();
            ticks.send(changed, &Metrics::default()).await;
            left.map_err(Failure::call("a connection's rows were to be deleted"))?;
            let removed = subjects.remove(&options.user, connection).await;
            removed.map_err(Failure::call("a connection's row was to be deleted"))?;
            if was_there {
                closed += 1;
                "closed"
            } else {
                gone += 1;
                "gone"
            }
        };
        let done = Done { connection: connection.as_str(), outcome };
        output.item(&done, || format!("{connection}  {outcome}"));
    }
    let of = options.user.as_str();
    output.line(&match (options.dry_run, connections.len()) {
        (_, 0) => format!("{of} has no connections"),
        (true, count) => format!("{count} would be closed"),
        (false, _) => format!("{closed} closed, {gone} gone already; tokens of {of} stay valid until they expire"),
    });
    Ok(ExitCode::SUCCESS)
}

/// Goes through all rows for those of a subject.
async fn search(rows: &RowTable, user: &Subject, output: &Output) -> Result<Vec<ConnectionId>, Failure> {
    let bar = output.progress(None, "rows");
    let (mut found, mut position) = (Vec::new(), None);
    loop {
        let page = rows.page(position.as_ref(), PAGE).await;
        let page = page.map_err(Failure::call("the table of connections was to be read"))?;
        bar.inc(page.examined as u64);
        let is_theirs = |subject: &Option<String>| subject.as_deref() == Some(user.as_str());
        found.extend(page.rows.into_iter().filter(|row| is_theirs(&row.subject)).map(|row| row.connection));
        position = page.next;
        if position.is_none() {
            bar.finish_and_clear();
            return Ok(found);
        }
    }
}
