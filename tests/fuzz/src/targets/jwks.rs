//! JWKS documents, as an issuer publishes them or as an attacker in its place may.

use ingest::token::{
    error::TokenError,
    jwks::{JwksError, KeySet},
    signed::SignedToken,
};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};

use crate::promises::assert_tells;

/// The most keys of a document that are looked at.
const KEYS: usize = 100;

/// `{"alg":"RS256"}`, `{"alg":"ES256"}` and `{"alg":"HS256"}` in tokens, with the payload `{}` and no signature.
const UNSIGNED: [&str; 3] = ["eyJhbGciOiJSUzI1NiJ9.e30", "eyJhbGciOiJFUzI1NiJ9.e30", "eyJhbGciOiJIUzI1NiJ9.e30"];

/// The same headers with `"kid":"k"`.
const NAMED: [&str; 3] = [
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.e30",
    "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.e30",
    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsifQ.e30",
];

pub(super) fn run(input: &[u8]) {
    let set = match KeySet::parse(input) {
        Ok(set) => set,
        Err(error @ (JwksError::NoDocument | JwksError::NoKey)) => return assert_tells(&error.to_string()),
    };
    assert!((1..=KEYS).contains(&set.len()) && !set.is_empty());
    let text = String::from_utf8_lossy(input);
    for unsigned in UNSIGNED.into_iter().chain(NAMED) {
        // No bytes, too few of them, and as many zeros as a signature has.
        for signature in ["", "AAAA", &"A".repeat(86), &"A".repeat(342)] {
            assert_unproven(&set, &format!("{unsigned}.{signature}"));
        }
        // Published text must not work as a secret.
        let published = text.split('"').filter(|text| text.len() > 20).take(4);
        for secret in published.map(str::as_bytes).chain([input]) {
            let signature = sign(unsigned.as_bytes(), &EncodingKey::from_secret(secret), Algorithm::HS256).unwrap();
            assert_unproven(&set, &format!("{unsigned}.{signature}"));
        }
    }
}

fn assert_unproven(set: &KeySet, token: &str) {
    let token = SignedToken::parse(token).unwrap();
    let Err(error) = set.verify(&token) else { panic!("a token that nobody has signed is taken") };
    assert!(!matches!(error, TokenError::Claims(_) | TokenError::NoJwt), "{error}");
    assert_tells(&error.to_string());
}
