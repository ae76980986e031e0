//! What `make local` tells other programs: `stack.json` and tokens.

use std::path::Path;

use serde_json::Value;
use tests::websocket::Handshake;
use tokio::process::Command;

use crate::stacks::Stacks;

pub(crate) async fn the_description_has_every_field(stacks: &Stacks) {
    let state = stacks.shared().await.state();
    let text = std::fs::read_to_string(state.join("stack.json")).unwrap();
    let description: Value = serde_json::from_str(&text).unwrap();
    let mut fields: Vec<_> = description.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let expected = [
        "connectionsEndpoint",
        "connectionsTable",
        "demoUrl",
        "dlqUrl",
        "endpointUrl",
        "eventBusName",
        "messagesTable",
        "queueUrl",
        "region",
        "websocketUrl",
    ];
    assert_eq!(fields, expected);
    let text = |field: &str| description[field].as_str().unwrap_or_else(|| panic!("{field} is no text")).to_owned();
    let emulator = text("endpointUrl");
    assert!(emulator.starts_with("http://127.0.0.1:"), "{emulator}");
    assert!(text("websocketUrl").starts_with(&emulator.replace("http", "ws")));
    for url in ["connectionsEndpoint", "queueUrl", "dlqUrl"] {
        assert!(text(url).starts_with(&emulator), "{url} is {}", text(url));
    }
    assert!([text("queueUrl"), text("dlqUrl")].iter().all(|url| url.contains(".fifo")));
    for name in ["region", "connectionsTable", "messagesTable", "eventBusName"] {
        assert!(!text(name).is_empty(), "{name}");
    }
    // Started without the demo page.
    assert_eq!(description["demoUrl"], Value::Null);
}

/// `make token` is this program; make itself would add a second of looking around.
pub(crate) async fn a_token_made_on_the_command_line_connects(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("infra").join("local/dev_token.py");
    let mut command = Command::new("python3");
    command.arg(program).arg("--state").arg(stack.state()).arg("token-alice");
    let made = command.output().await.unwrap();
    assert!(made.status.success(), "{made:?}");
    let token = String::from_utf8(made.stdout).unwrap();
    let alice = stack.connect_with(&Handshake::token(token.trim()).room("user:token-alice")).await.unwrap();
    alice.close().await;
}
