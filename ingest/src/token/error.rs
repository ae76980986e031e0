//! The reasons why a token is refused.

use super::claims::ClaimError;

/// The reason why a token is refused. The error never quotes the token, nor any part of it that was not signed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No token came with the request.
    #[error("there is no token, neither as `token` in the query string nor as a bearer in the Authorization header")]
    Missing,
    /// It is longer than any that API Gateway lets through.
    #[error("the token is too long")]
    TooLong,
    /// It is no JWT.
    #[error("the token is no JWT with an algorithm that is known")]
    NoJwt,
    /// Its header has `crit`: it demands an extension that is not known here.
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
    /// There are no keys to verify it with, or they are too old.
    #[error("the {0} could not be read: no token can be verified")]
    NoKeys(&'static str),
    /// The claims do not hold.
    #[error(transparent)]
    Claims(#[from] ClaimError),
}

impl TokenError {
    /// Whether this is a failure of this stack or of the publisher of the keys, and not the token's fault.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::NoKeys(_))
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
