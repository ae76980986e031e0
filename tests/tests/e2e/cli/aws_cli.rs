//! Command lines of the AWS CLI.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tokio::task::block_in_place;

/// A process that runs command lines of the AWS CLI.
pub(super) struct AwsCli {
    process: Child,
    lines: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl AwsCli {
    pub(super) fn start() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut process = Command::new(workspace.join("target/venv/local/bin/python"))
            .arg(workspace.join("tests/tests/e2e/cli/aws.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python to start");
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { lines: process.stdin.take(), process, answers }
    }

    /// Runs a line; returns the answer of its last call.
    pub(super) fn run(&mut self, line: &str) -> Value {
        let answer = block_in_place(|| {
            writeln!(self.lines.as_mut().unwrap(), "{}", json!(line)).unwrap();
            self.answers.next().expect("an answer").unwrap()
        });
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer.get("error").is_none(), "{line}\n{}", answer["error"]);
        answer["answers"].as_array_mut().unwrap().pop().unwrap_or_default()
    }
}

impl Drop for AwsCli {
    fn drop(&mut self) {
        // The process ends when its standard input does.
        drop(self.lines.take());
        let _ = self.process.wait();
    }
}
