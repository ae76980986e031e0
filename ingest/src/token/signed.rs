//! A token as it came, and the verification of its signature with one key.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind};
use serde_json::value::RawValue;

use super::error::TokenError;

/// Bytes of a token at most: API Gateway takes 10,240 of a handshake's request line and headers together.
const TOKEN_BYTES: usize = 10_240;

/// A token of which only the header has been read.
pub struct SignedToken<'a> {
    text: &'a str,
    algorithm: Algorithm,
    key_id: Option<String>,
}

/// The payload of a token, its signature verified.
pub struct Payload(Box<RawValue>);

impl<'a> SignedToken<'a> {
    /// Reads a token's header.
    ///
    /// # Errors
    /// When it is too long, no signed token, or demands an extension.
    pub fn parse(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        // The library's error is not passed on: it quotes what it read, which anybody can write.
        let header = decode_header(text).map_err(|_| TokenError::NoJwt)?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        Ok(Self { text, algorithm: header.alg, key_id: header.kid })
    }

    /// The algorithm that the token names. It decides no verification: a key has an algorithm of its own.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that the token names.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Verifies the signature by a key and that key's algorithm, and takes the payload; its claims are looked at later.
    ///
    /// # Errors
    /// When another key has made the signature, or the token names another algorithm.
    pub fn verify(&self, key: &DecodingKey, algorithm: Algorithm) -> Result<Payload, TokenError> {
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = decode::<Box<RawValue>>(self.text, key, &validation);
        decoded.map(|token| Payload(token.claims)).map_err(|error| match error.kind() {
            ErrorKind::InvalidAlgorithm => TokenError::OtherAlgorithm,
            // The signature was good: only the JSON can be bad.
            ErrorKind::Json(_) | ErrorKind::Utf8(_) => TokenError::NoJwt,
            _ => TokenError::Signature,
        })
    }
}

impl Payload {
    /// The payload's JSON.
    #[must_use]
    pub fn json(&self) -> &str {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, crypto::sign};

    use super::*;

    #[test]
    fn a_signed_payload_that_is_no_json_makes_no_jwt() {
        // {"alg":"HS256"} and xx.
        let signed = "eyJhbGciOiJIUzI1NiJ9.eHg";
        let signature = sign(signed.as_bytes(), &EncodingKey::from_secret(b"secret"), Algorithm::HS256).unwrap();
        let text = format!("{signed}.{signature}");
        let token = SignedToken::parse(&text).unwrap();
        let refusal =
            |secret: &[u8]| token.verify(&DecodingKey::from_secret(secret), Algorithm::HS256).map(drop).unwrap_err();
        assert!(matches!(refusal(b"secret"), TokenError::NoJwt));
        assert!(matches!(refusal(b"another"), TokenError::Signature));
    }
}
