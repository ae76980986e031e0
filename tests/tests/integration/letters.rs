//! The operator's look into a queue, through the real SDK.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_sqs::Client;
use roomcast::letters::Letters;
use roomcast::traces;
use serde_json::{Value, json};
use testkit::aws_endpoint::{AwsEndpoint, Backend, json_reply};
use testkit::aws_sdk::sdk_config;
use testkit::http_server::{Reply, Request};

/// Letters in the queue.
const LETTERS: usize = 25;

/// A queue that takes longer to read than its letters stay hidden: the first ones come round again and again.
#[derive(Default)]
struct Round(AtomicUsize);

impl Backend for Round {
    async fn call(&self, operation: &str, _: &Value, _: &Request) -> Reply {
        let letter = || {
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            let body = json!({ "roomId": "r", "id": format!("m-{}", number % LETTERS) }).to_string();
            json!({ "MessageId": format!("l-{}", number % LETTERS), "ReceiptHandle": format!("h-{number}"), "Body": body })
        };
        match operation {
            "ReceiveMessage" => json_reply(200, &json!({ "Messages": (0..10).map(|_| letter()).collect::<Vec<_>>() })),
            "GetQueueAttributes" => {
                let counts = json!({
                    "ApproximateNumberOfMessages": "0",
                    "ApproximateNumberOfMessagesNotVisible": LETTERS.to_string()
                });
                json_reply(200, &json!({ "Attributes": counts }))
            }
            other => panic!("{other} was not expected"),
        }
    }
}

#[tokio::test]
async fn letters_that_come_round_again_are_seen_once_and_the_queue_has_an_end() {
    let sqs = AwsEndpoint::start(Round::default());
    let url = format!("{}/000000000000/letters.fifo", sqs.url());
    let mut letters = Letters::open(Client::new(&sdk_config(&sqs.url())), &url);
    let mut seen = Vec::new();
    loop {
        let next = letters.next().await.unwrap();
        if next.is_empty() {
            break;
        }
        seen.extend(next.into_iter().map(|letter| letter.letter_id));
        assert!(seen.len() <= LETTERS, "{seen:?}");
    }
    assert_eq!(seen, (0..LETTERS).map(|number| format!("l-{number}")).collect::<Vec<_>>());
}

/// A queue that hands out its visible letters in order, the oldest first, each in a group of its own.
struct Queue(Mutex<VecDeque<usize>>);

impl Backend for Queue {
    async fn call(&self, operation: &str, body: &Value, _: &Request) -> Reply {
        let mut visible = self.0.lock().unwrap();
        let letter = |number: usize| {
            let group = json!({ "MessageGroupId": format!("r-{number}") });
            json!({ "MessageId": "l", "ReceiptHandle": number.to_string(), "Body": "{}", "Attributes": group })
        };
        let number = || body["ReceiptHandle"].as_str().unwrap().parse().unwrap();
        match operation {
            "ReceiveMessage" => {
                let handed_out = visible.len().min(10);
                let messages: Vec<_> = visible.drain(..handed_out).map(letter).collect();
                json_reply(200, &json!({ "Messages": messages }))
            }
            "ChangeMessageVisibility" => {
                visible.push_front(number());
                json_reply(200, &json!({}))
            }
            "DeleteMessage" => json_reply(200, &json!({})),
            other => panic!("{other} was not expected"),
        }
    }
}

#[tokio::test]
async fn a_letter_of_a_room_is_found_behind_those_of_others() {
    let sqs = AwsEndpoint::start(Queue(Mutex::new((0..LETTERS).collect())));
    let url = format!("{}/000000000000/letters.fifo", sqs.url());
    let client = Client::new(&sdk_config(&sqs.url()));
    let found = traces::take(&client, &url, "r-24").await.unwrap();
    assert!(found.is_some());
    let deleted: Vec<_> = sqs.calls_of("DeleteMessage").iter().map(|call| call.body["ReceiptHandle"].clone()).collect();
    assert_eq!(deleted, ["24"]);
    assert!(traces::take(&client, &url, "r-99").await.unwrap().is_none());
}
