//! The local stack as users start it: emulator, the template, the real functions; and tokens for it.

mod runner;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client as SecretsManager;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::aws_sdk::sdk_config;
use crate::events::everywhere;
use crate::programs::built;
use crate::websocket::{Client, Handshake, Refused};
use runner::Runner;

/// The functions of the template.
const FUNCTIONS: [&str; 8] =
    ["authorizer", "session", "message", "relay", "fanout", "presence", "ephemeral", "sweeper"];

/// The time for the stack to start.
const START_WITHIN: Duration = Duration::from_mins(3);

/// The content of `stack.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// The emulator of all AWS services.
    pub endpoint_url: String,
    /// The region.
    pub region: String,
    /// The URL that WebSocket clients connect to.
    pub websocket_url: String,
    /// The `@connections` endpoint.
    pub connections_endpoint: String,
    /// The table of connections.
    pub connections_table: String,
    /// The table of the room logs.
    pub messages_table: String,
    /// The table of the rooms' state.
    pub state_table: String,
    /// The FIFO queue.
    pub queue_url: String,
    /// The queue of ticks, if the stack has presence or lifecycle events.
    pub presence_queue_url: Option<String>,
    /// The queue of ephemeral messages, if the stack has any.
    pub ephemeral_queue_url: Option<String>,
    /// Its dead-letter queue.
    pub dlq_url: String,
    /// The event bus.
    pub event_bus_name: String,
    /// The secret of tokens, if the stack has one.
    pub auth_secret_arn: Option<String>,
    /// The demo page, if there is one.
    pub demo_url: Option<String>,
}

/// A running stack. Dropping it ends all of its processes, and so does the end of the test's process, however it ends.
#[derive(Debug)]
pub struct LocalStack {
    description: Description,
    secret: String,
    runner: Runner,
    // Dropped after the runner, which writes to it until it has ended.
    state: StateFolder,
}

impl LocalStack {
    /// Starts a stack on a free port, with parameters of `infra/template.yaml` that differ from their defaults.
    ///
    /// # Panics
    /// When it does not start: the functions or the Python environment are missing (`make rust-test` makes both), or
    /// the deployment fails.
    pub async fn start(parameters: &[(&str, &str)]) -> Self {
        let mut arguments = vec!["--no-demo".to_owned()];
        for (name, value) in parameters {
            arguments.extend(["--param".to_owned(), format!("{name}={value}")]);
        }
        Self::run(arguments).await
    }

    /// Starts a stack whose secret of tokens is made before it (`AuthSecretArn`), as with an account's own secret.
    ///
    /// # Panics
    /// As [`Self::start`] does.
    pub async fn start_with_own_secret(parameters: &[(&str, &str)]) -> Self {
        let mut arguments = vec!["--no-demo".to_owned(), "--own-secret".to_owned()];
        arguments.extend(parameters.iter().flat_map(|(name, value)| ["--param".to_owned(), format!("{name}={value}")]));
        Self::run(arguments).await
    }

    /// Starts a stack in which a minute of an alarm's period takes this time.
    ///
    /// # Panics
    /// As [`Self::start`] does.
    pub async fn start_with_alarm_minute(minute: Duration, parameters: &[(&str, &str)]) -> Self {
        let seconds = minute.as_secs_f64().to_string();
        let mut arguments = ["--no-demo", "--alarm-minute", &seconds].map(str::to_owned).to_vec();
        arguments.extend(parameters.iter().flat_map(|(name, value)| ["--param".to_owned(), format!("{name}={value}")]));
        Self::run(arguments).await
    }

    /// Starts a stack whose functions call services, such as `DYNAMODB`, at endpoints that stand in front of them.
    ///
    /// # Panics
    /// As [`Self::start`] does.
    pub async fn start_behind(services: &[(&str, &str)], parameters: &[(&str, &str)]) -> Self {
        let mut arguments = vec!["--no-demo".to_owned()];
        for (option, pairs) in [("--service-endpoint", services), ("--param", parameters)] {
            arguments.extend(pairs.iter().flat_map(|(name, value)| [option.to_owned(), format!("{name}={value}")]));
        }
        Self::run(arguments).await
    }

    /// Starts a stack as `make local` does: with the demo page and the producer of prices, on free ports.
    ///
    /// # Panics
    /// As [`Self::start`] does.
    pub async fn start_with_demo() -> Self {
        Self::run(["--demo-port", "0"].map(str::to_owned).to_vec()).await
    }

    async fn run(mut arguments: Vec<String>) -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace's folder");
        let state = StateFolder::new(workspace);
        let code = state.folder.join("code");
        stage_functions(&code);
        arguments.extend(["--state".to_owned(), state.folder.display().to_string()]);
        arguments.extend(["--code".to_owned(), code.display().to_string()]);
        arguments.extend(["--port", "0", "--exit-on-stdin-eof"].map(str::to_owned));
        let runner = Runner::start(workspace, &arguments);
        runner.wait_for_line("stack ready:", START_WITHIN).await;
        let description = std::fs::read_to_string(state.folder.join("stack.json")).expect("stack.json");
        let description = serde_json::from_str(&description).expect("stack.json as the design has it");
        let mut stack = Self { description, secret: String::new(), runner, state };
        if stack.description.auth_secret_arn.is_some() {
            let version = stack.secrets().get_secret_value().secret_id(stack.secret_arn()).send().await;
            stack.secret = version.expect("the stack's secret").secret_string.expect("a text");
        }
        stack
    }

    /// Puts a new secret of tokens; the one before it becomes the previous one.
    ///
    /// # Panics
    /// When the emulator refuses it, or the stack has none.
    pub async fn rotate_secret(&self, secret: &str) {
        let put = self.secrets().put_secret_value().secret_id(self.secret_arn()).secret_string(secret);
        put.send().await.expect("a new version");
    }

    fn secrets(&self) -> SecretsManager {
        SecretsManager::new(&self.sdk_config())
    }

    fn secret_arn(&self) -> &str {
        self.description.auth_secret_arn.as_deref().expect("a stack with a secret")
    }

    /// The content of `stack.json`.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The first secret of tokens; empty where the stack takes only another issuer's tokens.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The folder for everything that it writes: `stack.json`, its logs.
    pub fn state(&self) -> &Path {
        &self.state.folder
    }

    /// Keeps the folder, for its logs, when the stack is dropped.
    pub fn keep_state(&self) -> &Path {
        self.state.keep.store(true, Ordering::Relaxed);
        self.state()
    }

    /// A token of a subject, valid for an hour.
    pub fn token(&self, subject: &str) -> String {
        let expiry = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_hours(1);
        mint(&self.secret, &json!({ "sub": subject, "exp": expiry.as_secs(), "rooms": everywhere() }))
    }

    /// A token with any claims, signed with the stack's secret.
    pub fn token_with(&self, claims: &Value) -> String {
        mint(&self.secret, claims)
    }

    /// Connects as a subject.
    ///
    /// # Errors
    /// When the handshake is refused.
    pub async fn connect(&self, subject: &str) -> Result<Client, Refused> {
        self.connect_with(&Handshake::token(&self.token(subject))).await
    }

    /// Connects with any handshake.
    ///
    /// # Errors
    /// When the handshake is refused.
    pub async fn connect_with(&self, handshake: &Handshake) -> Result<Client, Refused> {
        Client::connect(&self.description.websocket_url, handshake).await
    }

    /// The configuration of the AWS SDKs' clients for any service of the stack.
    pub fn sdk_config(&self) -> SdkConfig {
        sdk_config(&self.description.endpoint_url)
    }

    /// The output of the runner and the emulator's log, for the report of a failure.
    pub fn log(&self) -> String {
        let emulator = std::fs::read_to_string(self.state.folder.join("emulator.log")).unwrap_or_default();
        format!("{}\n{emulator}", self.runner.output().join("\n"))
    }
}

/// Links the programs that `cargo build` made into the folder that the runner reads. It does not use `target/lambda`,
/// where a deployment puts functions for another machine.
fn stage_functions(code: &Path) {
    for name in FUNCTIONS {
        let folder = code.join(name);
        std::fs::create_dir_all(&folder).expect("a folder for a function");
        let built = built(name);
        let link = std::fs::hard_link(&built, folder.join("bootstrap"));
        link.unwrap_or_else(|error| panic!("{}: {error}; `cargo build --workspace --bins` makes it", built.display()));
    }
}

/// An HS256 token of any claims.
pub fn mint(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).expect("a token")
}

/// A new folder below `target` for everything that one stack writes; removed with it.
#[derive(Debug)]
struct StateFolder {
    folder: PathBuf,
    keep: AtomicBool,
}

impl StateFolder {
    fn new(workspace: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Self { folder: workspace.join("target/test-stacks").join(name), keep: AtomicBool::new(false) }
    }
}

impl Drop for StateFolder {
    fn drop(&mut self) {
        // Kept for a look at its logs when the test has failed.
        if !std::thread::panicking() && !self.keep.load(Ordering::Relaxed) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
