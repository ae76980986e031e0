//! The tokens that are accepted: another issuer's and our own, with keys and secrets rotated while clients are
//! connected.

use jsonwebtoken::{Algorithm, Header};
use serde_json::{Value, json};
use testkit::events::everywhere;
use testkit::issuer::SigningKey;
use testkit::stack::{LocalStack, mint};
use testkit::websocket::{Client, Handshake, Refused};

use crate::stacks::{AUDIENCE, ISSUER, ORIGIN, Stacks};
use crate::tables::now;
use crate::wait::{PATIENCE, until};

/// The claims of an access token of Cognito.
fn issued(subject: &str) -> Value {
    let exp = now().as_secs() + 3_600;
    json!({ "sub": subject, "exp": exp, "iss": ISSUER, "client_id": AUDIENCE, "token_use": "access", "rooms": everywhere() })
}

fn issued_with(subject: &str, extra: &Value) -> Value {
    let mut claims = issued(subject);
    claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    claims
}

/// The claims of a backend's own token.
fn own(subject: &str) -> Value {
    json!({ "sub": subject, "exp": now().as_secs() + 3_600, "iss": ISSUER, "aud": AUDIENCE, "rooms": everywhere() })
}

async fn connect(stack: &LocalStack, token: &str) -> Result<Client, Refused> {
    stack.connect_with(&Handshake::token(token)).await
}

/// Waits until a token is taken: there are bounds to how often keys are read.
async fn let_in(stack: &LocalStack, token: &str) -> Client {
    until("the token is taken", async || connect(stack, token).await.ok()).await
}

/// Waits until a token is refused. Each environment has keys of its own, which a `newer` token makes it read again.
async fn refused(stack: &LocalStack, token: &str, newer: &str) {
    until("the token is refused", async || {
        // The newer token is refused itself while its environment may not read the keys yet.
        let _ = connect(stack, newer).await;
        connect(stack, token).await.is_err().then_some(())
    })
    .await;
}

pub(crate) async fn a_rotated_secret_cuts_nobody_and_the_one_before_it_is_good_until_the_next(stacks: &Stacks) {
    let stack = &stacks.tokens().await.stack;
    let [second, third] = ["the second".repeat(5), "the third".repeat(5)];
    let first = stack.secret();
    let alice = connect(stack, &mint(first, &own("alice"))).await.unwrap();
    alice.join("rotated").await;
    stack.rotate_secret(&second).await;
    let bob = let_in(stack, &mint(&second, &own("bob"))).await;
    drop(connect(stack, &mint(first, &own("late"))).await.expect("tokens of the previous secret are good"));
    stack.rotate_secret(&third).await;
    let newest = mint(&third, &own("carol"));
    drop(let_in(stack, &newest).await);
    refused(stack, &mint(first, &own("eve")), &newest).await;
    drop(connect(stack, &mint(&second, &own("late"))).await.expect("tokens of the previous secret are good"));
    // The secret of Alice's token is gone and that of Bob's goes next, and she still gets his messages.
    bob.say("rotated", json!("still here?")).await;
    assert_eq!(alice.expect_messages("rotated", 1, PATIENCE).await[0]["data"], "still here?");
    alice.request_for("synced", json!({ "action": "sync", "rooms": { "rotated": 0 } })).await;
}

pub(crate) async fn an_issuers_keys_are_rotated_while_clients_are_connected(stacks: &Stacks) {
    let tokens = stacks.tokens().await;
    let (stack, new) = (&tokens.stack, SigningKey::ec("new"));
    let alice = connect(stack, &tokens.old.sign(&issued("old-alice"))).await.unwrap();
    alice.join("new-keys").await;
    assert_eq!(connect(stack, &new.sign(&issued("eve"))).await.unwrap_err(), Refused(Some(403)));
    tokens.issuer.publish(&[&tokens.rsa, &tokens.ec, &new]);
    let newer = new.sign(&issued("new-bob"));
    let bob = let_in(stack, &newer).await;
    refused(stack, &tokens.old.sign(&issued("eve")), &newer).await;
    bob.say("new-keys", json!("hello")).await;
    alice.expect_messages("new-keys", 1, PATIENCE).await;
}

pub(crate) async fn of_an_issuers_tokens_those_for_us_are_taken(stacks: &Stacks) {
    let tokens = stacks.tokens().await;
    let (stack, rsa, ec) = (&tokens.stack, &tokens.rsa, &tokens.ec);
    for (what, token) in [
        ("RS256, with `client_id`", rsa.sign(&issued("taken"))),
        ("ES256", ec.sign(&issued("taken"))),
        ("with `aud`", ec.sign(&issued_with("taken", &json!({ "aud": ["x", AUDIENCE], "client_id": null })))),
        ("good since now", ec.sign(&issued_with("taken", &json!({ "nbf": now().as_secs() })))),
    ] {
        drop(connect(stack, &token).await.unwrap_or_else(|refused| panic!("{what}: {refused}")));
    }
}

pub(crate) async fn tokens_of_others_and_forged_ones_are_refused(stacks: &Stacks) {
    let tokens = stacks.tokens().await;
    let (stack, rsa, ec) = (&tokens.stack, &tokens.rsa, &tokens.ec);
    let with = |extra: Value| ec.sign(&issued_with("eve", &extra));
    let unsigned = |algorithm: &str| {
        // {"alg":"none","kid":"rsa"}, or with the algorithm of the key.
        let header = if algorithm == "none" {
            "eyJhbGciOiJub25lIiwia2lkIjoicnNhIn0"
        } else {
            "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSJ9"
        };
        format!("{header}.{}.", rsa.sign(&issued("eve")).split('.').nth(1).unwrap())
    };
    let many: serde_json::Map<_, _> =
        (0..250).map(|room| (format!("room-{room}:*"), json!(["join", "send"]))).collect();
    let cases = [
        ("another issuer", with(json!({ "iss": "https://other.example" }))),
        ("an issuer with a slash", with(json!({ "iss": format!("{ISSUER}/") }))),
        ("no issuer", with(json!({ "iss": null }))),
        ("another client", with(json!({ "client_id": "other" }))),
        ("another audience", with(json!({ "aud": "other" }))),
        ("no audience", with(json!({ "client_id": null }))),
        ("an id token", with(json!({ "token_use": "id" }))),
        ("no use", with(json!({ "token_use": null }))),
        ("expired", with(json!({ "exp": now().as_secs() - 60 }))),
        ("not good yet", with(json!({ "nbf": now().as_secs() + 3_600 }))),
        ("an expiry that is a text", with(json!({ "exp": "4000000000" }))),
        ("no subject", with(json!({ "sub": null }))),
        ("rights that there are not", with(json!({ "rooms": { "*": ["own"] } }))),
        ("rights that are null", with(json!({ "rooms": null }))),
        ("more rights than fit", with(json!({ "rooms": many }))),
        ("a key that is not published", SigningKey::ec("stranger").sign(&issued("eve"))),
        ("another key of that name", SigningKey::ec("ec").sign(&issued("eve"))),
        ("no key named", ec.named(None).sign(&issued("eve"))),
        ("a key of another algorithm", ec.named(Some("rsa")).sign(&issued("eve"))),
        ("RS512", rsa.sign_with(&Header { kid: rsa.id.clone(), ..Header::new(Algorithm::RS512) }, &issued("eve"))),
        ("PS256", rsa.sign_with(&Header { kid: rsa.id.clone(), ..Header::new(Algorithm::PS256) }, &issued("eve"))),
        ("HS256, the public key as the secret", mint(&rsa.public().to_string(), &issued("eve"))),
        ("HS256, the modulus as the secret", mint(rsa.public()["n"].as_str().unwrap(), &issued("eve"))),
        ("HS256, the name of the key as the secret", mint("rsa", &issued("eve"))),
        ("HS256, an empty secret", mint("", &issued("eve"))),
        ("no signature, `none`", unsigned("none")),
        ("no signature", unsigned("RS256")),
    ];
    for (what, token) in cases {
        assert_eq!(connect(stack, &token).await.err(), Some(Refused(Some(403))), "{what}");
    }
    drop(connect(stack, &ec.sign(&issued("adam"))).await.unwrap());
}

pub(crate) async fn a_token_without_rights_has_those_of_the_stack(stacks: &Stacks) {
    let tokens = stacks.tokens().await;
    let mut claims = issued("deborah");
    claims.as_object_mut().unwrap().remove("rooms");
    let deborah = connect(&tokens.stack, &tokens.rsa.sign(&claims)).await.unwrap();
    deborah.join("default:deborah:1").await;
    deborah.join("user:deborah").await;
    for frame in [
        json!({ "action": "joinRoom", "roomId": "default:other:1" }),
        json!({ "action": "joinRoom", "roomId": "default:deborah:1", "after": 0 }),
        json!({ "action": "sendMessage", "roomId": "default:deborah:1", "data": 1 }),
    ] {
        assert_eq!(deborah.request_for("error", frame.clone()).await["code"], "forbidden", "{frame}");
    }
}

pub(crate) async fn a_page_of_another_origin_is_refused(stacks: &Stacks) {
    let tokens = stacks.tokens().await;
    let token = tokens.rsa.sign(&issued("visitor"));
    let from = |origin: &str| Handshake::token(&token).header("origin", origin);
    for origin in ["https://evil.example", "null", "http://app.example.com", "https://app.example.com.evil.example"] {
        let refused = tokens.stack.connect_with(&from(origin)).await.unwrap_err();
        assert_eq!(refused, Refused(Some(403)), "{origin}");
    }
    drop(tokens.stack.connect_with(&from(ORIGIN)).await.unwrap());
    drop(connect(&tokens.stack, &token).await.unwrap());
}

pub(crate) async fn an_empty_token_in_the_query_hides_none_in_the_header(stacks: &Stacks) {
    let tokens = stacks.tokens().await;
    let header = format!("Bearer {}", tokens.ec.sign(&issued("header")));
    drop(tokens.stack.connect_with(&Handshake::token("").header("authorization", &header)).await.unwrap());
    let empty = tokens.stack.connect_with(&Handshake::token("").header("authorization", "Bearer ")).await;
    assert_eq!(empty.unwrap_err(), Refused(Some(403)));
}
