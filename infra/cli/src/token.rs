//! Tokens for a stack: HS256 JWTs signed with its secret, as the README tells backends to sign them.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_secretsmanager::Client as SecretsManager;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::{failure::Failure, stack::Stack};

/// Signs a token for a subject with the stack's current secret: `rooms` are its rights by room, such as
/// `{"chat:*": ["join", "send"]}`. Issuer and audience are those that the stack asks for.
///
/// # Errors
/// When the stack takes no tokens but another issuer's, or its secret cannot be read.
pub async fn sign(stack: &Stack, subject: &str, rooms: Value, ttl_seconds: u64) -> Result<String, Failure> {
    let secret = secret(stack).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let parameter = |name| stack.parameters.get(name).map_or("", String::as_str);
    let claims = claims(subject, rooms, now, ttl_seconds, (parameter("AuthIssuer"), parameter("AuthAudience")));
    encode(&secret, &claims)
}

/// The current secret, read anew since it may have been rotated a moment ago.
async fn secret(stack: &Stack) -> Result<Vec<u8>, Failure> {
    let Some(arn) = stack.optional_output("AuthSecretArn") else {
        let name = &stack.name;
        return Err(Failure::Met(format!("stack {name} takes no tokens but those of its issuer (AuthJwksUrl)")));
    };
    let version = SecretsManager::new(&stack.sdk).get_secret_value().secret_id(arn).send().await;
    let version = version.map_err(Failure::call("the secret of tokens was to be read"))?;
    let binary = version.secret_binary.map(aws_sdk_secretsmanager::primitives::Blob::into_inner);
    let secret = binary.or(version.secret_string.map(String::into_bytes));
    secret.ok_or_else(|| Failure::Met("the secret of tokens has no value".to_owned()))
}

/// The claims of a token. An issuer or audience that the stack does not ask for is empty.
fn claims(subject: &str, rooms: Value, now: u64, ttl_seconds: u64, (issuer, audience): (&str, &str)) -> Value {
    let mut claims = json!({ "sub": subject, "iat": now, "exp": now.saturating_add(ttl_seconds), "rooms": rooms });
    for (claim, value) in [("iss", issuer), ("aud", audience)] {
        if !value.is_empty() {
            claims[claim] = value.into();
        }
    }
    claims
}

fn encode(secret: &[u8], claims: &Value) -> Result<String, Failure> {
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
        .map_err(Failure::call("a token was to be signed"))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;

    #[test]
    fn a_token_says_what_the_stack_asks_for_and_no_more() {
        let rooms = json!({ "r": ["join"] });
        let plain = claims("alice", rooms.clone(), 1_000, 60, ("", ""));
        assert_eq!(plain, json!({ "sub": "alice", "iat": 1_000, "exp": 1_060, "rooms": rooms }));
        let checked = claims("alice", rooms, 1_000, 60, ("me", "app"));
        assert_eq!((&checked["iss"], &checked["aud"]), (&json!("me"), &json!("app")));
    }

    #[test]
    fn it_is_signed_with_the_bytes_of_the_secret() {
        let secret = b"a secret of at least thirty-two bytes";
        let token = encode(secret, &claims("alice", json!({}), 4_000_000_000, 60, ("", ""))).unwrap();
        let verify = |secret| {
            jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_secret(secret), &Validation::new(Algorithm::HS256))
        };
        assert_eq!(verify(secret.as_slice()).unwrap().claims["sub"], "alice");
        assert!(verify(b"another").is_err());
    }
}
