//! The stack that a command is for: its name, place and resources.

use std::{collections::HashMap, path::Path, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::Credentials;
use aws_sdk_cloudformation::{Client as CloudFormation, error::ProvideErrorMetadata};
use serde::Deserialize;

use crate::{failure::Failure, target::Target};

/// The most attempts of a call: somebody is waiting, and throttling is often over in a second.
const ATTEMPTS: u32 = 5;

/// The time for a call with all its attempts.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A deployed stack.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub id: String,
    /// The options that name it on the command line.
    pub named_by: String,
    /// Region, credentials and endpoint for every client.
    pub sdk: SdkConfig,
    /// The AWS profile that was asked for, if any: the printed commands must use the same account.
    pub profile: Option<String>,
    /// Its state, such as `UPDATE_COMPLETE`.
    pub status: String,
    /// Its parameters.
    pub parameters: HashMap<String, String>,
    outputs: HashMap<String, String>,
    websocket_url: Option<String>,
}

/// The fields of `stack.json`, which `make local` writes, that commands need.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StackFile {
    endpoint_url: String,
    region: String,
    stack_name: String,
    websocket_url: String,
}

impl Stack {
    /// Looks a stack up.
    ///
    /// # Errors
    /// When the stack file cannot be read, when there is no such stack, or when AWS does not answer.
    pub async fn open(target: &Target) -> Result<Self, Failure> {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).operation_timeout(CALL_TIMEOUT).build();
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).retry_config(retries).timeout_config(timeouts);
        let file = target.stack_file.as_deref().map(StackFile::read).transpose()?;
        if let Some(file) = &file {
            // The emulator knows only these credentials.
            let credentials = Credentials::new("test", "test", None, None, "stack file");
            loader = loader
                .endpoint_url(&file.endpoint_url)
                .region(Region::new(file.region.clone()))
                .credentials_provider(credentials);
        } else {
            if let Some(region) = &target.region {
                loader = loader.region(Region::new(region.clone()));
            }
            if let Some(profile) = &target.profile {
                loader = loader.profile_name(profile);
            }
        }
        let sdk = loader.load().await;
        if sdk.region().is_none() {
            return Err(Failure::Asked("no region: --region, AWS_REGION, or one in your AWS profile".to_owned()));
        }
        let name = match (&target.stack, file.as_ref()) {
            (Some(name), _) => name.clone(),
            (None, Some(file)) => file.stack_name.clone(),
            (None, None) => return Err(Failure::Asked("which stack: --stack NAME, or --stack-file FILE".to_owned())),
        };
        let option =
            |name: &str, value: Option<&str>| value.map(|value| format!(" {name} {value}")).unwrap_or_default();
        let profile = target.profile.clone().filter(|_| file.is_none());
        let named_by = match &target.stack_file {
            Some(file) => format!("--stack-file {}", file.display()),
            None => format!(
                "--stack {name}{}{}",
                option("--region", target.region.as_deref()),
                option("--profile", profile.as_deref())
            ),
        };
        Ok(Self { profile, ..Self::describe((name, named_by), sdk, file).await? })
    }

    async fn describe(
        (name, named_by): (String, String),
        sdk: SdkConfig,
        file: Option<StackFile>,
    ) -> Result<Self, Failure> {
        let described = CloudFormation::new(&sdk).describe_stacks().stack_name(&name).send().await;
        let missing = || Failure::Met(format!("there is no stack {name} in this account and region"));
        let described =
            described.map_err(|error| match error.as_service_error().and_then(ProvideErrorMetadata::message) {
                Some(message) if message.contains("does not exist") => missing(),
                _ => Failure::call("the stack was to be looked up")(error),
            })?;
        let stack = described.stacks.unwrap_or_default().into_iter().next().ok_or_else(missing)?;
        let pair = |key: Option<String>, value: Option<String>| Some((key?, value?));
        Ok(Self {
            id: stack.stack_id.unwrap_or_default(),
            named_by,
            status: stack.stack_status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
            outputs: stack.outputs.into_iter().flatten().filter_map(|o| pair(o.output_key, o.output_value)).collect(),
            parameters: (stack.parameters.into_iter().flatten())
                .filter_map(|p| pair(p.parameter_key, p.resolved_value.or(p.parameter_value)))
                .collect(),
            profile: None,
            websocket_url: file.map(|file| file.websocket_url),
            name,
            sdk,
        })
    }

    /// An output that every stack has.
    ///
    /// # Errors
    /// When this one has not: it is of another template, or of an older version.
    pub fn output(&self, key: &str) -> Result<&str, Failure> {
        self.outputs.get(key).map(String::as_str).ok_or_else(|| {
            let name = &self.name;
            Failure::Met(format!("stack {name} has no output {key}: it is not Roomcast's, or of an older version"))
        })
    }

    /// An output that some stacks have.
    #[must_use]
    pub fn optional_output(&self, key: &str) -> Option<&str> {
        self.outputs.get(key).map(String::as_str)
    }

    /// The URL that clients connect to.
    ///
    /// # Errors
    /// As of [`Stack::output`].
    pub fn websocket_url(&self) -> Result<&str, Failure> {
        self.websocket_url.as_deref().map_or_else(|| self.output("WebsocketUrl"), Ok)
    }
}

impl StackFile {
    fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Asked(format!("{shown} cannot be read ({error}): does `make local` run?")))?;
        serde_json::from_str(&text).map_err(|error| Failure::Asked(format!("{shown} describes no stack: {error}")))
    }
}
