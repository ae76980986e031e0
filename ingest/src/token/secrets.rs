//! The secrets of HS256 tokens, in AWS Secrets Manager: the current one, and the one before it until its tokens have
//! expired.

use std::{error::Error, time::Duration};

use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_secret_value::GetSecretValueError,
};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::{
    error::TokenError,
    key_cache::KeySource,
    signed::{Payload, SignedToken},
};

/// The fewest bytes of an HS256 secret: as many as the hash has (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// The time for which secrets are used without reading them again.
const LIFETIME: Duration = Duration::from_mins(5);

/// A secret of AWS Secrets Manager.
pub struct SecretStore {
    client: Client,
    arn: String,
}

/// The reason why a secret is of no use. The error never quotes it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("the secret that AUTH_SECRET_ARN names cannot be read: {0}")]
    Unreadable(String),
    /// It is too short to sign with.
    #[error("the secret that AUTH_SECRET_ARN names must have at least {SECRET_BYTES} bytes, has {0}")]
    TooShort(usize),
}

impl SecretStore {
    /// The secret with this ARN.
    #[must_use]
    pub fn new(client: Client, arn: &str) -> Self {
        Self { client, arn: arn.to_owned() }
    }

    /// The version at a stage, byte for byte. `None` when there is none there.
    async fn version(&self, stage: &str) -> Result<Option<Vec<u8>>, SecretError> {
        match self.client.get_secret_value().secret_id(&self.arn).version_stage(stage).send().await {
            Ok(version) => {
                let binary = version.secret_binary.map(aws_sdk_secretsmanager::primitives::Blob::into_inner);
                Ok(binary.or(version.secret_string.map(String::into_bytes)))
            }
            Err(error) if stage == PREVIOUS && is_not_found(&error) => Ok(None),
            Err(error) => Err(SecretError::Unreadable(told(&error))),
        }
    }
}

impl KeySource for SecretStore {
    type Keys = Vec<DecodingKey>;
    type Error = SecretError;

    const NAME: &'static str = "secret";
    const PAUSE: Duration = Duration::from_secs(10);

    async fn read(&self) -> Result<(Vec<DecodingKey>, Duration), SecretError> {
        // The current secret first, then the one before it. If a rotation comes in between, the newest secret is
        // missed, and the first token that is signed with it causes another read. In the other order, or at the same
        // time, the secret that most tokens are signed with could be missed.
        let current = self.version(CURRENT).await?.unwrap_or_default();
        let previous = self.version(PREVIOUS).await?;
        if current.len() < SECRET_BYTES {
            return Err(SecretError::TooShort(current.len()));
        }
        // An earlier secret that is too short is left out: it may be why there is a new one.
        let previous = previous.filter(|secret| secret.len() >= SECRET_BYTES);
        let secrets = [Some(current), previous];
        Ok((secrets.iter().flatten().map(|secret| DecodingKey::from_secret(secret)).collect(), LIFETIME))
    }

    fn verify(keys: &Vec<DecodingKey>, token: &SignedToken<'_>) -> Result<Payload, TokenError> {
        let verified = keys.iter().map(|key| token.verify(key, Algorithm::HS256));
        verified.reduce(Result::or).unwrap_or(Err(TokenError::Signature))
    }
}

fn is_not_found(error: &SdkError<GetSecretValueError>) -> bool {
    error.as_service_error().is_some_and(GetSecretValueError::is_resource_not_found_exception)
}

/// The answer of AWS, or the reason why there is none. The SDK's own report is not used, since it may contain the
/// response's body.
fn told(error: &SdkError<GetSecretValueError>) -> String {
    if let Some(code) = error.code() {
        return format!("{code}: {}", error.message().unwrap_or_default());
    }
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        told = format!("{told}: {error}");
        source = error.source();
    }
    told
}
