//! Tokens: who a JWT says its bearer is, and what they may do.
//!
//! HS256 tokens are verified with the secrets of [`secrets`], RS256 and ES256 tokens with the keys of [`issuer`], and all others
//! refused. What a token names decides only where its key is looked for: a key has one algorithm of its own.

pub mod claims;
pub mod issuer;
pub mod jwks;
pub mod key_cache;
pub mod secrets;
pub mod signed;

use jsonwebtoken::Algorithm;
use shared::clock::Clock;

use self::{
    claims::{ClaimError, ClaimRules},
    issuer::Issuer,
    key_cache::KeyCache,
    secrets::SecretStore,
    signed::SignedToken,
};
use crate::grant::Grant;

/// Verifies tokens. Holds keys; has no `Debug`.
pub struct Verifier<C> {
    /// For HS256 tokens, if those are taken.
    pub secrets: Option<KeyCache<SecretStore, C>>,
    /// For RS256 and ES256 tokens, if those are taken.
    pub issuer: Option<KeyCache<Issuer, C>>,
    /// What tokens must claim.
    pub rules: ClaimRules,
    /// What the issuer's tokens must claim as `token_use`, if anything.
    pub token_use: Option<String>,
    /// The time.
    pub clock: C,
}

/// Why a token is refused. Never has the token, or any part of it that was not signed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No token came with the request.
    #[error("there is no token, neither as `token` in the query string nor as a bearer in the Authorization header")]
    Missing,
    /// It is longer than any that gets this far.
    #[error("the token is too long")]
    TooLong,
    /// It is no JWT.
    #[error("the token is no JWT with an algorithm that is known")]
    NoJwt,
    /// It asks for something that must be understood.
    #[error("the token's header has the parameter `crit`, of which nothing is known")]
    Critical,
    /// It names an algorithm for which no keys are configured.
    #[error(
        "the token is signed with an algorithm that is not taken: AUTH_SECRET_ARN is for HS256, AUTH_JWKS_URL for RS256, ES256"
    )]
    Algorithm,
    /// Its key is for another algorithm.
    #[error("the token names a key of another algorithm")]
    OtherAlgorithm,
    /// Its key is not among the issuer's.
    #[error("the token names a key (`kid`) that the issuer does not publish")]
    UnknownKey,
    /// It names no key, and the issuer has several.
    #[error("the token names no key (`kid`), and the issuer publishes several")]
    NoKeyId,
    /// The signature is not that of any key.
    #[error("the token's signature is wrong")]
    Signature,
    /// There are no keys to verify it with, or none since too long ago.
    #[error("the {0} could not be read: no token can be verified")]
    NoKeys(&'static str),
    /// The claims do not hold.
    #[error(transparent)]
    Claims(#[from] ClaimError),
}

impl TokenError {
    /// Whether this is a failure of ours, or of whoever publishes the keys, and not the token's.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::NoKeys(_))
    }
}

impl<C: Clock> Verifier<C> {
    /// Says who the bearer is, and what they may do.
    ///
    /// # Errors
    /// When there is no token, or it does not prove anybody.
    pub async fn verify(&self, token: Option<&str>) -> Result<Grant, TokenError> {
        let token = SignedToken::parse(token.ok_or(TokenError::Missing)?)?;
        let (payload, token_use) = match (token.algorithm(), &self.secrets, &self.issuer) {
            (Algorithm::HS256, Some(secrets), _) => (secrets.verify(&token).await?, None),
            (Algorithm::RS256 | Algorithm::ES256, _, Some(issuer)) => {
                (issuer.verify(&token).await?, self.token_use.as_deref())
            }
            _ => return Err(TokenError::Algorithm),
        };
        Ok(self.rules.grant(payload.json(), token_use, self.clock.unix_seconds())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_keys_could_not_be_read_is_an_outage_and_a_bad_token_is_none() {
        assert!(TokenError::NoKeys("secret").is_outage());
        for refused in [TokenError::Missing, TokenError::UnknownKey, TokenError::Signature] {
            assert!(!refused.is_outage(), "{refused}");
        }
    }
}
