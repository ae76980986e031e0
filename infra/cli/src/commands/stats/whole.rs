//! A whole stack: its queues, its connections, rates, and rooms that are behind.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::Client as Sqs;
use serde::Serialize;
use shared::{
    clock::{Clock, SystemClock},
    store::congestion::CongestionTable,
};

use super::rates::{self, Known, MINUTES};
use crate::{failure::Failure, letters::depth, output::Output, stack::Stack, time};

/// The queues, by the outputs that name them.
const QUEUES: [(&str, &str); 8] = [
    ("broadcast", "QueueUrl"),
    ("shards", "ShardQueueUrl"),
    ("events", "EventQueueUrl"),
    ("presence", "PresenceQueueUrl"),
    ("ephemeral", "EphemeralQueueUrl"),
    ("dead-letters", "DlqUrl"),
    ("relay-failures", "RelayFailureQueueUrl"),
    ("unmatched", "UnmatchedQueueUrl"),
];

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    stack: &'a str,
    queues: Vec<Queue>,
    /// About how many rows the table of connections has: AWS counts them every six hours.
    connection_rows: Option<i64>,
    /// Rates a second over the last five minutes; empty without metrics.
    rates: BTreeMap<&'static str, f64>,
    behind: Vec<Behind>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    #[serde(rename = "queue")]
    name: &'static str,
    /// About how many messages wait.
    waiting: u64,
    /// About how many messages a function is processing.
    in_flight: u64,
    /// Seconds for which the oldest message has waited, as CloudWatch saw it in the last minutes.
    oldest_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Behind {
    group: String,
    /// The share of its messages that is admitted now.
    admitted: f64,
    /// The time since when this is so, in milliseconds since the Unix epoch.
    since: u64,
}

/// Shows the stack.
pub(super) async fn show(stack: &Stack, output: &Output) -> Result<(), Failure> {
    let (sqs, dynamodb) = (Sqs::new(&stack.sdk), DynamoDb::new(&stack.sdk));
    let urls: Vec<_> =
        QUEUES.iter().filter_map(|(queue, key)| stack.optional_output(key).map(|url| (*queue, url))).collect();
    let names: Vec<_> = urls.iter().map(|(_, url)| name_of(url)).collect();
    let known = rates::read(stack, &names).await.unwrap_or_else(|failure| {
        output.note(&format!("without metrics: {failure}"));
        Known::default()
    });
    let mut queues = Vec::new();
    for (queue, url) in urls {
        let (waiting, in_flight) = depth(&sqs, url).await?;
        queues.push(Queue { name: queue, waiting, in_flight, oldest_seconds: known.oldest.get(name_of(url)).copied() });
    }
    let described = dynamodb.describe_table().table_name(stack.output("ConnectionsTable")?).send().await;
    let described = described.map_err(Failure::call("the table of connections was to be looked at"))?;
    let cuts = CongestionTable::new(dynamodb, stack.output("CongestionTable")?).cuts().await;
    let cuts = cuts.map_err(Failure::call("the table of congestion was to be read"))?;
    let now = SystemClock.unix_millis();
    let behind =
        cuts.into_iter().map(|(group, cut)| Behind { group, admitted: cut.fraction_at(now), since: cut.since });
    let shown = Shown {
        stack: &stack.name,
        queues,
        connection_rows: described.table.and_then(|table| table.item_count),
        rates: known.rates,
        // A cut that admits everything has no effect any more.
        behind: behind.filter(|behind| behind.admitted < 1.0).collect(),
    };
    output.item(&shown, || text(&shown));
    Ok(())
}

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

fn text(shown: &Shown<'_>) -> String {
    let mut lines = vec![format!("{:<16}{:>10}{:>12}  oldest", "queue", "waiting", "in flight")];
    for Queue { name, waiting, in_flight, oldest_seconds } in &shown.queues {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an age in seconds")]
        let oldest = oldest_seconds.map_or_else(|| "-".to_owned(), |seconds| time::span(seconds as u64));
        lines.push(format!("{name:<16}{waiting:>10}{in_flight:>12}  {oldest}"));
    }
    let rows = shown.connection_rows.map_or_else(|| "unknown".to_owned(), |rows| rows.to_string());
    lines.push(format!("rows of connections: {rows} (AWS counts every six hours)"));
    if shown.rates.is_empty() {
        lines.push(format!("no metrics of the last {MINUTES} minutes"));
    } else {
        let rates = shown.rates.iter().map(|(name, rate)| format!("{name} {rate:.2}")).collect::<Vec<_>>().join(", ");
        lines.push(format!("a second, in the last {MINUTES} minutes: {rates}"));
    }
    if shown.behind.is_empty() {
        lines.push("no room is behind".to_owned());
    }
    for Behind { group, admitted, since } in &shown.behind {
        let (percent, since) = (admitted * 100.0, time::at_millis(*since));
        lines.push(format!("behind: {group}, admits {percent:.2}% of its messages, cut at {since}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_told_in_a_few_lines() {
        let queue = |name, oldest_seconds| Queue { name, waiting: 3, in_flight: 1, oldest_seconds };
        let shown = Shown {
            stack: "s",
            queues: vec![queue("broadcast", Some(200.0)), queue("dead-letters", None)],
            connection_rows: Some(7),
            rates: BTreeMap::from([("Posts", 2.5)]),
            behind: vec![Behind { group: "r".into(), admitted: 0.25, since: 0 }],
        };
        let text = text(&shown);
        for part in [
            "broadcast                3           1  3 min",
            "dead-letters             3           1  -",
            "rows of connections: 7 (AWS counts every six hours)",
            "a second, in the last 5 minutes: Posts 2.50",
            "behind: r, admits 25.00% of its messages, cut at 1970-01-01T00:00:00Z",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
