//! Functions: programs with their variables, and how they are started.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use super::process::Process;
use super::{Api, Environment, InitError, PATIENCE, Shared, init_error};
use crate::http_server::HttpServer;
use crate::programs::built;

/// The X-Ray header of an invocation that is not traced.
const NOT_TRACED: &str = "Root=1-00000000-000000000000000000000000;Sampled=0";

/// A program, and its environment variables.
#[derive(Clone, Debug)]
pub struct Function {
    program: PathBuf,
    arguments: Vec<String>,
    variables: BTreeMap<String, String>,
    timeout: Duration,
    lateness: Duration,
    trace: String,
}

impl Function {
    /// A program with the variables that Lambda sets, dummy credentials among them, and none of the caller's.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        let name = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let variables = [
            ("AWS_LAMBDA_FUNCTION_NAME", name.as_str()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/test"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "test"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
            ("_HANDLER", "bootstrap"),
            ("LANG", "en_US.UTF-8"),
            ("TZ", ":UTC"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
            ("AWS_SECRET_ACCESS_KEY", "test-secret"),
            ("AWS_SESSION_TOKEN", "test-session"),
            // A missing credential must fail, and not be looked for elsewhere.
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self {
            program,
            arguments: Vec::new(),
            variables,
            timeout: Duration::from_secs(30),
            lateness: PATIENCE,
            trace: NOT_TRACED.to_owned(),
        }
    }

    /// A function of this workspace (`message`, `session`, `authorizer`, `relay`, `fanout`) as built in the profile of
    /// the running test.
    ///
    /// # Panics
    /// When it has not been built.
    pub fn of_workspace(name: &str) -> Self {
        let program = built(name);
        assert!(program.is_file(), "{} is missing: cargo build -p ingest -p fanout", program.display());
        Self::new(program).env("STACK_NAME", "test").env("FUNCTION", name)
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.insert(name.to_owned(), value.to_string());
        self
    }

    /// Takes a variable away.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// Adds a command line argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// The function's timeout, from which the deadline of each invocation comes. 30 s unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The time after a deadline at which an environment that has not answered is ended. Lambda ends it at the
    /// deadline; on a busy machine an answer in good time may come late, so it is a minute unless set.
    #[must_use]
    pub fn lateness(mut self, lateness: Duration) -> Self {
        self.lateness = lateness;
        self
    }

    /// The X-Ray header of every invocation. Without it they are not traced.
    #[must_use]
    pub fn trace(mut self, header: &str) -> Self {
        header.clone_into(&mut self.trace);
        self
    }

    /// Starts an environment, and waits until it is ready for its first event.
    ///
    /// # Errors
    /// When the process ends, reports an error of its initialisation, or is not ready within a minute.
    pub async fn start(&self) -> Result<Environment, InitError> {
        let started = Instant::now();
        let (events, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            queue: tokio::sync::Mutex::new(queue),
            waiting: Mutex::default(),
            ready: Notify::new(),
            init_error: Mutex::default(),
            trace: self.trace.clone(),
        });
        let server = HttpServer::start(0, Api(Arc::clone(&shared))).expect("a free port");
        let mut variables = self.variables.clone();
        variables.insert("AWS_LAMBDA_RUNTIME_API".to_owned(), server.address().to_string());
        let process = Process::start(&self.program, &self.arguments, &variables);
        let process = process.unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        tokio::select! {
            () = shared.ready.notified() => {}
            status = process.ended() => return Err(init_error(&process, &shared, Some(status))),
            () = tokio::time::sleep(PATIENCE) => return Err(init_error(&process, &shared, None)),
        }
        let init_error_reported = shared.init_error.lock().unwrap().is_some();
        if init_error_reported {
            // The process ends by itself now; Lambda would otherwise end it.
            let status = tokio::time::timeout(PATIENCE, process.ended()).await;
            return Err(init_error(&process, &shared, status.ok()));
        }
        let init = started.elapsed();
        Ok(Environment {
            process,
            _server: server,
            shared,
            events,
            timeout: self.timeout,
            lateness: self.lateness,
            init,
            invoked: Mutex::default(),
        })
    }
}
