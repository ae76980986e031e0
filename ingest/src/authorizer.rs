//! The `authorizer` function: on `$connect` it finds out whose the connection is, and whether their page may connect.
//! The routes decide from its context what the subject may do in a room.

use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerRequestTypeRequest;
use lambda_runtime::LambdaEvent;
use serde::Serialize;
use shared::{
    clock::Clock,
    json,
    metrics::{
        Metrics,
        names::{HANDSHAKES, UNAUTHORIZED},
    },
};

use crate::{
    grant::Grant,
    origins::AllowedOrigins,
    token::{Verifier, error::TokenError},
};

/// Bytes of a decision at most. API Gateway takes 8 KB ("Lambda authorizer result size"), which may be 8,000 bytes or
/// 8,192.
const DECISION_BYTES: usize = 8_000;

/// The function's state.
pub struct AuthorizerFunction<C> {
    verifier: Verifier<C>,
    allowed_origins: AllowedOrigins,
}

/// The reason why nobody is let in.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// The page is another site's.
    #[error("the page's Origin is not among ALLOWED_ORIGINS")]
    Origin,
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token's rights do not fit into a decision.
    #[error(
        "the token of {subject:?} has too many rights: {patterns} patterns make a decision of {bytes} bytes, the limit is {DECISION_BYTES}"
    )]
    TooManyRights { subject: String, patterns: usize, bytes: usize },
}

/// The event has no `methodArn`: the function is wired wrongly.
#[derive(Debug, thiserror::Error)]
#[error("not an authorizer event: it has no methodArn")]
pub struct NotAnAuthorizerEvent;

/// The authorizer's answer: a policy for this request, and the [`Grant`] for every later event of the connection.
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
    fn allow(grant: &Grant, method_arn: String) -> Result<Self, Refusal> {
        let principal_id = grant.subject.as_str().to_owned();
        let policy_document = Policy::new("Allow", method_arn);
        let decision = Self { principal_id, policy_document, context: grant.to_context() };
        let bytes = json::length(&decision);
        if bytes > DECISION_BYTES {
            let subject = grant.subject.as_str().to_owned();
            return Err(Refusal::TooManyRights { subject, patterns: grant.rights.patterns(), bytes });
        }
        Ok(decision)
    }

    /// API Gateway answers with 403. For a 401 the function would have to fail with "Unauthorized", which would count
    /// as its error.
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

impl<C: Clock> AuthorizerFunction<C> {
    /// A function that lets in those whom `verifier` knows, and who come from no page or an allowed one.
    #[must_use]
    pub fn new(verifier: Verifier<C>, allowed_origins: AllowedOrigins) -> Self {
        Self { verifier, allowed_origins }
    }

    /// Serves one event.
    ///
    /// # Errors
    /// When the event is no authorizer's: the function is wired wrongly.
    pub async fn handle(
        &self,
        event: LambdaEvent<ApiGatewayCustomAuthorizerRequestTypeRequest>,
        metrics: &Metrics,
    ) -> Result<Decision, NotAnAuthorizerEvent> {
        let event = event.payload;
        let method_arn = event.method_arn.clone().ok_or(NotAnAuthorizerEvent)?;
        metrics.add(HANDSHAKES, 1);
        Ok(match self.decide(&event, &method_arn).await {
            Ok(decision) => decision,
            Err(refusal) => {
                metrics.add(UNAUTHORIZED, 1);
                if matches!(&refusal, Refusal::Token(error) if error.is_outage()) {
                    tracing::error!(error = %refusal, "connection refused");
                } else {
                    tracing::info!(error = %refusal, "connection refused");
                }
                Decision::deny(method_arn)
            }
        })
    }

    async fn decide(
        &self,
        event: &ApiGatewayCustomAuthorizerRequestTypeRequest,
        method_arn: &str,
    ) -> Result<Decision, Refusal> {
        // A client without this header is no browser, so there is no visitor whose login a foreign page could use.
        let origins = [&event.headers, &event.multi_value_headers].map(|headers| headers.get_all("origin"));
        if !origins.into_iter().flatten().all(|origin| self.allowed_origins.allow(origin.as_bytes())) {
            return Err(Refusal::Origin);
        }
        let grant = self.verifier.verify(find_token(event)).await?;
        Decision::allow(&grant, method_arn.to_owned())
    }
}

/// The token from the query string, since browsers cannot set headers on a WebSocket, or from the header. An empty one
/// counts as none: a client that has no token may send `?token=`.
fn find_token(event: &ApiGatewayCustomAuthorizerRequestTypeRequest) -> Option<&str> {
    let query = event.query_string_parameters.first("token");
    query.filter(|token| !token.is_empty()).or_else(|| {
        let header = event.headers.get("authorization")?.to_str().ok()?;
        let (scheme, token) = header.split_once(' ')?;
        Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
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
        let both = json!({"queryStringParameters": {"token": ""}, "headers": {"authorization": "Bearer t"}});
        assert_eq!(token_in(both).as_deref(), Some("t"), "an empty one hides none");
        assert_eq!(token_in(json!({"queryStringParameters": {"token": ""}})), None);
        assert_eq!(token_in(json!({"headers": {"Authorization": "Bearer "}})), None);
        assert_eq!(token_in(json!({"headers": {"Authorization": "Basic t"}})), None);
        assert_eq!(token_in(json!({"headers": {}, "queryStringParameters": {"roomId": "r"}})), None);
    }

    #[test]
    fn decisions_have_the_shape_that_api_gateway_reads() {
        let grant = Grant { subject: Subject::parse("alice").unwrap(), rights: Rights::default(), expires_at: 7 };
        let allow = serde_json::to_value(Decision::allow(&grant, "arn:x".into()).unwrap()).unwrap();
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

    #[test]
    fn rights_that_do_not_fit_a_decision_are_a_refusal_that_tells_the_limit() {
        let grant = |patterns: usize| {
            let rights: serde_json::Map<_, _> = (0..patterns)
                .map(|number| (format!("a-room-with-a-long-name:{number:04}:*"), json!(["join"])))
                .collect();
            let rights = serde_json::from_value(rights.into()).unwrap();
            Grant { subject: Subject::parse("alice").unwrap(), rights, expires_at: 7 }
        };
        let most =
            (0..1_000).take_while(|count| Decision::allow(&grant(*count), "arn:x".into()).is_ok()).last().unwrap();
        let bytes = |patterns| serde_json::to_string(&grant(patterns).to_context()).unwrap().len();
        assert!((7_500..=8_000).contains(&bytes(most)), "{most} patterns take {} bytes", bytes(most));
        let refusal = Decision::allow(&grant(500), "arn:x".into()).unwrap_err().to_string();
        let beginning = "the token of \"alice\" has too many rights: 500 patterns make a decision of ";
        assert!(refusal.starts_with(beginning) && refusal.ends_with(" bytes, the limit is 8000"), "{refusal}");
    }
}
