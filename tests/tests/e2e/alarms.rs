//! Alarms: each rings for its own cause, and is quiet again after the remedy. An alarm's minute takes two seconds here.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use aws_sdk_cloudwatch::Client as CloudWatch;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StateValue};
use aws_sdk_lambda::Client as Lambda;
use aws_sdk_lambda::types::Environment;
use aws_sdk_sqs::Client as Sqs;
use futures::future::join_all;
use serde_json::{Value, json};
use testkit::stack::LocalStack;
use testkit::websocket::{Handshake, Refused};
use tokio::time::sleep;

use crate::events::{put, put_all};
use crate::stacks::{ALARM_MINUTE, Behaviour, FaultyStack, Stacks};
use crate::tables::{enqueue, queue_url, received};
use crate::wait::{seed, until};

/// Every alarm of the template.
const ALARMS: [&str; 21] = [
    "api-errors",
    "broadcast-latency",
    "connect-storm",
    "dead-letters",
    "ephemeral-queue-age",
    "event-queue-age",
    "function-errors",
    "function-throttles",
    "index-throttles",
    "presence-queue-age",
    "queue-age",
    "recursion",
    "relay-failures",
    "returned",
    "shard-queue-age",
    "sweeper-errors",
    "throttled",
    "ticks-lost",
    "unauthorized",
    "undelivered",
    "unmatched-events",
];

/// The pause between two causes of the same kind.
const PAUSE: Duration = Duration::from_millis(300);

struct Alarms {
    client: CloudWatch,
}

impl Alarms {
    fn of(stack: &LocalStack) -> Self {
        Self { client: CloudWatch::new(&stack.sdk_config()) }
    }

    async fn is(&self, alarm: &str, state: &StateValue) -> bool {
        let name = format!("roomcast-{alarm}");
        let described = self.client.describe_alarms().alarm_names(name).send().await.unwrap();
        described.metric_alarms()[0].state_value() == Some(state)
    }

    async fn is_quiet(&self, alarm: &str) {
        until(&format!("{alarm} is quiet"), async || self.is(alarm, &StateValue::Ok).await.then_some(())).await;
    }

    async fn rings(&self, alarm: &str) {
        until(&format!("{alarm} rings"), async || self.is(alarm, &StateValue::Alarm).await.then_some(())).await;
    }

    /// Repeats the cause until the alarm rings, since an alarm forgets a count at the end of its period.
    async fn rings_during(&self, alarm: &str, mut cause: impl AsyncFnMut()) {
        until(&format!("{alarm} rings"), async || {
            cause().await;
            sleep(PAUSE).await;
            self.is(alarm, &StateValue::Alarm).await.then_some(())
        })
        .await;
    }
}

/// Deletes a message, as an operator does after looking at it.
async fn discard(stack: &LocalStack, queue_url: &str, text: &str) {
    let message = received(stack, queue_url, text).await;
    let delete = Sqs::new(&stack.sdk_config()).delete_message().queue_url(queue_url);
    delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
}

/// The name of a function of the template.
async fn function(stack: &LocalStack, logical_id: &str) -> String {
    let functions = Lambda::new(&stack.sdk_config()).list_functions().send().await.unwrap();
    let mut names = functions.functions().iter().filter_map(|function| function.function_name());
    names.find(|name| name.contains(logical_id)).expect("a function of the template").to_owned()
}

pub(crate) async fn they_are_deployed_with_a_dashboard_of_what_there_is(stacks: &Stacks) {
    let stacks = stacks.alarms().await;
    let stack = &stacks.read().await.stack;
    let alarms = Alarms::of(stack);
    let described = alarms.client.describe_alarms().max_records(100).send().await.unwrap();
    let names: Vec<_> = described.metric_alarms().iter().map(|alarm| alarm.alarm_name().unwrap()).collect();
    assert_eq!(names, ALARMS.map(|alarm| format!("roomcast-{alarm}")));
    for alarm in described.metric_alarms() {
        let (name, description) = (alarm.alarm_name().unwrap(), alarm.alarm_description().unwrap());
        let section = name.trim_start_matches("roomcast-");
        let runbook = format!("Runbook: docs/runbook.md#{section}; roomcast --stack roomcast ");
        assert!(description.contains(&runbook), "{description}");
    }

    let dashboard = alarms.client.get_dashboard().dashboard_name("roomcast-us-east-1").send().await.unwrap();
    let body: Value = serde_json::from_str(dashboard.dashboard_body().unwrap()).unwrap();
    let there_are = resources(stack).await;
    let widgets = body["widgets"].as_array().unwrap();
    let shown = |what: &str| {
        let of_widget = move |widget: &Value| widget["properties"][what].as_array().cloned().unwrap_or_default();
        widgets.iter().flat_map(of_widget).collect::<Vec<Value>>()
    };
    for metric in shown("metrics") {
        let words: Vec<_> = metric.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for pair in words.windows(2).filter(|pair| ["QueueName", "FunctionName", "TableName"].contains(&pair[0])) {
            assert!(there_are.contains(pair[1]), "the dashboard shows {metric}, which there is not");
        }
    }
    let of_alarms: BTreeSet<_> =
        described.metric_alarms().iter().map(|alarm| json!(alarm.alarm_arn()).to_string()).collect();
    assert_eq!(shown("alarms").iter().map(Value::to_string).collect::<BTreeSet<_>>(), of_alarms);
}

/// The names of all queues, functions and tables.
async fn resources(stack: &LocalStack) -> BTreeSet<String> {
    let sdk = stack.sdk_config();
    let queues = Sqs::new(&sdk).list_queues().send().await.unwrap().queue_urls.unwrap();
    let functions = Lambda::new(&sdk).list_functions().send().await.unwrap().functions.unwrap();
    let tables = aws_sdk_dynamodb::Client::new(&sdk).list_tables().send().await.unwrap().table_names.unwrap();
    let queues = queues.iter().map(|url| url.rsplit('/').next().unwrap().to_owned());
    queues.chain(functions.into_iter().filter_map(|function| function.function_name)).chain(tables).collect()
}

pub(crate) async fn a_dead_letter_rings_until_it_is_discarded(stacks: &Stacks) {
    let stacks = stacks.alarms().await;
    let stack = &stacks.read().await.stack;
    let alarms = Alarms::of(stack);
    alarms.is_quiet("dead-letters").await;
    enqueue(stack, "alarms-poison", "alarms-poison", "alarms: no JSON").await;
    alarms.rings("dead-letters").await;
    discard(stack, &stack.description().dlq_url, "alarms: no JSON").await;
    alarms.is_quiet("dead-letters").await;
}

pub(crate) async fn an_unmatched_event_rings_until_it_is_discarded(stacks: &Stacks) {
    let stacks = stacks.alarms().await;
    let stack = &stacks.read().await.stack;
    let alarms = Alarms::of(stack);
    alarms.is_quiet("unmatched-events").await;
    put_all(stack, "alarms.feed", "roomcast.mesage", &[json!({ "roomId": "alarms", "data": 1 }).to_string()]).await;
    alarms.rings("unmatched-events").await;
    discard(stack, &queue_url(stack, "UnmatchedQueue").await, "alarms.feed").await;
    alarms.is_quiet("unmatched-events").await;
}

pub(crate) async fn a_bad_configuration_rings_until_it_is_mended(stacks: &Stacks) {
    let stacks = stacks.alarms().await;
    let stack = &stacks.read().await.stack;
    let alarms = Alarms::of(stack);
    alarms.is_quiet("function-errors").await;
    let (lambda, relay) = (Lambda::new(&stack.sdk_config()), function(stack, "RelayFunction").await);
    let good = lambda.get_function_configuration().function_name(&relay).send().await.unwrap();
    let good = good.environment.unwrap().variables.unwrap();
    let mut bad = good.clone();
    bad.insert("LOG_LEVEL".to_owned(), "loud".to_owned());
    let configure = async |variables| {
        let environment = Environment::builder().set_variables(Some(variables)).build();
        lambda.update_function_configuration().function_name(&relay).environment(environment).send().await.unwrap();
    };
    configure(bad).await;
    let event = async || {
        put(stack, "alarms.feed", &json!({ "roomId": "alarms-events", "data": 1 })).await;
    };
    alarms.rings_during("function-errors", event).await;
    configure(good).await;
    alarms.is_quiet("function-errors").await;
}

pub(crate) async fn refused_tokens_ring_until_they_are_good(stacks: &Stacks) {
    let stacks = stacks.alarms().await;
    let stack = &stacks.read().await.stack;
    let alarms = Alarms::of(stack);
    alarms.is_quiet("unauthorized").await;
    let knock = async || {
        assert_eq!(stack.connect_with(&Handshake::token("x.y.z")).await.unwrap_err(), Refused(Some(403)));
    };
    alarms.rings_during("unauthorized", knock).await;
    stack.connect("alarms-alice").await.unwrap();
    alarms.is_quiet("unauthorized").await;
}

pub(crate) async fn undelivered_posts_ring_until_they_arrive(stacks: &Stacks) {
    let stacks = stacks.alarms().await;
    let FaultyStack { stack, posts } = &*stacks.read().await;
    let alarms = Alarms::of(stack);
    alarms.is_quiet("undelivered").await;
    let bob = stack.connect_with(&Handshake::token(&stack.token("alarms-bob")).room("alarms-lost")).await.unwrap();
    let seed = seed();
    posts.behave(Behaviour::Lose { share: 1.0, random: fastrand::Rng::with_seed(seed.0) });
    let mut number = 0;
    let message = async || {
        number += 1;
        let body = json!({ "roomId": "alarms-lost", "data": number }).to_string();
        enqueue(stack, "alarms-lost", &format!("alarms-lost-{number}"), &body).await;
    };
    alarms.rings_during("undelivered", message).await;
    posts.behave(Behaviour::Pass);
    alarms.is_quiet("undelivered").await;
    drop(bob);
}

pub(crate) async fn a_queue_that_nobody_reads_rings_until_somebody_does(stacks: &Stacks) {
    let stacks = stacks.alarms().await;
    // The scenario has the stack alone, so that nothing is broadcast meanwhile.
    let stack = &stacks.write().await.stack;
    let alarms = Alarms::of(stack);
    alarms.is_quiet("queue-age").await;
    let (lambda, fanout) = (Lambda::new(&stack.sdk_config()), function(stack, "FanoutFunction").await);
    let mappings = lambda.list_event_source_mappings().function_name(&fanout).send().await.unwrap();
    let mapping = mappings.event_source_mappings()[0].uuid().unwrap().to_owned();
    let enable = async |enabled| {
        lambda.update_event_source_mapping().uuid(&mapping).enabled(enabled).send().await.unwrap();
    };
    enable(false).await;
    let body = json!({ "roomId": "alarms-waiting", "data": 1 }).to_string();
    enqueue(stack, "alarms-waiting", "alarms-waiting", &body).await;
    alarms.rings("queue-age").await;
    enable(true).await;
    alarms.is_quiet("queue-age").await;
}

/// Alarms on metrics of AWS that the emulator does not produce, put here under the dimensions that AWS gives them, and
/// alarms on metrics of the functions, such as `TicksLost`.
pub(crate) async fn the_others_ring_for_what_aws_reports(stacks: &Stacks) {
    let stacks = stacks.alarms().await;
    let stack = &stacks.read().await.stack;
    let alarms = Alarms::of(stack);
    let (fanout, sweeper) = (function(stack, "FanoutFunction").await, function(stack, "SweeperFunction").await);
    let queues = ["EventQueue", "RelayFailureQueue", "ShardQueue", "PresenceQueue", "EphemeralQueue"];
    let urls = join_all(queues.map(|queue| queue_url(stack, queue))).await;
    let names: Vec<_> = urls.iter().map(|url| url.rsplit('/').next().unwrap()).collect();
    let [events, failures, shards, ticks, ephemerals] = names[..] else { panic!("{names:?}") };
    let table = stack.description().connections_table.as_str();
    let api: &[_] = &[("ApiId", "roomcast"), ("Stage", "local")];
    let index: &[_] = &[("TableName", table), ("GlobalSecondaryIndexName", "members-index")];
    let lambda: &[_] = &[("FunctionName", fanout.as_str())];
    let of_shards: &[_] = &[("Stack", "roomcast"), ("Function", "shards")];
    let of_sweeper: &[_] = &[("Stack", "roomcast"), ("Function", "sweeper")];
    let of_relay: &[_] = &[("Stack", "roomcast"), ("Function", "relay")];
    let failed: &[_] = &[("FunctionName", sweeper.as_str())];
    let reported: [(_, _, _, &[(&str, &str)]); 15] = [
        ("connect-storm", "AWS/ApiGateway", "ConnectCount", api),
        ("api-errors", "AWS/ApiGateway", "ExecutionError", api),
        ("index-throttles", "AWS/DynamoDB", "WriteThrottleEvents", index),
        ("recursion", "AWS/Lambda", "RecursiveInvocationsDropped", lambda),
        ("function-throttles", "AWS/Lambda", "Throttles", lambda),
        ("sweeper-errors", "AWS/Lambda", "Errors", failed),
        ("event-queue-age", "AWS/SQS", "ApproximateAgeOfOldestMessage", &[("QueueName", events)]),
        ("relay-failures", "AWS/SQS", "ApproximateNumberOfMessagesNotVisible", &[("QueueName", failures)]),
        ("shard-queue-age", "AWS/SQS", "ApproximateAgeOfOldestMessage", &[("QueueName", shards)]),
        ("presence-queue-age", "AWS/SQS", "ApproximateAgeOfOldestMessage", &[("QueueName", ticks)]),
        ("ephemeral-queue-age", "AWS/SQS", "ApproximateAgeOfOldestMessage", &[("QueueName", ephemerals)]),
        ("ticks-lost", "Roomcast", "TicksLost", of_sweeper),
        ("broadcast-latency", "Roomcast", "BroadcastLatency", of_shards),
        ("throttled", "Roomcast", "Throttled", of_shards),
        ("returned", "Roomcast", "Returned", of_shards),
    ];
    let ring_for = async |(alarm, namespace, metric, dimensions): (&str, &str, &str, &[(&str, &str)])| {
        alarms.is_quiet(alarm).await;
        // The points reach twenty minutes back, and the longest that an alarm here looks back is fifteen.
        let dimensions: Vec<_> =
            dimensions.iter().map(|(name, value)| Dimension::builder().name(*name).value(*value).build()).collect();
        let report = async || {
            let now = SystemTime::now();
            let data = (0..80).map(|point| {
                let at = DateTime::from(now - ALARM_MINUTE * point / 4);
                let datum = MetricDatum::builder().metric_name(metric).set_dimensions(Some(dimensions.clone()));
                datum.timestamp(at).value(1_000_000.0).build()
            });
            alarms
                .client
                .put_metric_data()
                .namespace(namespace)
                .set_metric_data(Some(data.collect()))
                .send()
                .await
                .unwrap();
        };
        alarms.rings_during(alarm, report).await;
        alarms.is_quiet(alarm).await;
    };
    join_all(reported.map(&ring_for)).await;
    // The other of two ages.
    ring_for(("event-queue-age", "Roomcast", "QueueAge", of_relay)).await;
}
