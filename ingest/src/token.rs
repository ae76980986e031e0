//! Tokens: who a JWT says its bearer is.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, errors::Error as JwtError};
use serde::Deserialize;
use shared::{Subject, rights::Rights, subject::InvalidSubject};

use crate::{
    config::AuthorizerConfig,
    grant::{Grant, LEEWAY_SECONDS},
};

/// Verifies tokens. Holds the key; has no `Debug`.
#[derive(Clone)]
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

/// Why a token is refused. Never has the token, or any part of it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No token came with the request.
    #[error("there is no token, neither as `token` in the query string nor as a bearer in the Authorization header")]
    Missing,
    /// The signature is wrong, a claim is missing or wrong, or the token has expired.
    #[error(transparent)]
    Invalid(#[from] JwtError),
    /// The subject is of no use.
    #[error("`sub` {0}")]
    Subject(#[from] InvalidSubject),
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    #[serde(default)]
    rooms: Rights,
}

impl Verifier {
    /// A verifier of HS256 tokens; `exp` and `sub` must be there, issuer and audience where they are configured.
    #[must_use]
    pub fn new(config: &AuthorizerConfig) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        let mut required = vec!["exp", "sub"];
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.validate_aud = config.audience.is_some();
        if let Some(audience) = &config.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &config.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        Self { key: DecodingKey::from_secret(config.jwt_secret.as_bytes()), validation }
    }

    /// Says who the bearer is.
    ///
    /// # Errors
    /// When there is no token, or it does not prove anybody.
    pub fn verify(&self, token: Option<&str>) -> Result<Grant, TokenError> {
        let token = token.filter(|token| !token.is_empty()).ok_or(TokenError::Missing)?;
        let claims = decode::<Claims>(token, &self.key, &self.validation)?.claims;
        Ok(Grant { subject: Subject::parse(&claims.sub)?, rights: claims.rooms, expires_at: claims.exp })
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn verifier(issuer: Option<&str>, audience: Option<&str>) -> Verifier {
        Verifier::new(&AuthorizerConfig {
            jwt_secret: SECRET.into(),
            issuer: issuer.map(str::to_owned),
            audience: audience.map(str::to_owned),
        })
    }

    fn token(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn claims(extra: Value) -> Value {
        let mut claims = json!({"sub": "alice", "exp": get_current_timestamp() + 60});
        claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        claims
    }

    fn verify(claims: &Value) -> Result<Grant, TokenError> {
        verifier(None, None).verify(Some(&token(Algorithm::HS256, SECRET, claims)))
    }

    #[test]
    fn takes_a_good_token() {
        assert_eq!(verify(&claims(json!({}))).unwrap().subject.as_str(), "alice");
        assert!(verify(&claims(json!({"aud": "anybody", "iss": "anyone"}))).is_ok());
    }

    #[test]
    fn refuses_no_token_bad_signatures_and_other_algorithms() {
        let verifier = verifier(None, None);
        assert!(matches!(verifier.verify(None), Err(TokenError::Missing)));
        assert!(matches!(verifier.verify(Some("")), Err(TokenError::Missing)));
        assert!(verifier.verify(Some("a.b.c")).is_err());
        assert!(
            verifier.verify(Some(&token(Algorithm::HS256, &SECRET.replace('0', "1"), &claims(json!({}))))).is_err()
        );
        assert!(verifier.verify(Some(&token(Algorithm::HS384, SECRET, &claims(json!({}))))).is_err());
        // {"alg":"none"} with an empty signature.
        let body = token(Algorithm::HS256, SECRET, &claims(json!({})));
        let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", body.split('.').nth(1).unwrap());
        assert!(verifier.verify(Some(&unsigned)).is_err());
    }

    #[test]
    fn refuses_expired_early_and_incomplete_tokens() {
        let now = get_current_timestamp();
        assert!(verify(&claims(json!({"exp": now - 10}))).is_err());
        assert!(verify(&claims(json!({"nbf": now + 60}))).is_err());
        assert!(verify(&json!({"sub": "alice"})).is_err());
        assert!(verify(&json!({"exp": now + 60})).is_err());
        assert!(matches!(verify(&claims(json!({"sub": ""}))), Err(TokenError::Subject(_))));
    }

    #[test]
    fn issuer_and_audience_must_match_where_they_are_configured() {
        let verifier = verifier(Some("https://issuer"), Some("roomcast"));
        let check = |extra| verifier.verify(Some(&token(Algorithm::HS256, SECRET, &claims(extra))));
        assert!(check(json!({"iss": "https://issuer", "aud": "roomcast"})).is_ok());
        assert!(check(json!({"iss": "https://issuer", "aud": ["x", "roomcast"]})).is_ok());
        assert!(check(json!({"iss": "https://other", "aud": "roomcast"})).is_err());
        assert!(check(json!({"iss": "https://issuer", "aud": "other"})).is_err());
        assert!(check(json!({"aud": "roomcast"})).is_err());
        assert!(check(json!({"iss": "https://issuer"})).is_err());
    }
}
