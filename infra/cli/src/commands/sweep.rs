//! `roomcast sweep`: deletes rows whose connection is gone or that have expired, as the function `sweeper` does on its
//! schedule.

use std::{
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::Client as Sqs;
use clap::Args;
use ingest::{
    connections_api::ConnectionsApi,
    presence::tick::Ticks,
    sweep::{CONFIRM_AFTER, Sweep, SweepSettings, Swept},
};
use serde::{Deserialize, Serialize};
use shared::{
    clock::SystemClock,
    metrics::Metrics,
    queue::sqs::SqsQueue,
    store::scan::{RowKey, RowTable},
};

use crate::{failure::Failure, output::Output, stack::Stack};

/// Options of `roomcast sweep`.
#[derive(Args, Debug)]
pub struct Options {
    /// Calls of the @connections API a second: they are taken from the account's 10,000 (2,500 in newer regions), which
    /// broadcasts share.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    per_second: u32,
    /// Keep the position in this file, and go on from it if it is there. It is deleted at the end of the table.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Say how many, and delete none. Keeps no position: a sweep that went on from there would leave out what this one
    /// passed.
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
}

/// The content of the file of `--resume`.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Position {
    stack: String,
    after: RowKey,
}

/// Sweeps the table of connections, from the beginning or from where `--resume` says.
///
/// # Errors
/// When a table or the API does not answer, or refuses. With `--resume`, the same command goes on there.
pub async fn run(options: Options, stack: &Stack, output: &Output) -> Result<ExitCode, Failure> {
    let client = DynamoDb::new(&stack.sdk);
    let table = stack.output("ConnectionsTable")?;
    let connections_api = ConnectionsApi::new(&stack.sdk, stack.output("ConnectionsEndpoint")?);
    let parameter = |name: &str| stack.parameters.get(name).and_then(|value| value.parse().ok());
    let settings = SweepSettings {
        per_second: NonZeroU32::new(options.per_second).unwrap_or(NonZeroU32::MIN),
        gone_grace: Duration::from_millis(parameter("GoneGraceMs").unwrap_or(10_000)),
        confirm_after: CONFIRM_AFTER,
        lease_seconds: parameter("PresenceLeaseSeconds").unwrap_or(1_200),
        is_dry: options.dry_run,
    };
    let mut position = options.resume.as_deref().map(|file| read_position(file, &stack.name)).transpose()?.flatten();
    let described = client.describe_table().table_name(table).send().await;
    // The number is hours old: good enough for a progress bar only.
    let rows = described.ok().and_then(|described| u64::try_from(described.table?.item_count?).ok());
    let bar = output.progress(rows.filter(|rows| *rows > 0 && position.is_none()), "rows");
    let queue = stack.optional_output("PresenceQueueUrl").map(|url| SqsQueue::new(Sqs::new(&stack.sdk), url));
    let ticks = Ticks::new(queue, SystemClock);
    let mut sweep = Sweep::new(RowTable::new(client, table), connections_api, SystemClock, settings);
    let mut swept = Swept::default();
    loop {
        let page = sweep.page(position.as_ref()).await;
        ticks.send(sweep.take_to_look_at(), &Metrics::default()).await;
        let (page, next) = page.map_err(Failure::call("the sweep was to go on"))?;
        swept.add(page);
        bar.inc(page.examined as u64);
        if let Some(file) = &options.resume {
            write_position(file, &stack.name, next.as_ref())?;
        }
        position = next;
        if position.is_none() {
            break;
        }
    }
    bar.finish_and_clear();
    output.item(&swept, || text(swept, options.dry_run));
    Ok(if swept.unknown == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(swept: Swept, is_dry: bool) -> String {
    let Swept { examined, gone, expired, renewed, young, unknown, calls } = swept;
    let deleted = if is_dry { "to be deleted" } else { "deleted" };
    let mut text = format!(
        "{examined} rows examined with {calls} calls: {} {deleted} ({gone} of connections that are gone, {expired} expired)",
        swept.deleted()
    );
    for (count, what) in [
        (renewed, "put again meanwhile, which stay"),
        (young, "too young to be asked for, which stay"),
        (unknown, "connections of which the API did not say whether they are there"),
    ] {
        if count > 0 {
            text = format!("{text}\n{count} {what}");
        }
    }
    text
}

fn read_position(file: &Path, stack: &str) -> Result<Option<RowKey>, Failure> {
    let shown = file.display();
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| Failure::Asked(format!("{shown} cannot be read: {error}")))?,
    };
    let position: Position = serde_json::from_str(&text)
        .map_err(|error| Failure::Asked(format!("{shown} has no position of a sweep: {error}")))?;
    if position.stack != stack {
        return Err(Failure::Asked(format!("{shown} is of a sweep of stack {}, not of {stack}", position.stack)));
    }
    Ok(Some(position.after))
}

/// Writes the file in one step, so that a command that is killed leaves the position of before or after.
fn write_position(file: &Path, stack: &str, position: Option<&RowKey>) -> Result<(), Failure> {
    let written = match position {
        None => match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        Some(after) => {
            let position = Position { stack: stack.to_owned(), after: after.clone() };
            let partial = file.with_added_extension("partial");
            let text = serde_json::to_string(&position).map_err(io::Error::other);
            text.and_then(|text| fs::write(&partial, text)).and_then(|()| fs::rename(&partial, file))
        }
    };
    written.map_err(|error| Failure::Met(format!("the position was not kept in {}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_of_one_stack_and_goes_at_the_end() {
        let folder = std::env::temp_dir().join(format!("roomcast-sweep-{:016x}", fastrand::u64(..)));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("position");
        assert_eq!(read_position(&file, "a").unwrap(), None);
        let key: RowKey = serde_json::from_str(r#"{"connectionId":"c=","roomId":"r"}"#).unwrap();
        write_position(&file, "a", Some(&key)).unwrap();
        assert_eq!(read_position(&file, "a").unwrap(), Some(key));
        assert!(matches!(read_position(&file, "b"), Err(Failure::Asked(_))));
        write_position(&file, "a", None).unwrap();
        write_position(&file, "a", None).unwrap();
        assert_eq!(read_position(&file, "a").unwrap(), None);
        fs::write(&file, "{").unwrap();
        assert!(matches!(read_position(&file, "a"), Err(Failure::Asked(_))));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_was_swept_is_told_in_words() {
        let swept = Swept { examined: 9, gone: 2, expired: 1, young: 3, calls: 5, ..Swept::default() };
        assert_eq!(
            text(swept, true),
            "9 rows examined with 5 calls: 3 to be deleted (2 of connections that are gone, 1 expired)\n3 too young to be asked for, which stay"
        );
    }
}
