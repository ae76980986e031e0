//! The operator's command as a process, and command lines of the AWS CLI.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::{Value, json};
use tests::stack::LocalStack;
use tokio::task::block_in_place;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder")
}

fn binary() -> PathBuf {
    let binary = workspace().join("target/debug/roomcast");
    assert!(binary.is_file(), "{} is missing: `cargo build --workspace --bins` makes it", binary.display());
    binary
}

/// `roomcast` with any words.
pub(crate) fn roomcast(words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(words).env_remove("ROOMCAST_STACK");
    command
}

/// `roomcast` for a stack.
pub(crate) fn roomcast_of(stack: &LocalStack, words: &[&str]) -> Command {
    let mut command = roomcast(words);
    command.arg("--stack-file").arg(stack.state().join("stack.json"));
    command
}

/// Runs it to its end: its exit code, and the lines of JSON that it wrote.
pub(crate) fn json_lines(command: &mut Command) -> (i32, Vec<Value>) {
    let output = ran(command.arg("--json"));
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let code = output.status.code().unwrap_or_else(|| panic!("no exit code: {}", shown(&output)));
    (code, lines)
}

/// Runs it to its end, while others go on.
pub(crate) fn ran(command: &mut Command) -> Output {
    block_in_place(|| command.output()).expect("the command to run")
}

/// What it wrote, for a report.
pub(crate) fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Arguments that make no sense: exit code 2, and a message with this in it.
pub(crate) fn refuses(words: &[&str], told: &str) {
    let output = ran(&mut roomcast(words));
    assert_eq!(output.status.code(), Some(2), "{words:?}: {}", shown(&output));
    assert!(shown(&output).contains(told), "{words:?}: {}", shown(&output));
}

/// Something that runs command lines of the AWS CLI.
pub(crate) struct AwsCli {
    process: Child,
    lines: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl AwsCli {
    pub(crate) fn start() -> Self {
        let mut process = Command::new(workspace().join("target/venv/local/bin/python"))
            .arg(workspace().join("tests/tests/e2e/cli/aws.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python to start");
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { lines: process.stdin.take(), process, answers }
    }

    /// Runs a line; the answer of its last call.
    pub(crate) fn run(&mut self, line: &str) -> Value {
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
        // It ends with its standard input.
        drop(self.lines.take());
        let _ = self.process.wait();
    }
}
