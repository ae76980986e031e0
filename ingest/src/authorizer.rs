//! The `authorizer` function: decides on `$connect` who somebody is. What they may do in a room is decided there.

use crate::{grant::Grant, token::Verifier};
use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerRequestTypeRequest;
use lambda_runtime::LambdaEvent;
use serde::Serialize;

/// The function's state.
pub struct AuthorizerFunction {
    verifier: Verifier,
}

/// The event has no `methodArn`: the function is wired wrongly.
#[derive(Debug, thiserror::Error)]
#[error("not an authorizer event: it has no methodArn")]
pub struct NotAnAuthorizerEvent;

/// The authorizer's answer: a policy for this request, and the subject for every later event of the connection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    principal_id: String,
    policy_document: Policy,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    context: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    version: &'static str,
    statement: [Statement; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    action: &'static str,
    effect: &'static str,
    resource: String,
}

impl Decision {
    fn allow(grant: &Grant, method_arn: String) -> Self {
        let principal_id = grant.subject.as_str().to_owned();
        Self { principal_id, policy_document: Policy::new("Allow", method_arn), context: grant.to_context() }
    }

    /// Answered with 403. Raising "Unauthorized" for a 401 would count as a failure of the function.
    fn deny(method_arn: String) -> Self {
        let context = serde_json::Map::new();
        Self { principal_id: "nobody".to_owned(), policy_document: Policy::new("Deny", method_arn), context }
    }
}

impl Policy {
    fn new(effect: &'static str, resource: String) -> Self {
        Self { version: "2012-10-17", statement: [Statement { action: "execute-api:Invoke", effect, resource }] }
    }
}

impl AuthorizerFunction {
    /// A function that asks `verifier`.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier }
    }

    /// Serves one event.
    ///
    /// # Errors
    /// When the event is no authorizer's: the function is wired wrongly.
    pub fn handle(
        &self,
        event: LambdaEvent<ApiGatewayCustomAuthorizerRequestTypeRequest>,
    ) -> Result<Decision, NotAnAuthorizerEvent> {
        let event = event.payload;
        let method_arn = event.method_arn.clone().ok_or(NotAnAuthorizerEvent)?;
        Ok(match self.verifier.verify(find_token(&event)) {
            Ok(grant) => Decision::allow(&grant, method_arn),
            Err(error) => {
                tracing::info!(%error, "connection refused");
                Decision::deny(method_arn)
            }
        })
    }
}

/// The token from the query string, since browsers cannot set headers on a WebSocket, or from the header.
fn find_token(event: &ApiGatewayCustomAuthorizerRequestTypeRequest) -> Option<&str> {
    event.query_string_parameters.first("token").or_else(|| {
        let header = event.headers.get("authorization")?.to_str().ok()?;
        let (scheme, token) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::{Subject, rights::Rights};

    use super::*;

    fn token_in(extra: Value) -> Option<String> {
        let mut event = json!({"methodArn": "arn:x", "requestContext": {}});
        event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        find_token(&serde_json::from_value(event).unwrap()).map(str::to_owned)
    }

    #[test]
    fn finds_the_token_in_the_query_string_or_the_header() {
        assert_eq!(token_in(json!({"queryStringParameters": {"token": "t"}})).as_deref(), Some("t"));
        assert_eq!(token_in(json!({"headers": {"Authorization": "Bearer t"}})).as_deref(), Some("t"));
        assert_eq!(token_in(json!({"headers": {"authorization": "bearer t"}})).as_deref(), Some("t"));
        assert_eq!(token_in(json!({"headers": {"Authorization": "Basic t"}})), None);
        assert_eq!(token_in(json!({"headers": {}, "queryStringParameters": {"roomId": "r"}})), None);
    }

    #[test]
    fn decisions_have_the_shape_that_api_gateway_reads() {
        let grant = Grant { subject: Subject::parse("alice").unwrap(), rights: Rights::default(), expires_at: 7 };
        let allow = serde_json::to_value(Decision::allow(&grant, "arn:x".into())).unwrap();
        let statement = |effect| json!([{"Action": "execute-api:Invoke", "Effect": effect, "Resource": "arn:x"}]);
        assert_eq!(
            allow,
            json!({"principalId": "alice", "context": {"sub": "alice", "rooms": "{}", "exp": "7"}, "policyDocument": {"Version": "2012-10-17", "Statement": statement("Allow")}})
        );
        let deny = serde_json::to_value(Decision::deny("arn:x".into())).unwrap();
        assert_eq!(
            deny,
            json!({"principalId": "nobody", "policyDocument": {"Version": "2012-10-17", "Statement": statement("Deny")}})
        );
    }
}
