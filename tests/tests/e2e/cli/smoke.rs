//! `roomcast smoke`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::stack::LocalStack;

use super::aws_cli::AwsCli;
use super::{command, json_lines, refuses, roomcast};
use crate::stacks::Stacks;
use crate::wait::until;

/// Seconds that a step may take on a busy machine.
const PATIENT: &str = "40";

/// Seconds that a step may take that fails by waiting.
const BRIEF: &str = "15";

/// Each function with a variable without which it does not work, and the step that must then fail.
const BROKEN: [(&str, &str, &str); 8] = [
    ("AuthorizerFunctionName", "AUTH_SECRET_ARN", "connect"),
    ("SessionFunctionName", "CONNECTIONS_TABLE", "connect"),
    ("MessageFunctionName", "QUEUE_URL", "send"),
    ("FanoutFunctionName", "MESSAGES_TABLE", "receive"),
    ("RelayFunctionName", "QUEUE_URL", "event"),
    ("ShardsFunctionName", "CONNECTIONS_TABLE", "shard"),
    ("PresenceFunctionName", "QUEUE_URL", "presence"),
    ("EphemeralFunctionName", "CONNECTIONS_ENDPOINT", "ephemeral"),
];

pub(crate) async fn smoke_passes_and_leaves_nothing(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let (code, lines) = json_lines(stack, &["smoke", "--within", PATIENT]).await;
    assert_eq!(code, 0, "{lines:?}");
    assert!(lines.iter().all(|line| line["outcome"] == "passed"), "{lines:?}");
    let steps: Vec<_> = lines.iter().filter_map(|line| line["step"].as_str()).collect();
    assert_eq!(steps.len(), 16, "{steps:?}");
    nothing_is_left(stack, "smoke:").await;
}

pub(crate) async fn smoke_fails_when_any_one_function_is_broken(_: &Stacks) {
    let stack = LocalStack::start(&[]).await;
    let mut aws = AwsCli::start();
    let global = format!("aws --region us-east-1 --endpoint-url {}", stack.description().endpoint_url);
    let described = aws.run(&format!("{global} cloudformation describe-stacks --stack-name roomcast"));
    let outputs = described["Stacks"][0]["Outputs"].as_array().unwrap().clone();
    for (output, variable, step) in BROKEN {
        let function = outputs.iter().find(|known| known["OutputKey"] == output).unwrap()["OutputValue"].clone();
        let function = function.as_str().unwrap();
        let configured = aws.run(&format!("{global} lambda get-function-configuration --function-name {function}"));
        let right = configured["Environment"].clone();
        let mut wrong = right.clone();
        wrong["Variables"][variable] = json!("http://127.0.0.1:1/nowhere");
        let update = format!("{global} lambda update-function-configuration --function-name {function} --environment");
        aws.run(&format!("{update} '{wrong}'"));
        let (code, lines) = json_lines(&stack, &["smoke", "--fail-fast", "--within", BRIEF]).await;
        let failed: Vec<&Value> = lines.iter().filter(|line| line["outcome"] == "failed").collect();
        assert_eq!((code, failed.len()), (1, 1), "{output} is broken: {lines:?}");
        assert_eq!(failed[0]["step"], step, "{output} is broken: {lines:?}");
        assert!(failed[0]["look"].as_str().unwrap().contains("doctor"), "{}", failed[0]);
        aws.run(&format!("{update} '{right}'"));
    }
    roomcast(&stack, &["smoke", "--within", PATIENT]).await.ended_with(0);
}

/// `smoke` removes what it made even when it is interrupted.
pub(crate) async fn smoke_cleans_up_when_it_is_interrupted(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let mut command = command(stack, &["smoke", "--within", PATIENT]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    tokio::task::block_in_place(|| told.read_line(&mut line)).unwrap();
    // Other runs may be under way, so only this one's room is looked at.
    let room = line.trim().strip_prefix("room ").unwrap().to_owned();
    let is_member = async || (!rooms(stack, &room).await.is_empty()).then_some(());
    until("it is in its room", is_member).await;
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let output = tokio::task::block_in_place(|| {
        // The rest of the command's output is read too, so that the command never waits for a reader.
        told.read_to_string(&mut line).unwrap();
        child.wait_with_output()
    });
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"), "{output:?}");
    nothing_is_left(stack, &room).await;
}

pub(crate) async fn smoke_refuses_what_makes_no_sense(stacks: &Stacks) {
    let stack = stacks.shared().await;
    refuses(stack, &["smoke", "--within", "0"], "--within").await;
    refuses(stack, &["smoke", "--within", "soon"], "--within").await;
}

/// Waits until no table has a row of a room or subject with this beginning. Another run, whose rows have it too, may be
/// under way.
pub(super) async fn nothing_is_left(stack: &LocalStack, beginning: &str) {
    let mut left = Vec::new();
    let empty = async {
        loop {
            left = rooms(stack, beginning).await;
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let empty = tokio::time::timeout(crate::wait::PATIENCE, empty).await;
    assert!(empty.is_ok(), "rows are left: {left:?}");
}

/// The rooms and subjects with this beginning that have rows.
async fn rooms(stack: &LocalStack, beginning: &str) -> Vec<String> {
    let client = aws_sdk_dynamodb::Client::new(&stack.sdk_config());
    let description = stack.description();
    let mut found = Vec::new();
    for table in [&description.connections_table, &description.messages_table, &description.state_table] {
        let scan = client.scan().table_name(table).consistent_read(true).into_paginator().items().send();
        for row in scan.collect::<Result<Vec<_>, _>>().await.unwrap() {
            let texts =
                ["roomId", "connectionId"].map(|name| row.get(name).and_then(|value| value.as_s().ok()).cloned());
            let its = texts
                .into_iter()
                .flatten()
                .filter(|text| text.starts_with(beginning) || text.starts_with(&format!("subject/{beginning}")));
            found.extend(its);
        }
    }
    found
}
