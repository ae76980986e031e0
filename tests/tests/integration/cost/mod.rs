//! `roomcast cost`: its counts are those of the real functions for the same workload, within two percent.

mod arguments;
mod connections;
mod curves;
mod messages;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use testkit::dynamodb::MeteredCall;

/// The share by which a count may differ.
const WITHIN: f64 = 0.02;

/// The command, as built in the profile of the running test.
fn roomcast() -> Command {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("roomcast");
    assert!(program.is_file(), "{} is missing: cargo build --workspace --bins", program.display());
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `roomcast cost` with a workload on its standard input.
fn cost_of(workload: &str, arguments: &[&str]) -> Output {
    let mut child = roomcast().arg("cost").args(arguments).spawn().unwrap();
    // A command that refuses its arguments does not read its input.
    let _ = child.stdin.take().unwrap().write_all(workload.as_bytes());
    child.wait_with_output().unwrap()
}

/// Counts by name.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<String, f64>);

impl Counts {
    /// The command's figures for some parts of a workload.
    pub(crate) fn of_model(workload: &Value, parts: &[&str]) -> Self {
        let output = cost_of(&workload.to_string(), &["-", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut counts = Self::default();
        for part in parts {
            for (name, number) in said["countsByPart"][part].as_object().into_iter().flatten() {
                counts.add(name, number.as_f64().unwrap());
            }
        }
        counts
    }

    pub(crate) fn add(&mut self, name: &str, number: f64) {
        *self.0.entry(name.to_owned()).or_default() += number;
    }

    pub(crate) fn add_calls<S: AsRef<str>>(&mut self, operations: impl IntoIterator<Item = S>) {
        for operation in operations {
            self.add(operation.as_ref(), 1.0);
        }
    }

    /// Calls of tables, with their units.
    pub(crate) fn add_metered(&mut self, calls: impl IntoIterator<Item = MeteredCall>) {
        for call in calls {
            self.add(&call.operation, 1.0);
            self.add(if call.is_read() { "ReadUnits" } else { "WriteUnits" }, call.units);
        }
    }

    fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Asserts that the model says the same of everything that was counted, and counts nothing else but `besides`.
    pub(crate) fn assert_model(&self, model: &Self, besides: &[&str]) {
        let names = self.0.keys().chain(model.0.keys()).filter(|name| !besides.contains(&name.as_str()));
        let differs = |name: &&String| {
            let (counted, said) = (self.get(name), model.get(name));
            (said - counted).abs() > counted * WITHIN + 1e-6
        };
        let wrong: Vec<_> = names
            .filter(differs)
            .map(|name| format!("{name}: {} counted, {} said", self.get(name), model.get(name)))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// Figures that no test counts: they are computed from counted ones, or are Lambda's and the network's.
pub(crate) const NOT_COUNTED: [&str; 7] =
    ["GbSeconds", "EgressBytes", "LogBytes", "StoredBytes", "FifoRequests", "StandardRequests", "Events"];
