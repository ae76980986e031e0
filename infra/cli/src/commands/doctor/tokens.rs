//! The keys of tokens: the secret, or those of the issuer.

use std::time::Duration;

use aws_sdk_secretsmanager::{Client, error::ProvideErrorMetadata};
use ingest::token::{issuer::Issuer, key_cache::KeySource};

use super::{
    finding::{Area, Finding},
    patient::{Patient, unanswered},
};

/// The fewest bytes of a secret: as many as a hash of HS256 has.
const SECRET_BYTES: usize = 32;

/// The time for the issuer's answer.
const WITHIN: Duration = Duration::from_secs(5);

/// Checks the keys of tokens.
pub(super) async fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(arn) = patient.stack.optional_output("AuthSecretArn") {
        findings.push(of_secret(patient, arn).await);
    }
    if let Some(url) = patient.parameter("AuthJwksUrl").filter(|url| !url.is_empty()) {
        findings.push(of_issuer(url).await);
    }
    findings
}

async fn of_secret(patient: &Patient<'_>, arn: &str) -> Finding {
    let subject = "AuthSecret";
    let put = patient
        .aws(&format!("secretsmanager put-secret-value --secret-id {arn} --secret-string \"$(openssl rand -hex 32)\""));
    let client = Client::new(&patient.stack.sdk);
    let secret = match client.get_secret_value().secret_id(arn).send().await {
        Ok(secret) => secret,
        Err(error) if error.code() == Some("ResourceNotFoundException") => {
            let what = "the secret, or its value, is gone: nobody gets in";
            let restore = patient.aws(&format!("secretsmanager restore-secret --secret-id {arn}"));
            return Finding::problem(Area::Tokens, subject, what).remedy(restore);
        }
        Err(error) if error.code() == Some("InvalidRequestException") => {
            let what = "the secret is marked for deletion: nobody gets in once it is read again";
            let restore = patient.aws(&format!("secretsmanager restore-secret --secret-id {arn}"));
            return Finding::problem(Area::Tokens, subject, what).remedy(restore);
        }
        Err(error) => return unanswered(Area::Tokens, subject, error),
    };
    let bytes = secret.secret_string().map(str::len);
    let bytes = bytes.or_else(|| secret.secret_binary().map(|blob| blob.as_ref().len())).unwrap_or_default();
    if bytes < SECRET_BYTES {
        let what = format!("{bytes} bytes, fewer than {SECRET_BYTES}: the authorizer refuses it, and everybody");
        return Finding::problem(Area::Tokens, subject, what).remedy(put);
    }
    Finding::ok(Area::Tokens, subject, "readable, and long enough")
}

async fn of_issuer(url: &str) -> Finding {
    let subject = "AuthJwksUrl";
    let look = format!("curl -sS {url}");
    let problem = |what: String| Finding::problem(Area::Tokens, subject, what).remedy(&look);
    let issuer = match url.parse().map(Issuer::new) {
        Ok(Ok(issuer)) => issuer,
        Ok(Err(error)) => return Finding::skipped(Area::Tokens, subject, format!("cannot be looked at: {error}")),
        Err(error) => return problem(format!("{url} is no URL: {error}")),
    };
    match tokio::time::timeout(WITHIN, issuer.read()).await {
        Ok(Ok(_)) => Finding::ok(Area::Tokens, subject, "the issuer's keys can be read from here"),
        Ok(Err(error)) => problem(format!("the issuer's keys cannot be read from here: {error}")),
        Err(_) => problem(format!("the issuer does not answer within {WITHIN:?}")),
    }
}
