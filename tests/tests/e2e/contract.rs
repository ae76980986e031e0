//! The contract of `make local` with other programs: `stack.json` and tokens.

use std::path::Path;

use serde_json::{Value, json};
use testkit::websocket::Handshake;
use tokio::process::Command;

use crate::stacks::Stacks;

pub(crate) async fn the_description_has_every_field(stacks: &Stacks) {
    let state = stacks.shared().await.state();
    let text = std::fs::read_to_string(state.join("stack.json")).unwrap();
    let description: Value = serde_json::from_str(&text).unwrap();
    let mut fields: Vec<_> = description.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let expected = [
        "authSecretArn",
        "connectionsEndpoint",
        "connectionsTable",
        "demoUrl",
        "dlqUrl",
        "endpointUrl",
        "ephemeralQueueUrl",
        "eventBusName",
        "messagesTable",
        "presenceQueueUrl",
        "queueUrl",
        "region",
        "stackName",
        "stateTable",
        "websocketUrl",
    ];
    assert_eq!(fields, expected);
    let text = |field: &str| description[field].as_str().unwrap_or_else(|| panic!("{field} is no text")).to_owned();
    let emulator = text("endpointUrl");
    assert!(emulator.starts_with("http://127.0.0.1:"), "{emulator}");
    assert!(text("websocketUrl").starts_with(&emulator.replace("http", "ws")));
    for url in ["connectionsEndpoint", "queueUrl", "dlqUrl", "presenceQueueUrl", "ephemeralQueueUrl"] {
        assert!(text(url).starts_with(&emulator), "{url} is {}", text(url));
    }
    assert!(["queueUrl", "dlqUrl", "presenceQueueUrl"].map(text).iter().all(|url| url.contains(".fifo")));
    assert!(text("authSecretArn").starts_with("arn:aws:secretsmanager:"));
    for name in ["region", "stackName", "connectionsTable", "messagesTable", "stateTable", "eventBusName"] {
        assert!(!text(name).is_empty(), "{name}");
    }
    // Started without the demo page.
    assert_eq!(description["demoUrl"], Value::Null);
}

/// `make token` is this program, its words in the environment; make itself would add a second of looking around.
pub(crate) async fn a_token_made_on_the_command_line_connects(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let make_token = async |words: &[(&str, &str)]| {
        let mut command = Command::new(workspace.join("target/venv/local/bin/python"));
        command.arg(workspace.join("infra/local/dev_token.py")).arg("--state").arg(stack.state());
        command.envs(words.iter().copied()).output().await.unwrap()
    };
    let connect = async |words: &[(&str, &str)]| {
        let made = make_token(words).await;
        assert!(made.status.success(), "{made:?}");
        let token = String::from_utf8(made.stdout).unwrap();
        stack.connect_with(&Handshake::token(token.trim())).await.unwrap()
    };
    let alice = connect(&[("SUB", "token-alice")]).await;
    alice.join("user:token-alice").await;
    alice.join("token-anywhere").await;
    let bob = connect(&[("SUB", "b'o$b \"x\""), ("ROOMS", r#"{"token-chat:*":["join"]}"#), ("TTL", "60")]).await;
    let joined = bob.join("token-chat:1").await;
    assert!((1..=60_000).contains(&joined["expiresInMs"].as_u64().unwrap()), "{joined}");
    let refused = bob.request_for("error", json!({ "action": "joinRoom", "roomId": "token-anywhere" })).await;
    assert_eq!(refused["code"], "forbidden", "{refused}");
    for (words, told) in [
        (&[("SUB", "")][..], "the subject is missing"),
        (&[("SUB", "x"), ("ROOMS", "{chat: join}")], "ROOMS is not JSON"),
        (&[("SUB", "x"), ("ROOMS", "[]")], "ROOMS is not a JSON object"),
        (&[("SUB", "x"), ("ROOMS", r#"{"a*b":["join"]}"#)], "'a*b' names no rooms"),
        (&[("SUB", "x"), ("ROOMS", r#"{"r":["write"]}"#)], "must have a list of join, send, history, state"),
        (&[("SUB", "x"), ("TTL", "1h")], "TTL must be a number of seconds"),
    ] {
        let made = make_token(words).await;
        let error = String::from_utf8(made.stderr).unwrap();
        assert!(!made.status.success() && made.stdout.is_empty() && error.contains(told), "{words:?}: {error}");
    }
}
