//! Samples of the stack once a second, and the lines that fan-out has logged by the end.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_cloudwatchlogs::operation::filter_log_events::FilterLogEventsOutput;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::world::{World, unix_millis};

/// The observations of one moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Duration,
    /// Messages accepted so far.
    pub(super) accepted: usize,
    /// The age of the oldest message that was accepted, and that no client has seen.
    pub(super) oldest: Duration,
    /// Records in each queue, in the order of the world's queues.
    pub(super) depths: Vec<u64>,
}

/// Fan-out's log line on one broadcast, or on a part of one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Broadcast {
    /// The time since the start.
    pub(super) at: Duration,
    /// Posts, retries included.
    pub(super) posts: u64,
    /// Connections that got all of it.
    pub(super) delivered: u64,
    /// Connections that did not get it, and recover it from the log.
    pub(super) undelivered: u64,
    /// Connections found gone.
    pub(super) gone: u64,
    /// Posts answered 429.
    pub(super) throttled: u64,
}

/// The log of fan-out's functions.
#[derive(Debug, Default)]
pub(super) struct Logged {
    pub(super) broadcasts: Vec<Broadcast>,
    /// The metric `QueueAge` of each line that has it: the time since the start, and the greatest age.
    pub(super) queue_ages: Vec<(Duration, Duration)>,
}

/// Takes a sample each second, until the future is dropped.
pub(super) async fn take(world: Arc<World>, samples: &mut Vec<Sample>) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        seconds.tick().await;
        let depths = depths(&world).await;
        let (accepted, oldest) = world.books(|books| {
            let accepted = books.sent.values().filter(|sent| sent.accepted);
            let waiting = accepted.clone().filter(|sent| !sent.seen).map(|sent| sent.at.elapsed());
            (accepted.count(), waiting.max().unwrap_or_default())
        });
        samples.push(Sample { at: world.started.elapsed(), accepted, oldest, depths });
    }
}

/// Records in each queue, those in flight included.
pub(super) async fn depths(world: &World) -> Vec<u64> {
    const COUNTS: [QueueAttributeName; 3] = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ];
    let client = aws_sdk_sqs::Client::new(&world.stack.sdk_config());
    let mut depths = Vec::new();
    for (_, url) in &world.queues {
        let asked = client.get_queue_attributes().queue_url(url).set_attribute_names(Some(COUNTS.to_vec()));
        let told = asked.send().await.expect("the queue's attributes");
        let counts = told.attributes().expect("attributes").values();
        depths.push(counts.map(|count| count.parse::<u64>().expect("a number")).sum());
    }
    depths
}

/// Everything that fan-out's functions have logged.
pub(super) async fn logged(world: &World) -> Logged {
    let client = aws_sdk_cloudwatchlogs::Client::new(&world.stack.sdk_config());
    let groups = client.describe_log_groups().send().await.expect("log groups");
    let mut logged = Logged::default();
    for group in groups.log_groups().iter().filter_map(|group| group.log_group_name()) {
        if !group.contains("Fanout") && !group.contains("Shards") {
            continue;
        }
        let pages = client.filter_log_events().log_group_name(group).into_paginator().send();
        let events = pages.try_collect().await.expect("a function's log");
        for event in events.iter().flat_map(FilterLogEventsOutput::events) {
            let line: Value = serde_json::from_str(event.message().unwrap_or_default()).unwrap_or_default();
            let after = event.timestamp().unwrap_or_default() - unix_millis(world.began);
            let at = Duration::from_millis(u64::try_from(after).unwrap_or_default());
            let ages = line["QueueAge"]["Values"].as_array().into_iter().flatten();
            if let Some(oldest) = ages.filter_map(Value::as_u64).max() {
                logged.queue_ages.push((at, Duration::from_millis(oldest)));
            }
            if line["message"] != "broadcast" {
                continue;
            }
            let number = |name: &str| line[name].as_u64().unwrap_or_default();
            logged.broadcasts.push(Broadcast {
                at,
                posts: number("posts"),
                delivered: number("delivered"),
                undelivered: number("undelivered"),
                gone: number("gone"),
                throttled: number("throttled"),
            });
        }
    }
    logged
}
