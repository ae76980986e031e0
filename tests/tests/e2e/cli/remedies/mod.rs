//! Faults, put into a stack one at a time: `doctor` names each, and the command that it prints mends it. The table of
//! them is docs/faults.md, which this writes when `ROOMCAST_WRITE_FAULTS` is set and otherwise compares.

mod table;

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};
use shared::queue::{Queue, Record, sqs::SqsQueue};
use testkit::stack::LocalStack;

use super::aws_cli::AwsCli;
use super::{json_lines, roomcast};
use crate::stacks::Stacks;
use crate::wait::until;
use table::{Cause, FAULTS, Fault};

/// The time that alarms take for a minute.
const ALARM_MINUTE: Duration = Duration::from_secs(1);

/// Rounds of remedies that a fault may take.
const ROUNDS: usize = 3;

/// Puts each fault in turn into a stack of their own.
pub(crate) async fn doctor_names_each_fault_and_its_command_mends_it(_: &Stacks) {
    let stack = LocalStack::start_with_alarm_minute(ALARM_MINUTE, &[]).await;
    let mut ward = Ward::of(&stack);
    let (code, findings) = ward.doctor(&[]).await;
    assert_eq!((code, ill(&findings)), (0, vec![]), "a stack without faults");
    let mut rows = Vec::new();
    for fault in FAULTS {
        rows.push(ward.put_in_and_mend(fault).await);
    }
    // Alarms that rang for some of the faults are quiet after a while.
    until("doctor finds nothing when all are mended", async || {
        let (code, findings) = ward.doctor(&[]).await;
        (code == 0 && ill(&findings).is_empty()).then_some(())
    })
    .await;
    roomcast(&stack, &["smoke", "--within", "30"]).await.ended_with(0);
    table::compare(&rows);
}

/// The findings that are neither well nor skipped.
fn ill(findings: &[Value]) -> Vec<&Value> {
    let is_ill = |finding: &&Value| finding["verdict"] == "problem" || finding["verdict"] == "warning";
    findings.iter().filter(is_ill).collect()
}

/// A row of the table.
#[derive(Debug)]
struct Row {
    fault: &'static str,
    what: String,
    remedy: String,
}

/// The stack that the faults are put into, and the command line that does it.
struct Ward<'a> {
    stack: &'a LocalStack,
    aws: AwsCli,
    /// The texts for `{Name}` in commands: physical names, outputs, the ids of routes and mappings.
    names: HashMap<String, String>,
}

impl<'a> Ward<'a> {
    fn of(stack: &'a LocalStack) -> Self {
        let mut ward = Self { stack, aws: AwsCli::start(), names: HashMap::new() };
        let listed = ward.run("cloudformation list-stack-resources --stack-name roomcast");
        for resource in listed["StackResourceSummaries"].as_array().unwrap() {
            ward.name(&resource["LogicalResourceId"], &resource["PhysicalResourceId"]);
        }
        let described = ward.run("cloudformation describe-stacks --stack-name roomcast");
        for output in described["Stacks"][0]["Outputs"].as_array().unwrap() {
            ward.name(&output["OutputKey"], &output["OutputValue"]);
        }
        let routes = ward.run("apigatewayv2 get-routes --api-id {ApiId}");
        for route in routes["Items"].as_array().unwrap() {
            ward.name(&json!(format!("route {}", text(&route["RouteKey"]))), &route["RouteId"]);
        }
        let mappings = ward.run("lambda list-event-source-mappings");
        for mapping in mappings["EventSourceMappings"].as_array().unwrap() {
            let queue = text(&mapping["EventSourceArn"]).split('-').nth_back(1).unwrap().to_owned();
            ward.name(&json!(format!("mapping {queue}")), &mapping["UUID"]);
        }
        ward
    }

    fn name(&mut self, name: &Value, value: &Value) {
        self.names.insert(text(name).to_owned(), text(value).to_owned());
    }

    /// Runs a command of the AWS CLI, its names filled in.
    fn run(&mut self, words: &str) -> Value {
        let mut line =
            format!("aws --region us-east-1 --endpoint-url {} {words}", self.stack.description().endpoint_url);
        for (name, value) in &self.names {
            line = line.replace(&format!("{{{name}}}"), value);
        }
        self.aws.run(&line)
    }

    async fn doctor(&self, words: &[&str]) -> (i32, Vec<Value>) {
        json_lines(self.stack, &[&["doctor"], words].concat()).await
    }

    async fn put_in_and_mend(&mut self, fault: &Fault) -> Row {
        let called = fault.name;
        self.put_in(fault).await;
        // Queues tell their depth after a while.
        let mut findings = until(&format!("doctor names the fault: {called}"), async || self.ill_in(fault).await).await;
        let its = |finding: &&Value| text(&finding["subject"]) == fault.subject;
        let found = findings.iter().find(its).unwrap_or_else(|| panic!("{called}: {findings:?}")).clone();
        assert!(text(&found["what"]).contains(fault.says), "{called}: {found}");
        // A resource that is made anew may need attributes in a second round.
        for _ in 0..ROUNDS {
            for finding in &findings {
                self.mend(fault, finding).await;
            }
            findings = self.ill_in(fault).await.unwrap_or_default();
            if findings.is_empty() {
                break;
            }
        }
        assert!(findings.is_empty(), "{called} is not mended: {findings:?}");
        let mut remedy = self.anonymous(text(&found["remedy"]));
        if !fault.by_hand.is_empty() {
            let _ = write!(remedy, "`, then, since it may never succeed, `roomcast --stack NAME {}", fault.by_hand);
        }
        Row { fault: called, what: self.anonymous(text(&found["what"])), remedy }
    }

    /// The problems and warnings that `doctor` finds in the fault's area, if any.
    async fn ill_in(&self, fault: &Fault) -> Option<Vec<Value>> {
        let (code, findings) = self.doctor(&["--only", fault.area]).await;
        let found = ill(&findings);
        let is_problem = found.iter().any(|finding| finding["verdict"] == "problem");
        assert_eq!(code, i32::from(is_problem), "{}: {findings:?}", fault.name);
        Some(found.into_iter().cloned().collect()).filter(|found: &Vec<_>| !found.is_empty())
    }

    async fn put_in(&mut self, fault: &Fault) {
        match fault.cause {
            Cause::Commands(commands) => commands.iter().for_each(|command| drop(self.run(command))),
            Cause::Variable(function, name, value) => {
                let configured = self.run(&format!("lambda get-function-configuration --function-name {{{function}}}"));
                let mut variables = configured["Environment"].clone();
                variables["Variables"][name] = json!(value);
                self.run(&format!(
                    "lambda update-function-configuration --function-name {{{function}}} --environment '{variables}'"
                ));
            }
            Cause::Letters(number) => {
                let sqs = aws_sdk_sqs::Client::new(&self.stack.sdk_config());
                let letters: Vec<_> = (0..number)
                    .map(|letter| Record {
                        group_id: format!("full-{letter}"),
                        deduplication_id: format!("full-{letter}"),
                        body: "{}".to_owned(),
                        reason: Some("full".to_owned()),
                        trace: None,
                    })
                    .collect();
                let sent = SqsQueue::new(sqs, &self.stack.description().dlq_url).send(&letters).await;
                assert!(sent.iter().all(Result::is_ok), "{sent:?}");
            }
        }
    }

    /// Does what the finding says.
    async fn mend(&mut self, fault: &Fault, finding: &Value) {
        let remedy = text(&finding["remedy"]);
        if remedy.starts_with("aws ") {
            self.aws.run(remedy);
            return;
        }
        let words: Vec<_> = fault.by_hand.split(' ').collect();
        assert!(!fault.by_hand.is_empty(), "{}: nothing can run {remedy}", fault.name);
        roomcast(self.stack, &words).await.ended_with(0);
    }

    /// A text without this stack's own names.
    fn anonymous(&self, text: &str) -> String {
        let endpoint = &self.stack.description().endpoint_url;
        let file = format!("--stack-file {}", self.stack.state().join("stack.json").display());
        let text = text.replace(&format!("--region us-east-1 --endpoint-url {endpoint} "), "");
        let text =
            text.replace("--api-id roomcast", "--api-id <ApiId>").replace("stage-name local", "stage-name <StageName>");
        let mut text = text.replace(&file, "--stack NAME");
        let mut names: Vec<_> =
            self.names.iter().filter(|(_, value)| value.len() > 7 && *value != "roomcast").collect();
        // The longest first: some are parts of others.
        names.sort_by_key(|(name, value)| (std::cmp::Reverse(value.len()), name.len(), (*name).clone()));
        for (name, value) in names {
            text = text.replace(value.as_str(), &format!("<{name}>"));
        }
        text.replace("000000000000", "ACCOUNT").replace("us-east-1", "REGION")
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
