//! Tokens. An input has three lines: a header and a payload, which are signed here in several ways, and a token as
//! anybody may write it.

use std::sync::LazyLock;

use ingest::{
    grant::Grant,
    token::{
        claims::ClaimRules,
        error::TokenError,
        jwks::KeySet,
        signed::{Payload, SignedToken},
    },
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto::sign};
use serde_json::{Map, Value};
use shared::rights::RightsTemplate;

use crate::promises::{assert_harmless, assert_tells, field};

/// The most bytes of a refusal of a signed token: it may name the subject, with all its characters escaped.
const REFUSAL_BYTES: usize = 1_500;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

const ISSUER: &str = "https://issuer";

const AUDIENCE: &str = "roomcast";

const NOW: u64 = 1_800_000_000;

/// An issuer's keys; nobody here has their other halves.
static KEYS: LazyLock<(KeySet, Vec<u8>)> = LazyLock::new(|| {
    let document = include_bytes!("../../corpus/jwks/rsa-and-p256");
    let set = KeySet::parse(document).unwrap();
    let text = str::from_utf8(document).unwrap();
    let modulus = text.split_once(r#""n":""#).unwrap().1.split_once('"').unwrap().0;
    (set, modulus.as_bytes().to_vec())
});

static RULES: LazyLock<ClaimRules> = LazyLock::new(|| ClaimRules {
    issuer: Some(ISSUER.to_owned()),
    audience: Some(AUDIENCE.to_owned()),
    default_rooms: RightsTemplate::parse(r#"{"inbox:{sub}":["join"],"all":["join"]}"#).unwrap(),
});

pub(super) fn run(input: &[u8]) {
    let mut lines = input.splitn(3, |byte| *byte == b'\n').map(<[u8]>::to_vec);
    let (header, payload) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let raw = lines.next().unwrap_or_default();
    if let Ok(raw) = str::from_utf8(&raw) {
        assert_unproven(raw);
    }

    let unsigned = format!("{}.{}", base64url(&header), base64url(&payload));
    for signature in ["", "AAAA", &"A".repeat(86), &"A".repeat(342)] {
        assert_unproven(&format!("{unsigned}.{signature}"));
    }
    let signed_with = |secret: &[u8], algorithm| {
        format!("{unsigned}.{}", sign(unsigned.as_bytes(), &EncodingKey::from_secret(secret), algorithm).unwrap())
    };
    // A public key must not work as a secret, and a secret works with one algorithm only.
    assert_unproven(&signed_with(&KEYS.1, Algorithm::HS256));
    assert_unproven(&signed_with(SECRET, Algorithm::HS384));
    let token = signed_with(SECRET, Algorithm::HS256);
    match verify(&token) {
        Ok(signed) => {
            let header = String::from_utf8(header).unwrap();
            assert_eq!(field(&header, "alg"), Some("HS256".into()), "{header}");
            assert_eq!(signed.json(), str::from_utf8(&payload).unwrap().trim(), "what was signed");
            check_claims(signed.json());
        }
        Err(error) => assert_plain(&error),
    }
}

/// Verifies a token with every key that there is.
fn verify(token: &str) -> Result<Payload, TokenError> {
    let token = SignedToken::parse(token)?;
    KEYS.0.verify(&token).or_else(|_| token.verify(&DecodingKey::from_secret(SECRET), Algorithm::HS256))
}

/// Asserts that a token which nobody has signed proves nothing.
fn assert_unproven(token: &str) {
    match verify(token) {
        Ok(payload) => panic!("{token} proves {}", payload.json()),
        Err(error) => assert_plain(&error),
    }
}

/// Asserts that a refusal is one of a few sentences and contains no word of the token.
fn assert_plain(error: &TokenError) {
    assert!(!matches!(error, TokenError::Claims(_)), "{error}");
    assert_tells(&error.to_string());
}

/// Compares the rights that signed claims give with another reading of the claims.
fn check_claims(payload: &str) {
    let claim = |name| field(payload, name).unwrap_or_default();
    match RULES.grant(payload, None, NOW) {
        Ok(grant) => {
            assert_eq!(claim("sub"), grant.subject.as_str());
            assert_eq!(claim("iss"), ISSUER);
            let audience = Some(claim("aud")).filter(|aud| !aud.is_null()).unwrap_or_else(|| claim("client_id"));
            let is_meant =
                audience == AUDIENCE || audience.as_array().is_some_and(|all| all.contains(&AUDIENCE.into()));
            assert!(is_meant, "{audience}");
            let [exp, nbf] = ["exp", "nbf"].map(|name| claim(name).as_f64());
            assert!(exp.unwrap() > 1_799_999_995.0 && nbf.is_none_or(|nbf| nbf < 1_800_000_006.0), "{payload}");
            let given = field(payload, "rooms")
                .map_or_else(|| RULES.default_rooms.of(&grant.subject), |rooms| serde_json::from_value(rooms).unwrap());
            assert_eq!(grant.rights, given);
            let context: Map<String, Value> = grant.to_context();
            assert_eq!(Grant::from_context(&context.into_iter().collect()), Some(grant));
        }
        Err(error) => {
            let told = error.to_string();
            assert_harmless(&told);
            assert!(told.len() <= REFUSAL_BYTES, "{told}");
        }
    }
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digits = (0..=chunk.len()).map(|digit| char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        text.extend(digits);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_tokens_have_them() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"\xfb\xff\xfe\x00", "-__-AA")]
        {
            assert_eq!(base64url(bytes), text);
        }
    }
}
