//! The two ends of a `main`: running the function, and why it could not start.

use std::{
    any::type_name,
    error::Error,
    fmt,
    future::Future,
    io::{self, Write},
    rc::Rc,
};

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    clock::{Clock, SystemClock},
    config::ConfigError,
    metrics::{Dimensions, Metrics},
};

/// The reason why a function did not start or stopped. `main` returns it, and the standard library prints it with
/// `Debug`, which is therefore the message itself.
#[derive(thiserror::Error)]
pub enum StartError {
    /// The configuration is bad.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A client cannot be set up.
    #[error("a client cannot be set up: {0}")]
    Client(#[source] Box<dyn Error + Send + Sync>),
    /// The Lambda runtime ended.
    #[error("the Lambda runtime ended: {0}")]
    Runtime(#[source] lambda_runtime::Error),
}

impl StartError {
    /// A client that cannot be set up.
    pub fn client(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Client(Box::new(error))
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Serves invocations until the environment ends. An error of the handler fails its invocation only. What was measured
/// of an invocation is written when it ends, however it ends.
///
/// # Errors
/// When the Lambda Runtime API does not answer.
pub async fn run<A, R, E, H, F>(handler: H) -> Result<(), StartError>
where
    A: DeserializeOwned,
    R: Serialize,
    E: Error,
    H: Fn(LambdaEvent<A>, Rc<Metrics>) -> F,
    F: Future<Output = Result<R, E>>,
{
    let dimensions = Dimensions::read(|name| std::env::var(name).ok());
    let dimensions = dimensions.as_ref();
    let service = service_fn(|event| {
        let metrics = Rc::new(Metrics::default());
        // Boxed: the SDK's futures are nested as deeply as the compiler allows.
        let response = Box::pin(handler(event, Rc::clone(&metrics)));
        async move {
            let result = response.await;
            if let Some(dimensions) = dimensions {
                write(&metrics, dimensions);
            }
            result.map_err(|error| {
                tracing::error!(%error, "invocation failed");
                Diagnostic { error_type: type_name::<E>().to_owned(), error_message: error.to_string() }
            })
        }
    });
    lambda_runtime::run(service).await.map_err(StartError::Runtime)
}

/// Writes a line to standard output, in one piece: CloudWatch Logs takes metrics from a line that is nothing else.
fn write(metrics: &Metrics, dimensions: &Dimensions) {
    let Some(mut line) = metrics.to_line(dimensions, SystemClock.unix_millis()) else { return };
    line.push('\n');
    if let Err(error) = io::stdout().lock().write_all(line.as_bytes()) {
        tracing::warn!(%error, "metrics were not written");
    }
}
