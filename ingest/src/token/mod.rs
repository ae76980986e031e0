//! Tokens: who a JWT says its bearer is, and what they may do.
//!
//! HS256 tokens are verified with the secrets of [`secrets`], RS256 and ES256 tokens with the keys of [`issuer`]; all
//! others are refused. The algorithm that a token names decides only where its key is looked for: each key has one
//! algorithm of its own, with which it verifies.

pub mod claims;
pub mod error;
pub mod issuer;
pub mod jwks;
pub mod key_cache;
pub mod secrets;
pub mod signed;

use jsonwebtoken::Algorithm;
use shared::clock::Clock;

use self::{
    claims::ClaimRules, error::TokenError, issuer::Issuer, key_cache::KeyCache, secrets::SecretStore,
    signed::SignedToken,
};
use crate::grant::Grant;

/// Verifies tokens. Holds keys; has no `Debug`.
pub struct Verifier<C> {
    /// The secrets of HS256 tokens, if those are taken.
    pub secrets: Option<KeyCache<SecretStore, C>>,
    /// The keys of RS256 and ES256 tokens, if those are taken.
    pub issuer: Option<KeyCache<Issuer, C>>,
    /// The claims that tokens must make.
    pub rules: ClaimRules,
    /// The `token_use` that the issuer's tokens must claim, if there is one.
    pub token_use: Option<String>,
    /// The time.
    pub clock: C,
}

impl<C: Clock> Verifier<C> {
    /// Says who the bearer is, and what they may do.
    ///
    /// # Errors
    /// When there is no token, or it is refused.
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
