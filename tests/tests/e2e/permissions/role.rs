//! A function's role, and one permission of it.

use std::fmt;

use serde_json::{Value, json};

use super::aws::Aws;

/// A role as CloudFormation has made it.
pub(super) struct Role {
    /// The name of the role's function: `Fanout` for `FanoutRole`.
    pub(super) function: String,
    name: String,
    policies: Vec<(String, Value)>,
}

/// One action that a statement allows, on one of its resources.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Permission {
    /// The action, which may end with a star.
    pub(super) action: String,
    /// The resource, which may end with a star.
    pub(super) resource: String,
}

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} on {}", self.action, self.resource)
    }
}

impl Role {
    /// The roles of a stack's functions.
    pub(super) async fn all(aws: &Aws) -> Vec<Self> {
        let mut roles = Vec::new();
        for name in aws.roles().await {
            let logical_id = name.split('-').nth(1).unwrap_or(&name);
            let function = logical_id.strip_suffix("Role").unwrap_or_else(|| panic!("{name} is no function's role"));
            let policies = aws.policies(&name).await;
            roles.push(Self { function: function.to_owned(), name, policies });
        }
        roles
    }

    /// All permissions of its statements.
    pub(super) fn permissions(&self) -> Vec<Permission> {
        let mut permissions = Vec::new();
        for statement in self.policies.iter().flat_map(|(_, document)| statements(document)) {
            assert_eq!(statement["Effect"], "Allow", "{statement}");
            for permission in pairs(statement) {
                assert!(permission.resource != "*", "{permission} of {} is for everything", self.function);
                assert!(!permissions.contains(&permission), "{permission} of {} is allowed twice", self.function);
                permissions.push(permission);
            }
        }
        permissions
    }

    /// Puts the role's policies without some permissions. Each permission that is left gets a statement of its own.
    pub(super) async fn take_away(&self, aws: &Aws, permissions: &[&Permission]) {
        for (name, document) in &self.policies {
            let mut left = Vec::new();
            for statement in statements(document) {
                for pair in pairs(statement).filter(|pair| !permissions.contains(&pair)) {
                    let mut alone = statement.clone();
                    (alone["Action"], alone["Resource"]) = (json!(pair.action), json!(pair.resource));
                    left.push(alone);
                }
            }
            let mut document = document.clone();
            document["Statement"] = Value::Array(left);
            aws.put_policy(&self.name, name, &document).await;
        }
    }

    /// Puts its policies as they were.
    pub(super) async fn put_back(&self, aws: &Aws) {
        for (name, document) in &self.policies {
            aws.put_policy(&self.name, name, document).await;
        }
    }
}

fn statements(document: &Value) -> impl Iterator<Item = &Value> {
    document["Statement"].as_array().expect("statements").iter()
}

fn pairs(statement: &Value) -> impl Iterator<Item = Permission> {
    let resources = list(&statement["Resource"]);
    list(&statement["Action"]).into_iter().flat_map(move |action| {
        let permission = move |resource: &String| Permission { action: action.clone(), resource: resource.clone() };
        resources.iter().map(permission).collect::<Vec<_>>()
    })
}

/// The texts of a value that is one text or a list of texts.
fn list(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned();
    value.as_array().map_or_else(|| vec![text(value)], |values| values.iter().map(text).collect())
}
