//! A JWKS document: an issuer's public keys (RFC 7517).
//!
//! Its publisher is trusted to say whose tokens are taken, and with nothing else, so the document is read within
//! bounds. A key that cannot be used is passed over, since an issuer may publish keys of any kind beside those for us.

use std::{collections::HashMap, fmt};

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    error::TokenError,
    signed::{Payload, SignedToken},
};

/// Keys of a document that are looked at. Issuers publish two to ten.
const KEYS: usize = 100;

/// Bits of an RSA key. RS256 must not be used with fewer (RFC 7518, section 3.3); the library verifies no signature
/// with more.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// Characters of a coordinate of a point on P-256: 32 bytes in base64url.
const P256_CHARS: usize = 43;

/// The keys of a document that can be used.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

/// A key, and the one algorithm that it is used with.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    public: DecodingKey,
}

/// The reason why a document is of no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// It is no JWKS document.
    #[error("no JSON object with a list `keys`")]
    NoDocument,
    /// It has no key that can be used.
    #[error("no key for RS256 (2,048 bits or more) or ES256 whose `kid` is its own")]
    NoKey,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: FirstKeys<'a>,
}

/// The first [`KEYS`] keys, not read yet.
struct FirstKeys<'a>(Vec<&'a RawValue>);

/// A key as it is published. Private parts, should somebody publish those, are not read.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    used_for: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a document.
    ///
    /// # Errors
    /// When it is none, or has no key that can be used.
    pub fn parse(document: &[u8]) -> Result<Self, JwksError> {
        let Document { keys } = serde_json::from_slice(document).map_err(|_| JwksError::NoDocument)?;
        let keys: Vec<Key> = keys.0.into_iter().filter_map(Key::parse).collect();
        let mut named: HashMap<_, u32> = HashMap::new();
        for key in &keys {
            *named.entry(key.id.clone()).or_default() += 1;
        }
        // Of two keys with one name, one is a mistake. If the first one were taken, the order of the list, which nobody
        // promises, would decide who gets in.
        let is_its_own = |key: &Key| key.id.is_none() || named.get(&key.id) == Some(&1);
        let keys: Vec<Key> = keys.into_iter().filter(is_its_own).collect();
        if keys.is_empty() { Err(JwksError::NoKey) } else { Ok(Self(keys)) }
    }

    /// The number of keys that can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none. A set that was read has at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies a token by the key that it names. One that names none is taken only if there is one key.
    ///
    /// # Errors
    /// When there is no such key, or it has not made the signature.
    pub fn verify(&self, token: &SignedToken<'_>) -> Result<Payload, TokenError> {
        let key = match (token.key_id(), self.0.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)).ok_or(TokenError::UnknownKey)?,
            (None, [key]) => key,
            (None, _) => return Err(TokenError::NoKeyId),
        };
        token.verify(&key.public, key.algorithm)
    }
}

impl Key {
    /// `None` for a key that cannot be used.
    fn parse(json: &RawValue) -> Option<Self> {
        let jwk: Jwk = serde_json::from_str(json.get()).ok()?;
        let (algorithm, public) = match jwk.kty.as_str() {
            "RSA" => (Algorithm::RS256, DecodingKey::from_rsa_components(&jwk.n?, &jwk.e?).ok().filter(is_rsa)?),
            "EC" => {
                let (x, y) = (jwk.x?, jwk.y?);
                let is_p256 = jwk.crv? == "P-256" && x.len() == P256_CHARS && y.len() == P256_CHARS;
                (Algorithm::ES256, DecodingKey::from_ec_components(&x, &y).ok().filter(|_| is_p256)?)
            }
            _ => return None,
        };
        let name = if algorithm == Algorithm::RS256 { "RS256" } else { "ES256" };
        let is_for_us = jwk.used_for.is_none_or(|used_for| used_for == "sig") && jwk.alg.is_none_or(|alg| alg == name);
        is_for_us.then_some(Self { id: jwk.kid, algorithm, public })
    }
}

fn is_rsa(key: &DecodingKey) -> bool {
    let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else { return false };
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    RSA_BITS.contains(&bits) && !e.is_empty()
}

impl<'de: 'a, 'a> Deserialize<'de> for FirstKeys<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of keys")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut keys = Vec::new();
                while keys.len() < KEYS {
                    match list.next_element()? {
                        Some(key) => keys.push(key),
                        None => return Ok(keys),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(keys)
            }
        }
        deserializer.deserialize_seq(Keys).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// An RSA modulus whose first character is this one and which has so many bytes.
    fn modulus(first: char, bytes: usize) -> String {
        format!("{first}{}", "A".repeat((bytes * 4).div_ceil(3) - 1))
    }

    fn rsa(extra: &Value) -> Value {
        with(json!({"kty": "RSA", "kid": "r", "n": modulus('w', 256), "e": "AQAB"}), extra)
    }

    fn ec(extra: &Value) -> Value {
        with(json!({"kty": "EC", "kid": "e", "crv": "P-256", "x": "A".repeat(43), "y": "A".repeat(43)}), extra)
    }

    fn with(mut key: Value, extra: &Value) -> Value {
        key.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        key
    }

    fn parse(keys: &[Value]) -> Result<Vec<(Option<String>, Algorithm)>, JwksError> {
        let set = KeySet::parse(json!({"keys": keys, "more": 1}).to_string().as_bytes())?;
        Ok(set.0.into_iter().map(|key| (key.id, key.algorithm)).collect())
    }

    #[test]
    fn rsa_and_p256_keys_are_used_each_with_its_algorithm() {
        let named = |id: &str, algorithm| (Some(id.to_owned()), algorithm);
        let keys = [rsa(&json!({"use": "sig", "alg": "RS256", "x5c": ["MII"]})), ec(&json!({}))];
        assert_eq!(parse(&keys), Ok(vec![named("r", Algorithm::RS256), named("e", Algorithm::ES256)]));
        assert_eq!(parse(&[rsa(&json!({"n": modulus('w', 1_024)}))]), Ok(vec![named("r", Algorithm::RS256)]));
        assert_eq!(parse(&[ec(&json!({"kid": null}))]), Ok(vec![(None, Algorithm::ES256)]));
    }

    #[test]
    fn keys_of_other_kinds_and_broken_ones_are_passed_over() {
        let passed_over = [
            rsa(&json!({"use": "enc"})),
            rsa(&json!({"alg": "PS256"})),
            rsa(&json!({"alg": "HS256"})),
            rsa(&json!({"alg": "ES256"})),
            rsa(&json!({"n": modulus('w', 128)})),
            // One bit too few, and a zero in front that makes up for it.
            rsa(&json!({"n": modulus('Q', 256)})),
            rsa(&json!({"n": modulus('A', 256)})),
            rsa(&json!({"n": modulus('w', 1_025)})),
            rsa(&json!({"n": "not base64!"})),
            rsa(&json!({"n": ""})),
            rsa(&json!({"e": ""})),
            rsa(&json!({"e": null})),
            ec(&json!({"crv": "P-384"})),
            ec(&json!({"crv": "secp256k1"})),
            ec(&json!({"x": "A".repeat(44)})),
            ec(&json!({"y": null})),
            ec(&json!({"alg": "RS256"})),
            json!({"kty": "oct", "kid": "o", "k": "A".repeat(43), "alg": "HS256"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43)}),
            json!({"kty": 7}),
            json!({}),
            json!(null),
            json!("RSA"),
            json!([]),
        ];
        for key in &passed_over {
            assert_eq!(parse(std::slice::from_ref(key)), Err(JwksError::NoKey), "{key}");
        }
        let beside = [&passed_over[..], &[ec(&json!({"kid": "good"}))]].concat();
        assert_eq!(parse(&beside), Ok(vec![(Some("good".to_owned()), Algorithm::ES256)]));
    }

    #[test]
    fn keys_that_share_a_name_are_all_passed_over() {
        let keys = [rsa(&json!({"kid": "twice"})), ec(&json!({})), ec(&json!({"kid": "twice"}))];
        assert_eq!(parse(&keys), Ok(vec![(Some("e".to_owned()), Algorithm::ES256)]));
        let other_use = [rsa(&json!({"use": "enc"})), rsa(&json!({}))];
        assert_eq!(parse(&other_use).map(|keys| keys.len()), Ok(1), "one that is of no use has no name either");
    }

    #[test]
    fn a_hostile_document_is_read_within_bounds() {
        let many: Vec<_> = (0..10_000).map(|number| ec(&json!({"kid": number.to_string()}))).collect();
        assert_eq!(parse(&many).map(|keys| keys.len()), Ok(100));
        let deep = format!(r#"{{"keys":[{}{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let wide = format!(r#"{{"keys":[{{"kty":"RSA","n":{}}}]}}"#, "9".repeat(200_000));
        for document in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"keys":7}"#,
            r#"{"keys":null}"#,
            r#"{"keys":{}}"#,
            r#"{"keys":[],"keys":[]}"#,
            r#"{"keys":[1e400]"#,
            "\u{feff}{\"keys\":[]}",
        ] {
            assert_eq!(KeySet::parse(document.as_bytes()).unwrap_err(), JwksError::NoDocument, "{document}");
        }
        for document in [r#"{"keys":[]}"#, r#"{"keys":[1e400]}"#, &deep, &wide] {
            assert!(KeySet::parse(document.as_bytes()).is_err());
        }
        assert_eq!(KeySet::parse(b"{\"keys\":[\"\xff\"]}").unwrap_err(), JwksError::NoDocument);
    }
}
