//! The `authorizer` function.

use aws_sdk_secretsmanager::Client as SecretsManager;
use ingest::{
    authorizer::AuthorizerFunction,
    config::AuthorizerConfig,
    token::{Verifier, issuer::Issuer, key_cache::KeyCache, secrets::SecretStore},
};
use shared::{
    aws,
    clock::SystemClock,
    config::Settings,
    start::{self, StartError},
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = AuthorizerConfig::read(Settings::from_env())?;
    let secrets = match &config.secret_arn {
        Some(arn) => {
            let store = SecretStore::new(SecretsManager::new(&aws::sdk_config().await), arn);
            Some(KeyCache::filled(store, SystemClock).await.map_err(StartError::client)?)
        }
        None => None,
    };
    let issuer = match config.jwks_url {
        Some(url) => Some(KeyCache::empty(Issuer::new(url).map_err(StartError::client)?, SystemClock)),
        None => None,
    };
    let (rules, token_use) = (config.rules, config.token_use);
    let verifier = Verifier { secrets, issuer, rules, token_use, clock: SystemClock };
    let function = AuthorizerFunction::new(verifier, config.allowed_origins);
    let function = &function;
    start::run(|event, metrics| async move { function.handle(event, &metrics).await }).await
}
