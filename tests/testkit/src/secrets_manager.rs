//! A fake AWS Secrets Manager with one secret, whose versions a test puts.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::aws_endpoint::{AwsEndpoint, Backend, Call, Rule, error_reply, json_reply};
use crate::http_server::{Reply, Request};

/// The secret's ARN.
pub const SECRET_ARN: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:tokens-AbCdEf";

/// The value of a version: `{"SecretString": ...}` or `{"SecretBinary": ...}`.
type Version = Value;

/// The running service; dropping it closes every connection.
#[derive(Debug)]
pub struct SecretsManager {
    endpoint: AwsEndpoint,
    versions: Arc<Mutex<Vec<Version>>>,
}

impl SecretsManager {
    /// Starts on a free port, with this text as the secret's only version.
    pub fn start(secret: &str) -> Self {
        let versions = Arc::new(Mutex::new(Vec::new()));
        let endpoint = AwsEndpoint::start(OneSecret(Arc::clone(&versions)));
        let service = Self { endpoint, versions };
        service.put(secret);
        service
    }

    /// The value for `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        self.endpoint.url()
    }

    /// Puts a new version, which becomes the current one; the current one becomes the previous one.
    pub fn put(&self, secret: &str) {
        self.versions.lock().unwrap().push(json!({ "SecretString": secret }));
    }

    /// The same with bytes, in base64.
    pub fn put_binary(&self, base64: &str) {
        self.versions.lock().unwrap().push(json!({ "SecretBinary": base64 }));
    }

    /// Adds a rule for calls that are to fail.
    pub fn fault(&self, rule: Rule) {
        self.endpoint.fault(rule);
    }

    /// Takes every rule away.
    pub fn clear_faults(&self) {
        self.endpoint.clear_faults();
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.endpoint.calls()
    }

    /// The number of requests for the current version.
    pub fn reads(&self) -> usize {
        let stages = self.calls().into_iter().filter(|call| call.body["VersionStage"] == "AWSCURRENT");
        stages.count()
    }
}

struct OneSecret(Arc<Mutex<Vec<Version>>>);

impl Backend for OneSecret {
    async fn call(&self, operation: &str, body: &Value, _: &Request) -> Reply {
        if operation != "GetSecretValue" {
            return error_reply(400, "UnknownOperationException", &format!("this endpoint has no {operation}"));
        }
        let versions = self.0.lock().unwrap();
        let mut newest = versions.iter().rev();
        let version = match body["VersionStage"].as_str() {
            None | Some("AWSCURRENT") => newest.next(),
            Some("AWSPREVIOUS") => newest.nth(1),
            Some(_) => None,
        };
        match version.filter(|_| body["SecretId"] == SECRET_ARN) {
            Some(version) => {
                let mut reply = version.clone();
                reply["ARN"] = json!(SECRET_ARN);
                reply["Name"] = json!("tokens");
                json_reply(200, &reply)
            }
            None => error_reply(400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret."),
        }
    }
}
