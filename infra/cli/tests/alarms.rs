//! The texts of alarms must be right, since they wake people: an alarm's section in the runbook, the commands there and
//! in its description, and its metrics.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test a broken expectation must stop it"
)]

use std::collections::BTreeSet;

use clap::Parser;
use roomcast::arguments::Arguments;
use shared::metrics::names::{COUNTERS, DISTRIBUTIONS, NAMESPACE};

const TEMPLATE: &str = include_str!("../../template.yaml");
const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

/// A resource of the template: its logical id and its lines.
struct Resource<'a> {
    id: &'a str,
    lines: Vec<&'a str>,
}

impl Resource<'_> {
    fn is(&self, kind: &str) -> bool {
        self.property("Type") == Some(kind)
    }

    /// The value of a key on one line, at any depth.
    fn property(&self, key: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "))
    }

    /// A text that is folded over the lines below its key.
    fn folded(&self, key: &str) -> String {
        let start = self.lines.iter().position(|line| line.trim_start().starts_with(key)).expect(key);
        let depth = indentation(self.lines[start]);
        let below = self.lines[start + 1..].iter().take_while(|line| indentation(line) > depth);
        below.map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }

    /// All of it on one line, whether the template has a map on one line or on several.
    fn text(&self) -> String {
        self.lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(", ")
    }
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn resources() -> Vec<Resource<'static>> {
    let (_, section) = TEMPLATE.split_once("\nResources:\n").unwrap();
    let (section, _) = section.split_once("\nOutputs:\n").unwrap();
    let mut resources: Vec<Resource<'static>> = Vec::new();
    for line in section.lines().filter(|line| !line.trim_start().starts_with('#')) {
        if indentation(line) == 2 {
            resources.push(Resource { id: line.trim().trim_end_matches(':'), lines: Vec::new() });
        } else if let Some(resource) = resources.last_mut() {
            resource.lines.push(line);
        }
    }
    resources
}

fn of_kind(kind: &str) -> Vec<Resource<'static>> {
    let found: Vec<_> = resources().into_iter().filter(|resource| resource.is(kind)).collect();
    assert!(!found.is_empty(), "the template has no {kind}");
    found
}

/// `DeadLetters` as `dead-letters`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

fn headings() -> BTreeSet<&'static str> {
    RUNBOOK.lines().filter_map(|line| line.strip_prefix("## ")).collect()
}

/// The reason why `roomcast` would not accept these arguments, if so.
fn refusal(command: &str) -> Option<String> {
    let words = command.split_whitespace();
    Arguments::try_parse_from(words).err().map(|error| format!("`{command}`: {error}"))
}

#[test]
fn every_alarm_says_what_it_means_and_where_to_begin() {
    let mut sections = BTreeSet::new();
    for alarm in of_kind("AWS::CloudWatch::Alarm") {
        let section = kebab(alarm.id.strip_suffix("Alarm").expect("an alarm's id ends in Alarm"));
        let name = format!("!Sub ${{AWS::StackName}}-{section}");
        assert_eq!(alarm.property("AlarmName"), Some(name.as_str()), "{}", alarm.id);
        let description = alarm.folded("AlarmDescription");
        let (meaning, begin) = description.split_once(" Runbook: docs/runbook.md#").expect("the runbook");
        assert!(meaning.ends_with('.'), "{}: no sentence: {meaning}", alarm.id);
        let (anchor, command) = begin.split_once("; ").expect("a command");
        assert_eq!(anchor, section, "{}", alarm.id);
        assert!(headings().contains(anchor), "docs/runbook.md has no section {anchor}");
        assert_eq!(refusal(&command.replace("${AWS::StackName}", "NAME")), None, "{}", alarm.id);
        sections.insert(section);
    }
    let sections: BTreeSet<_> = sections.iter().map(String::as_str).collect();
    assert_eq!(headings(), sections, "sections of docs/runbook.md without an alarm");
}

#[test]
fn every_command_of_the_runbook_is_one() {
    let mut seen = 0;
    let inline = RUNBOOK.split('`').skip(1).step_by(2).map(str::trim);
    for command in RUNBOOK.lines().chain(inline).filter(|text| text.starts_with("roomcast ")) {
        let command = command.split(" #").next().unwrap().trim();
        assert_eq!(refusal(&format!("{command} --stack NAME")), None);
        seen += 1;
    }
    assert!(seen > 20, "only {seen} commands were found");
}

#[test]
fn every_metric_of_ours_is_one_that_the_functions_write() {
    let names = COUNTERS.iter().map(|counter| counter.name).chain(DISTRIBUTIONS.iter().map(|one| one.name));
    let written: BTreeSet<_> = names.collect();
    let mut seen = BTreeSet::new();
    for alarm in of_kind("AWS::CloudWatch::Alarm") {
        let text = alarm.text();
        for part in text.split(&format!("Namespace: {NAMESPACE}")).skip(1) {
            let name = part.split("MetricName: ").nth(1).unwrap();
            seen.insert(name.split(',').next().unwrap().trim().to_owned());
        }
    }
    let dashboard = of_kind("AWS::CloudWatch::Dashboard").remove(0).text();
    for part in dashboard.split(&format!("[\"{NAMESPACE}\", \"")).skip(1) {
        seen.insert(part.split('"').next().unwrap().to_owned());
    }
    for part in dashboard.split("MetricName=\\\"").skip(1) {
        seen.insert(part.split('\\').next().unwrap().to_owned());
    }
    let seen: BTreeSet<_> = seen.iter().map(String::as_str).collect();
    assert!(seen.len() > 15, "only {seen:?} were found");
    assert_eq!(seen.difference(&written).collect::<Vec<_>>(), Vec::<&&str>::new(), "nobody writes these");
}

#[test]
fn every_queue_has_an_alarm_and_every_function_is_watched() {
    let alarms: String = of_kind("AWS::CloudWatch::Alarm").iter().map(Resource::text).collect();
    for queue in of_kind("AWS::SQS::Queue") {
        assert!(alarms.contains(&format!("!GetAtt {}.QueueName", queue.id)), "no alarm looks at {}", queue.id);
    }
    for function in of_kind("AWS::Serverless::Function") {
        for metric in ["Errors", "Throttles"] {
            let id = function.id;
            let watched = format!("MetricName: {metric}, Dimensions: [{{ Name: FunctionName, Value: ");
            let dimensions = alarms.split(&watched).skip(1).filter_map(|after| after.split('}').next());
            // A function that a stack may be without has a condition.
            let is_it =
                |value: &str| value.trim() == format!("!Ref {id}") || value.contains(&format!(", !Ref {id}, none]"));
            assert!(dimensions.into_iter().any(is_it), "no alarm looks at the {metric} of {id}");
        }
    }
}

#[test]
fn every_threshold_that_is_a_parameter_is_one() {
    let (parameters, _) = TEMPLATE.split_once("\nMappings:\n").unwrap();
    for alarm in of_kind("AWS::CloudWatch::Alarm") {
        if let Some(parameter) = alarm.property("Threshold").unwrap().strip_prefix("!Ref ") {
            assert!(parameters.contains(&format!("\n  {parameter}:\n")), "{}: {parameter}", alarm.id);
        }
        assert_eq!(alarm.property("TreatMissingData"), Some("notBreaching"), "{}", alarm.id);
    }
}
