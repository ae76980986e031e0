//! The authorizer: the real bootstrap, with its secret in a fake Secrets Manager.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use testkit::events::authorizer_request;
use testkit::issuer::{Issuer, PATH, SigningKey};
use testkit::runtime_api::{Environment, Function};
use testkit::secrets_manager::{SECRET_ARN, SecretsManager};
use testkit::tls::TlsFront;

const SECRET: &str = "a secret of at least 32 bytes, for tests";

/// The function with its secret.
fn authorizer(secrets: &SecretsManager) -> Function {
    let function = Function::of_workspace("authorizer").env("AWS_ENDPOINT_URL", secrets.url());
    function.env("AUTH_SECRET_ARN", SECRET_ARN)
}

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
    assert_eq!((&decision["principalId"], &decision["context"]["sub"]), (&json!("alice"), &json!("alice")));
}

fn assert_denied(decision: &Value) {
    assert_eq!(decision["policyDocument"]["Statement"][0]["Effect"], "Deny", "{decision}");
    assert_eq!(decision.get("context"), None, "{decision}");
}

#[tokio::test]
async fn a_good_token_is_allowed_and_says_who_it_is() {
    let secrets = SecretsManager::start(SECRET);
    let authorizer = authorizer(&secrets).start().await.unwrap();
    let good = token(SECRET, &json!({}));
    assert_allowed(&decide(&authorizer, &json!({ "token": good }), &json!({})).await);
    for header in ["Authorization", "authorization"] {
        let headers = json!({ header: format!("Bearer {good}") });
        assert_allowed(&decide(&authorizer, &json!({}), &headers).await);
    }
}

#[tokio::test]
async fn every_other_token_is_denied_without_an_error_and_never_logged() {
    let secrets = SecretsManager::start(SECRET);
    let authorizer = authorizer(&secrets).env("LOG_LEVEL", "trace").start().await.unwrap();
    let refused = [
        token("another secret of at least 32 bytes, too", &json!({})),
        token(SECRET, &json!({ "exp": 1_700_000_000 })),
        token(SECRET, &json!({ "exp": null })),
        token(SECRET, &json!({ "sub": null })),
        token(SECRET, &json!({ "sub": "" })),
        token(SECRET, &json!({ "sub": "s".repeat(257) })),
        token(SECRET, &json!({ "sub": "new\nline" })),
        token(SECRET, &json!({ "rooms": { "a room that is none": ["join"] } })),
        "not.a.token".to_owned(),
        // {"alg":"a text of somebody's"} and {"alg":"HS256","kid":"a text of somebody's","crit":["x"]}
        "eyJhbGciOiJhIHRleHQgb2Ygc29tZWJvZHkncyJ9.e30.AA".to_owned(),
        "eyJhbGciOiJIUzI1NiIsImtpZCI6ImEgdGV4dCBvZiBzb21lYm9keSdzIiwiY3JpdCI6WyJ4Il19.e30.AA".to_owned(),
        String::new(),
    ];
    for token in &refused {
        assert_denied(&decide(&authorizer, &json!({ "token": token }), &json!({})).await);
    }
    assert_denied(&decide(&authorizer, &json!({}), &json!({})).await);
    assert_denied(&decide(&authorizer, &json!({}), &json!({ "Authorization": "Basic YWxpY2U6cHc=" })).await);
    let output = authorizer.end().join("\n");
    assert_eq!(output.matches("connection refused").count(), refused.len() + 2, "{output}");
    let tokens = refused.iter().map(String::as_str).filter(|token| !token.is_empty());
    for hidden in tokens.chain([SECRET, "somebody", "a room that is none", "not.a.token"]) {
        assert!(!output.contains(hidden), "{hidden} in {output}");
    }
    assert!(output.contains("the token's claim `rooms` is null or has the wrong form"), "{output}");
}

#[tokio::test]
async fn issuer_and_audience_count_where_they_are_configured() {
    let secrets = SecretsManager::start(SECRET);
    let strict = authorizer(&secrets)
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
    let open = authorizer(&secrets).env("AUTH_ISSUER", "");
    assert_allowed(&decide(&open.start().await.unwrap(), &with(json!({})), &json!({})).await);
}

#[tokio::test]
async fn an_event_of_another_kind_is_an_error_of_the_wiring() {
    let secrets = SecretsManager::start(SECRET);
    let authorizer = authorizer(&secrets).start().await.unwrap();
    assert!(authorizer.invoke(&json!({ "type": "REQUEST", "requestContext": {} })).await.result.is_err());
}

#[tokio::test]
async fn the_decision_carries_who_it_is_what_they_may_do_and_until_when() {
    let secrets = SecretsManager::start(SECRET);
    let default_rooms = r#"{"lobby":["join"],"inbox:{sub}:*":["join","history"]}"#;
    let authorizer = authorizer(&secrets).env("AUTH_DEFAULT_ROOMS", default_rooms).start().await.unwrap();
    let context = async |extra: Value| {
        let decision = decide(&authorizer, &json!({ "token": token(SECRET, &extra) }), &json!({})).await;
        assert_allowed(&decision);
        decision["context"].clone()
    };
    let rooms = json!({ "chat:*": ["send", "join"], "prices": [] });
    let with_rooms = context(json!({ "exp": 4_000_000_000.5, "rooms": rooms })).await;
    let rights = r#"{"chat:*":["join","send"],"prices":[]}"#;
    assert_eq!(with_rooms, json!({ "sub": "alice", "rooms": rights, "exp": "4000000000" }));
    let without = context(json!({})).await;
    assert_eq!(without["rooms"], r#"{"inbox:alice:*":["join","history"],"lobby":["join"]}"#);
}

#[tokio::test]
async fn too_many_rights_are_refused_and_the_log_tells_the_limit() {
    let secrets = SecretsManager::start(SECRET);
    let authorizer = authorizer(&secrets).start().await.unwrap();
    let rooms: serde_json::Map<_, _> =
        (0..260).map(|number| (format!("room-{number}:*"), json!(["join", "send"]))).collect();
    let query = json!({ "token": token(SECRET, &json!({ "rooms": rooms })) });
    assert_denied(&decide(&authorizer, &query, &json!({})).await);
    let output = authorizer.end().join("\n");
    let parts = ["260 patterns make a decision of", "bytes, the limit is 8000", "alice"];
    assert!(parts.iter().all(|part| output.contains(part)), "{output}");
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_and_whoever_is_no_page_is_not() {
    let secrets = SecretsManager::start(SECRET);
    let origins = "https://app.example.com,http://localhost:8080";
    let authorizer = authorizer(&secrets).env("ALLOWED_ORIGINS", origins).start().await.unwrap();
    let query = json!({ "token": token(SECRET, &json!({})) });
    for origin in ["https://app.example.com", "https://APP.example.com:443", "http://localhost:8080"] {
        assert_allowed(&decide(&authorizer, &query, &json!({ "Origin": origin })).await);
        assert_allowed(&decide(&authorizer, &query, &json!({ "origin": origin })).await);
    }
    assert_allowed(&decide(&authorizer, &query, &json!({})).await);
    for origin in ["https://evil.example", "null", "", "http://app.example.com"] {
        assert_denied(&decide(&authorizer, &query, &json!({ "Origin": origin })).await);
    }
    // Of two origins, API Gateway hands the last one to `headers`, and both to `multiValueHeaders`.
    let mut twice = authorizer_request(&query, &json!({ "Origin": "https://app.example.com" }));
    twice["multiValueHeaders"]["Origin"] = json!(["https://evil.example", "https://app.example.com"]);
    assert_denied(authorizer.invoke(&twice).await.response());
}

#[tokio::test]
async fn an_issuers_tokens_and_our_own_are_taken_side_by_side() {
    let (secrets, key) = (SecretsManager::start(SECRET), SigningKey::rsa("r"));
    let issuer = Issuer::start(&[&key]);
    let authorizer = authorizer(&secrets)
        .env("AUTH_JWKS_URL", issuer.url())
        .env("AUTH_ISSUER", "https://issuer")
        .env("AUTH_AUDIENCE", "roomcast")
        .env("AUTH_TOKEN_USE", "access")
        .start()
        .await
        .unwrap();
    assert_eq!(issuer.fetches(), 0, "nobody has shown a token of the issuer yet");
    let claims = |extra: &Value| {
        let mut claims = json!({ "sub": "alice", "exp": 4_000_000_000_u64, "iss": "https://issuer" });
        claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        claims
    };
    let cognito = claims(&json!({ "client_id": "roomcast", "token_use": "access" }));
    let own = claims(&json!({ "aud": "roomcast" }));
    let decide_token = async |token: String| decide(&authorizer, &json!({ "token": token }), &json!({})).await;
    assert_allowed(&decide_token(key.sign(&cognito)).await);
    // Only the issuer's tokens must have `token_use`: our own are taken without it.
    assert_allowed(&decide_token(token(SECRET, &own)).await);
    assert_denied(&decide_token(key.sign(&own)).await);
    assert_denied(&decide_token(key.sign(&claims(&json!({ "client_id": "other", "token_use": "access" })))).await);
    assert_denied(&decide_token(token(&key.public().to_string(), &cognito)).await);
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn an_issuers_keys_come_from_a_server_whose_certificate_is_trusted() {
    let key = SigningKey::ec("e");
    let issuer = Issuer::start(&[&key]);
    let front = TlsFront::start(issuer.address()).await;
    let function = Function::of_workspace("authorizer")
        .env("AUTH_JWKS_URL", format!("{}{PATH}", front.url()))
        .env("AUTH_ISSUER", "https://issuer")
        .env("AUTH_AUDIENCE", "roomcast");
    let claims = json!({ "sub": "alice", "exp": 4_000_000_000_u64, "iss": "https://issuer", "aud": "roomcast" });
    let query = json!({ "token": key.sign(&claims) });
    let trusting = function.clone().env("SSL_CERT_FILE", front.certificate.display()).start().await.unwrap();
    assert_allowed(&decide(&trusting, &query, &json!({})).await);
    assert_eq!(issuer.fetches(), 1);
    let distrusting = function.start().await.unwrap();
    assert_denied(&decide(&distrusting, &query, &json!({})).await);
    assert_eq!(issuer.fetches(), 1);
    let output = distrusting.end().join("\n");
    let told = ["keys cannot be read", "invalid peer certificate", "\"level\":\"ERROR\"", "no token can be verified"];
    assert!(told.iter().all(|part| output.contains(part)), "{output}");
}
