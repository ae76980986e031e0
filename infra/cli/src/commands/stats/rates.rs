//! CloudWatch's metrics of the last minutes.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use aws_sdk_cloudwatch::{
    Client as CloudWatch,
    primitives::DateTime,
    types::{Dimension, Metric, MetricDataQuery, MetricStat},
};

use crate::{failure::Failure, stack::Stack};

/// The minutes over which rates are averaged.
pub(super) const MINUTES: u64 = 5;

/// The seconds of one value of a metric.
const PERIOD: i32 = 60;

/// The namespace of the stack's own metrics.
const OWN: &str = "Roomcast";

/// The stack's own metrics that are shown, each with the functions that count it.
const COUNTS: [(&str, &[&str]); 13] = [
    ("Accepted", &["message", "relay"]),
    ("Refused", &["message"]),
    ("Messages", &["fanout"]),
    ("Posts", &["fanout", "shards"]),
    ("Delivered", &["fanout", "shards"]),
    ("Gone", &["fanout", "shards"]),
    ("Throttled", &["fanout", "shards"]),
    ("Undelivered", &["fanout", "shards"]),
    ("Connects", &["session"]),
    ("StateWrites", &["fanout"]),
    ("Publications", &["presence"]),
    ("PresencePosts", &["fanout", "shards"]),
    ("EphemeralPosts", &["ephemeral"]),
];

/// The values of the metrics.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Seconds for which the oldest message of each queue has waited, by the queue's name.
    pub(super) oldest: BTreeMap<String, f64>,
    /// The rate a second of each of the stack's own metrics, by its name, without those that had no values.
    pub(super) rates: BTreeMap<&'static str, f64>,
}

/// Reads the metrics of some queues, and the stack's own.
pub(super) async fn read(stack: &Stack, queues: &[&str]) -> Result<Known, Failure> {
    let mut asked = Vec::new();
    for (number, queue) in queues.iter().enumerate() {
        let dimensions = [("QueueName", *queue)];
        asked.push(query(&format!("q{number}"), ("AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum"), &dimensions));
    }
    let counts = COUNTS.iter().flat_map(|(name, functions)| functions.iter().map(move |function| (*name, *function)));
    let counts: Vec<_> = counts.collect();
    for (number, (name, function)) in counts.iter().enumerate() {
        let dimensions = [("Stack", stack.name.as_str()), ("Function", *function)];
        asked.push(query(&format!("c{number}"), (OWN, *name, "Sum"), &dimensions));
    }
    let (client, now) = (CloudWatch::new(&stack.sdk), SystemTime::now());
    let from = now - Duration::from_secs(MINUTES * 60);
    let (mut known, mut token) = (Known::default(), None);
    loop {
        let get = client.get_metric_data().start_time(DateTime::from(from)).end_time(DateTime::from(now));
        let page = get.set_metric_data_queries(Some(asked.clone())).set_next_token(token).send().await;
        let page = page.map_err(Failure::call("metrics were to be read"))?;
        for result in page.metric_data_results() {
            let id = result.id().unwrap_or_default();
            let number = id.get(1..).and_then(|number| number.parse::<usize>().ok()).unwrap_or(usize::MAX);
            if result.values().is_empty() {
                continue;
            }
            if let (true, Some(queue)) = (id.starts_with('q'), queues.get(number)) {
                // The newest minute comes first.
                known.oldest.insert((*queue).to_owned(), result.values()[0]);
            } else if let Some((name, _)) = counts.get(number) {
                let sum: f64 = result.values().iter().sum();
                #[expect(clippy::cast_precision_loss, reason = "a few minutes")]
                let seconds = (MINUTES * 60) as f64;
                *known.rates.entry(name).or_default() += sum / seconds;
            }
        }
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            return Ok(known);
        }
    }
}

fn query(id: &str, (namespace, name, statistic): (&str, &str, &str), dimensions: &[(&str, &str)]) -> MetricDataQuery {
    let dimension = |(name, value): &(&str, &str)| Dimension::builder().name(*name).value(*value).build();
    let metric = Metric::builder().namespace(namespace).metric_name(name);
    let metric = metric.set_dimensions(Some(dimensions.iter().map(dimension).collect())).build();
    let stat = MetricStat::builder().metric(metric).period(PERIOD).stat(statistic).build();
    MetricDataQuery::builder().id(id).metric_stat(stat).return_data(true).build()
}
