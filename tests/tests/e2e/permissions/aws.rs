//! Calls of IAM, CloudWatch Logs and Lambda as the emulator's root user.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use testkit::stack::LocalStack;

/// Attempts of a call. The emulator fails to list resources that change meanwhile.
const ATTEMPTS: u32 = 5;

pub(super) struct Aws {
    iam: aws_sdk_iam::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
    lambda: aws_sdk_lambda::Client,
}

impl Aws {
    pub(super) fn of(stack: &LocalStack) -> Self {
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS).with_max_backoff(Duration::from_millis(100));
        let config = stack.sdk_config().into_builder().retry_config(retries).build();
        Self {
            iam: aws_sdk_iam::Client::new(&config),
            logs: aws_sdk_cloudwatchlogs::Client::new(&config),
            lambda: aws_sdk_lambda::Client::new(&config),
        }
    }

    /// The names of all roles.
    pub(super) async fn roles(&self) -> Vec<String> {
        let listed = self.iam.list_roles().send().await.unwrap();
        listed.roles().iter().map(|role| role.role_name().to_owned()).collect()
    }

    /// The policies of a role: their names and documents.
    pub(super) async fn policies(&self, role: &str) -> Vec<(String, Value)> {
        let listed = self.iam.list_role_policies().role_name(role).send().await.unwrap();
        let mut policies = Vec::new();
        for name in listed.policy_names {
            let policy = self.iam.get_role_policy().role_name(role).policy_name(&name).send().await.unwrap();
            let document = percent_decode_str(policy.policy_document()).decode_utf8().unwrap();
            policies.push((name, serde_json::from_str(&document).unwrap()));
        }
        policies
    }

    pub(super) async fn put_policy(&self, role: &str, name: &str, document: &Value) {
        let put = self.iam.put_role_policy().role_name(role).policy_name(name);
        put.policy_document(document.to_string()).send().await.unwrap();
    }

    /// The names of all log groups.
    pub(super) async fn log_groups(&self) -> Vec<String> {
        let groups = self.logs.describe_log_groups().send().await.unwrap().log_groups.unwrap_or_default();
        groups.into_iter().filter_map(|group| group.log_group_name).collect()
    }

    /// The lines that a log group has had since a time, in milliseconds since the Unix epoch.
    pub(super) async fn log_lines(&self, group: &str, since: u128) -> Vec<String> {
        let asked = self.logs.filter_log_events().log_group_name(group).start_time(i64::try_from(since).unwrap());
        let pages = asked.into_paginator().send().collect::<Result<Vec<_>, _>>().await.unwrap();
        let events = pages.into_iter().flat_map(|page| page.events.unwrap_or_default());
        events.filter_map(|event| event.message).collect()
    }

    /// Invokes a function with an event.
    pub(super) async fn invoke(&self, function: &str, event: &Value) {
        let listed = self.lambda.list_functions().send().await.unwrap();
        let mut names = listed.functions().iter().filter_map(|function| function.function_name());
        let name = names.find(|name| name.contains(&format!("{function}Function"))).expect("the function");
        self.lambda.invoke().function_name(name).payload(event.to_string().into_bytes().into()).send().await.unwrap();
    }
}
