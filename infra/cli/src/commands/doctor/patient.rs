//! What every check needs: the stack, its resources by their names in the template, and clients.

use std::{collections::HashMap, error::Error};

use aws_sdk_cloudformation::{Client as CloudFormation, error::ProvideErrorMetadata};
use aws_sdk_lambda::types::FunctionConfiguration;
use futures::future::join_all;
use serde_json::Value;

use super::finding::{Area, Finding};
use crate::{failure::Failure, stack::Stack};

/// The stack that is looked at.
pub struct Patient<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// Physical names, by the names in the template.
    pub resources: HashMap<String, String>,
    /// The functions as they are configured; one that is gone is not among them. By their names in the template.
    pub functions: HashMap<String, FunctionConfiguration>,
    /// Why functions could not be looked at, which says nothing of them.
    pub unseen: HashMap<String, String>,
    /// The functions' names in the template, also of those that are gone.
    pub function_ids: Vec<String>,
    /// For Lambda.
    pub lambda: aws_sdk_lambda::Client,
    /// Such as `aws`.
    pub partition: String,
    /// The account's number.
    pub account: String,
    /// The region.
    pub region: String,
}

impl<'a> Patient<'a> {
    /// Looks up what the stack consists of.
    ///
    /// # Errors
    /// When AWS does not say.
    pub async fn admit(stack: &'a Stack) -> Result<Self, Failure> {
        let listed = CloudFormation::new(&stack.sdk).list_stack_resources().stack_name(&stack.name);
        let listed = listed.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let listed = listed.map_err(Failure::call("the stack's resources were to be listed"))?;
        let mut function_ids = Vec::new();
        let mut resources = HashMap::new();
        for resource in listed {
            let (Some(id), Some(name)) = (resource.logical_resource_id, resource.physical_resource_id) else {
                continue;
            };
            if resource.resource_type.as_deref() == Some("AWS::Lambda::Function") {
                function_ids.push(id.clone());
            }
            resources.insert(id, name);
        }
        function_ids.sort();
        let lambda = aws_sdk_lambda::Client::new(&stack.sdk);
        let asked = join_all(function_ids.iter().map(async |id| {
            let asked = lambda.get_function().set_function_name(resources.get(id).cloned());
            (id, asked.set_qualifier(alias(stack, id).map(str::to_owned)).send().await)
        }));
        let (mut functions, mut unseen) = (HashMap::new(), HashMap::new());
        for (id, answer) in asked.await {
            match answer {
                Ok(function) => functions.extend(function.configuration.map(|function| (id.clone(), function))),
                Err(error) if error.code() == Some("ResourceNotFoundException") => {}
                Err(error) => drop(unseen.insert(id.clone(), told(&error))),
            }
        }
        let part = |number: usize| stack.id.split(':').nth(number).unwrap_or_default().to_owned();
        Ok(Self {
            partition: part(1),
            region: part(3),
            account: part(4),
            stack,
            resources,
            functions,
            unseen,
            function_ids,
            lambda,
        })
    }

    /// A resource's physical name.
    ///
    /// # Errors
    /// When the stack has no such resource.
    pub fn resource(&self, id: &str) -> Result<&str, Failure> {
        self.resources.get(id).map(String::as_str).ok_or_else(|| {
            Failure::Met(format!("stack {} has no {id}: it is not Roomcast's, or of another version", self.stack.name))
        })
    }

    /// A parameter's value.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.stack.parameters.get(name).map(String::as_str)
    }

    /// A command of the AWS CLI for this stack's region, and endpoint if it has one of its own.
    #[must_use]
    pub fn aws(&self, words: &str) -> String {
        let endpoint = self.stack.sdk.endpoint_url().map(|url| format!("--endpoint-url {url} ")).unwrap_or_default();
        format!("aws --region {} {endpoint}{words}", self.region)
    }

    /// A target of make for this stack: without its name it would be another one, perhaps the one that all is well with.
    #[must_use]
    pub fn make(&self, target: &str) -> String {
        format!("AWS_REGION={} make {target} STACK={}", self.region, self.stack.name)
    }

    /// Deletes the stack, and makes it again.
    #[must_use]
    pub fn make_anew(&self) -> String {
        format!("{} && {}", self.make("undeploy"), self.make("deploy"))
    }

    /// The operator's own command, for this stack.
    #[must_use]
    pub fn roomcast(&self, words: &str) -> String {
        format!("roomcast {} {words}", self.stack.named_by)
    }

    /// An ARN of this stack's account and region.
    #[must_use]
    pub fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:{}:{service}:{}:{}:{resource}", self.partition, self.region, self.account)
    }

    /// The ARN of a queue, from its URL.
    ///
    /// # Errors
    /// As of [`Self::resource`].
    pub fn queue_arn(&self, id: &str) -> Result<String, Failure> {
        let url = self.resource(id)?;
        Ok(self.arn("sqs", url.rsplit('/').next().unwrap_or(url)))
    }

    /// The ARN of a function, with the alias that is called if there is one.
    ///
    /// # Errors
    /// As of [`Self::resource`].
    pub fn function_arn(&self, id: &str) -> Result<String, Failure> {
        let alias = alias(self.stack, id).map(|alias| format!(":{alias}")).unwrap_or_default();
        Ok(self.arn("lambda", &format!("function:{}{alias}", self.resource(id)?)))
    }
}

/// The alias by which a function is called where new versions take over gradually. The one of a schedule is called itself.
fn alias(stack: &Stack, id: &str) -> Option<&'static str> {
    let is_gradual = stack.parameters.get("GradualDeployment").is_some_and(|how| how != "off");
    (is_gradual && id != "SweeperFunction").then_some("live")
}

/// Quotes a word for the shell.
#[must_use]
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A JSON value as a word for the shell.
#[must_use]
pub fn quoted_json(value: &Value) -> String {
    quoted(&value.to_string())
}

/// What is said of a thing that could not be looked at.
pub fn unanswered(area: Area, subject: impl Into<String>, error: impl Error + ProvideErrorMetadata) -> Finding {
    unseen(area, subject, &told(&error))
}

/// The same, when it is known why.
pub fn unseen(area: Area, subject: impl Into<String>, why: &str) -> Finding {
    Finding::skipped(area, subject, format!("cannot be looked at: {why}"))
}

fn told(error: &(impl Error + ProvideErrorMetadata)) -> String {
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}, {message}"),
        (Some(code), None) => code.to_owned(),
        _ => {
            let causes = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
            causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
        }
    }
}
