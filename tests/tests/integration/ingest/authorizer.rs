//! Who may connect.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tests::events::authorizer_request;
use tests::runtime_api::{Environment, Function};

const SECRET: &str = "a secret of at least 32 bytes, for tests";

fn token(secret: &str, extra: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({ "sub": "alice", "exp": now + 600 });
    claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

async fn decide(authorizer: &Environment, query: &Value, headers: &Value) -> Value {
    authorizer.invoke(&authorizer_request(query, headers)).await.response().clone()
}

fn assert_allowed(decision: &Value) {
    let statement = json!([{ "Action": "execute-api:Invoke", "Effect": "Allow", "Resource": "arn:aws:execute-api:us-east-1:000000000000:api/production/$connect" }]);
    assert_eq!(decision["policyDocument"], json!({ "Version": "2012-10-17", "Statement": statement }));
    assert_eq!((&decision["principalId"], &decision["context"]), (&json!("alice"), &json!({ "sub": "alice" })));
}

fn assert_denied(decision: &Value) {
    assert_eq!(decision["policyDocument"]["Statement"][0]["Effect"], "Deny", "{decision}");
    assert_eq!(decision.get("context"), None, "{decision}");
}

#[tokio::test]
async fn a_good_token_is_allowed_and_says_who_it_is() {
    let authorizer = Function::of_workspace("authorizer").env("AUTH_JWT_SECRET", SECRET).start().await.unwrap();
    let good = token(SECRET, &json!({}));
    assert_allowed(&decide(&authorizer, &json!({ "token": good }), &json!({})).await);
    for header in ["Authorization", "authorization"] {
        let headers = json!({ header: format!("Bearer {good}") });
        assert_allowed(&decide(&authorizer, &json!({}), &headers).await);
    }
}

#[tokio::test]
async fn every_other_token_is_denied_without_an_error_and_never_logged() {
    let authorizer = Function::of_workspace("authorizer")
        .env("AUTH_JWT_SECRET", SECRET)
        .env("LOG_LEVEL", "trace")
        .start()
        .await
        .unwrap();
    let refused = [
        token("another secret of at least 32 bytes, too", &json!({})),
        token(SECRET, &json!({ "exp": 1_700_000_000 })),
        token(SECRET, &json!({ "exp": null })),
        token(SECRET, &json!({ "sub": null })),
        token(SECRET, &json!({ "sub": "" })),
        token(SECRET, &json!({ "sub": "s".repeat(257) })),
        token(SECRET, &json!({ "sub": "new\nline" })),
        "not.a.token".to_owned(),
        String::new(),
    ];
    for token in &refused {
        assert_denied(&decide(&authorizer, &json!({ "token": token }), &json!({})).await);
    }
    assert_denied(&decide(&authorizer, &json!({}), &json!({})).await);
    assert_denied(&decide(&authorizer, &json!({}), &json!({ "Authorization": "Basic YWxpY2U6cHc=" })).await);
    let output = authorizer.end().join("\n");
    assert!(!output.contains(SECRET) && !refused[..8].iter().any(|token| output.contains(token.as_str())), "{output}");
}

#[tokio::test]
async fn issuer_and_audience_count_where_they_are_configured() {
    let strict = Function::of_workspace("authorizer")
        .env("AUTH_JWT_SECRET", SECRET)
        .env("AUTH_ISSUER", "https://issuer")
        .env("AUTH_AUDIENCE", "roomcast")
        .start()
        .await
        .unwrap();
    let with = |extra: Value| json!({ "token": token(SECRET, &extra) });
    assert_allowed(&decide(&strict, &with(json!({ "iss": "https://issuer", "aud": "roomcast" })), &json!({})).await);
    assert_denied(&decide(&strict, &with(json!({ "iss": "https://other", "aud": "roomcast" })), &json!({})).await);
    assert_denied(&decide(&strict, &with(json!({ "iss": "https://issuer", "aud": "other" })), &json!({})).await);
    assert_denied(&decide(&strict, &with(json!({})), &json!({})).await);

    // Empty is unset, as a template's default is.
    let open = Function::of_workspace("authorizer").env("AUTH_JWT_SECRET", SECRET).env("AUTH_ISSUER", "");
    assert_allowed(&decide(&open.start().await.unwrap(), &with(json!({})), &json!({})).await);
}

#[tokio::test]
async fn an_event_of_another_kind_is_an_error_of_the_wiring() {
    let authorizer = Function::of_workspace("authorizer").env("AUTH_JWT_SECRET", SECRET).start().await.unwrap();
    assert!(authorizer.invoke(&json!({ "type": "REQUEST", "requestContext": {} })).await.result.is_err());
}
