//! The `authorizer` function.

use std::future::ready;

use ingest::{authorizer::AuthorizerFunction, config::AuthorizerConfig, token::Verifier};
use shared::{
    config::Settings,
    start::{self, StartError},
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = AuthorizerConfig::read(Settings::from_env())?;
    let function = AuthorizerFunction::new(Verifier::new(&config));
    start::run(move |event| ready(function.handle(event))).await
}
