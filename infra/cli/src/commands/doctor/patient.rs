//! The stack that is checked, with all that every check needs: its resources by their names in the template, and
//! clients.

use std::{collections::HashMap, error::Error};

use aws_sdk_cloudformation::{Client as CloudFormation, error::ProvideErrorMetadata};
use aws_sdk_lambda::types::FunctionConfiguration;
use futures::future::join_all;
use serde_json::Value;

use super::finding::{Area, Finding};
use crate::{
    failure::{Causes, Failure},
    stack::Stack,
};

/// The things that a stack loses when it is made anew.
const ANEW: &str = "another address and secret of tokens; rooms begin with empty logs";

/// The stack that is looked at.
pub struct Patient<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// Physical names, by the names in the template.
    pub resources: HashMap<String, String>,
    /// The functions' configurations, by their names in the template. A function that is gone is not among them.
    pub functions: HashMap<String, FunctionConfiguration>,
    /// Findings for functions that AWS did not show, although they may exist.
    pub unseen: HashMap<String, Finding>,
    /// The functions' names in the template, also of those that are gone.
    pub function_ids: Vec<String>,
    /// The client of Lambda.
    pub lambda: aws_sdk_lambda::Client,
    /// The partition, such as `aws`.
    pub partition: String,
    /// The account's number.
    pub account: String,
    /// The region.
    pub region: String,
}

impl<'a> Patient<'a> {
    /// Looks up the stack's resources.
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
        let shown = join_all(function_ids.iter().map(async |id| {
            let name = resources.get(id)?;
            let asked = lambda.get_function().function_name(name).set_qualifier(alias(stack, id).map(str::to_owned));
            Some((id.clone(), asked.send().await))
        }));
        let (mut functions, mut unseen) = (HashMap::new(), HashMap::new());
        for (id, shown) in shown.await.into_iter().flatten() {
            match shown {
                Ok(shown) => functions.extend(shown.configuration.map(|configuration| (id, configuration))),
                Err(error) if error.code() == Some("ResourceNotFoundException") => {}
                Err(error) => {
                    let finding = unanswered(Area::Functions, &id, error);
                    unseen.insert(id, finding);
                }
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

    /// The key of the customer's own that the stack's data are encrypted with, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.parameter("KmsKeyArn").filter(|key| !key.is_empty())
    }

    /// A command of the AWS CLI for this stack's region, and endpoint if it has one of its own.
    #[must_use]
    pub fn aws(&self, words: &str) -> String {
        let endpoint = self.stack.sdk.endpoint_url().map(|url| format!("--endpoint-url {url} ")).unwrap_or_default();
        let profile = self.stack.profile.as_ref().map(|name| format!("--profile {name} ")).unwrap_or_default();
        format!("aws --region {} {profile}{endpoint}{words}", self.region)
    }

    /// The operator's own command, for this stack.
    #[must_use]
    pub fn roomcast(&self, words: &str) -> String {
        format!("roomcast {} {words}", self.stack.named_by)
    }

    /// The command that deploys this stack again, from the sources, with these parameters besides those that it has.
    #[must_use]
    pub fn deploy(&self, parameters: &str) -> String {
        let architecture = self.parameter("Architecture").unwrap_or("x86_64");
        format!("{}{}", self.variables(), deploy(&self.stack.name, architecture, parameters))
    }

    /// The commands that make this stack anew, with the losses that this brings.
    #[must_use]
    pub fn anew(&self) -> String {
        let stack = &self.stack.name;
        format!("{}make undeploy STACK={stack} && {} # {ANEW}", self.variables(), self.deploy(""))
    }

    /// The variables that `make` would read from the environment: without them, another account's stack of this name
    /// could be taken.
    fn variables(&self) -> String {
        let profile = self.stack.profile.as_ref().map(|name| format!("AWS_PROFILE={name} ")).unwrap_or_default();
        format!("{profile}AWS_REGION={} ", self.region)
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

/// The alias by which a function is called, where new versions take over gradually. The function of a schedule is
/// called without one.
fn alias(stack: &Stack, id: &str) -> Option<&'static str> {
    let is_gradual = stack.parameters.get("GradualDeployment").is_some_and(|how| how != "off");
    (is_gradual && id != "SweeperFunction").then_some("live")
}

/// The `make deploy` command with all values that have a default, so that those of another stack are not taken.
fn deploy(stack: &str, architecture: &str, parameters: &str) -> String {
    let parameters = if parameters.is_empty() { String::new() } else { format!(" PARAMS=\"{parameters}\"") };
    format!("make deploy STACK={stack} ARCH={architecture}{parameters}")
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

/// The finding for a thing that AWS did not show.
pub fn unanswered(
    area: Area,
    subject: impl Into<String>,
    error: impl Error + ProvideErrorMetadata + 'static,
) -> Finding {
    let why = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}, {message}"),
        (Some(code), None) => code.to_owned(),
        _ => Causes(&error).to_string(),
    };
    Finding::skipped(area, subject, format!("cannot be looked at: {why}"))
}

#[cfg(test)]
mod tests {
    use super::deploy;

    #[test]
    fn a_deployment_is_of_the_stack_that_was_looked_at() {
        let again = "make deploy STACK=chat ARCH=arm64";
        assert_eq!(deploy("chat", "arm64", ""), again);
        assert_eq!(deploy("chat", "arm64", "FanoutMemory=2048"), format!("{again} PARAMS=\"FanoutMemory=2048\""));
    }
}
