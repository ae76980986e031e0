//! The operator's command, the real binary, against the stacks that the scenarios share.

pub(crate) mod arguments;
mod aws_cli;
pub(crate) mod bench;
pub(crate) mod doctor;
pub(crate) mod letters;
pub(crate) mod maintenance;
pub(crate) mod reading;
pub(crate) mod remedies;
pub(crate) mod smoke;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::programs::built;
use testkit::stack::LocalStack;

/// The output of a command, and its exit code.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// The output's lines as JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{self:?}"));
        self.out.lines().map(line).collect()
    }

    /// The output again, after a check that the command ended with this code.
    pub(crate) fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// The command's binary.
pub(crate) fn program() -> PathBuf {
    built("roomcast")
}

/// The command with these words, for a stack.
pub(crate) fn command(stack: &LocalStack, words: &[&str]) -> Command {
    let mut command = Command::new(program());
    // The command gets none of the caller's own AWS settings.
    command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true");
    command.args(words).arg("--stack-file").arg(stack.state().join("stack.json"));
    command
}

/// Runs the command.
pub(crate) async fn roomcast(stack: &LocalStack, words: &[&str]) -> Said {
    roomcast_reading(stack, words, "").await
}

/// Runs the command with something on its standard input.
pub(crate) async fn roomcast_reading(stack: &LocalStack, words: &[&str], input: &str) -> Said {
    let (mut command, input) = (command(stack, words), input.to_owned());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = move || {
        let mut child = command.spawn().expect("the command, which `make cli` builds");
        let mut stdin = child.stdin.take().unwrap();
        // A command that refuses its arguments reads no input.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs the command with `--json`; returns its exit code and its lines.
pub(crate) async fn json_lines(stack: &LocalStack, words: &[&str]) -> (i32, Vec<Value>) {
    let said = roomcast(stack, &[words, &["--json"]].concat()).await;
    (said.code, said.json())
}

/// Asserts that arguments are refused: exit code 2, and a message that contains `told`.
pub(crate) async fn refuses(stack: &LocalStack, words: &[&str], told: &str) {
    let said = roomcast(stack, words).await.ended_with(2);
    assert!(said.err.contains(told), "{words:?}: {said:?}");
}
