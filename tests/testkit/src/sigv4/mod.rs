//! A check of AWS Signature Version 4: a received request is signed again by `aws-sigv4`, and the signatures are
//! compared.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_types::date_time::{DateTime, Format};

use crate::http_server::Request;

/// The greatest difference between a request's date and the server's clock (AWS allows five minutes).
const MAX_SKEW: Duration = Duration::from_mins(5);

/// The credentials and the scope that a request must have been signed with.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The signer's credentials.
    pub credentials: Credentials,
    /// The region of the scope.
    pub region: String,
    /// The service of the scope: `execute-api`, `dynamodb`, `sqs`, `events`.
    pub service: String,
    /// The server's clock; `None` means that the date is not checked.
    pub now: Option<SystemTime>,
}

/// The reason why a signature is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SignatureError {
    /// This header is missing, or has another form than the specification gives it.
    Malformed(&'static str),
    /// The date is more than five minutes away from the server's clock.
    Skewed(String),
    /// A header that signing adds has another value: `authorization` with another key, scope or signature or with other
    /// signed headers, the token, or the digest of the body.
    Mismatch {
        /// The header's name.
        header: String,
        /// The header as it came.
        received: Option<String>,
        /// The header as it must be.
        expected: String,
    },
}

/// The access key a request claims to be signed with, checked or not.
pub fn access_key(request: &Request) -> Option<&str> {
    let (_, credential) = request.header("authorization")?.split_once("Credential=")?;
    Some(credential.split_once('/')?.0)
}

/// Checks a request's signature, and that it covers the body, the host and every `x-amz-*` header.
///
/// # Errors
/// The first reason for which AWS would refuse it.
pub fn verify(request: &Request, expected: &Expected) -> Result<(), SignatureError> {
    let authorization = request.header("authorization").ok_or(SignatureError::Malformed("authorization"))?;
    let date = request.header("x-amz-date").ok_or(SignatureError::Malformed("x-amz-date"))?;
    let signed_at = parse_date(date).ok_or(SignatureError::Malformed("x-amz-date"))?;
    if let Some(now) = expected.now
        && now.duration_since(signed_at).unwrap_or_else(|early| early.duration()) > MAX_SKEW
    {
        return Err(SignatureError::Skewed(date.to_owned()));
    }
    for (header, expected) in signing_headers(request, authorization, signed_at, expected) {
        let received = request.header(&header).map(str::to_owned);
        if received.as_ref() != Some(&expected) {
            return Err(SignatureError::Mismatch { header, received, expected });
        }
    }
    Ok(())
}

/// The headers that signing adds to the request. Which other headers are signed is the client's choice.
fn signing_headers(
    request: &Request,
    authorization: &str,
    signed_at: SystemTime,
    expected: &Expected,
) -> Vec<(String, String)> {
    let (_, signed) = authorization.split_once("SignedHeaders=").unwrap_or_default();
    let signed: Vec<_> = signed.split(',').next().unwrap_or_default().split(';').collect();
    let is_signed = |name: &str| name == "host" || name.starts_with("x-amz-") || signed.contains(&name);
    let headers = request.headers.iter().filter(|(name, _)| is_signed(name.as_str()));
    // The token is taken from the credentials, not from the request.
    let headers = headers.filter(|(name, _)| *name != "x-amz-security-token");
    let mut settings = SigningSettings::default();
    if request.headers.contains_key("x-amz-content-sha256") {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let identity = expected.credentials.clone().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(&expected.region)
        .name(&expected.service)
        .time(signed_at)
        .settings(settings)
        .build()
        .unwrap();
    let url = format!("http://{}{}", request.header("host").unwrap_or_default(), request.target);
    let headers = headers.map(|(name, value)| (name.as_str(), str::from_utf8(value.as_bytes()).unwrap()));
    let signable =
        SignableRequest::new(request.method.as_str(), url, headers, SignableBody::Bytes(&request.body)).unwrap();
    let (instructions, _) = sign(signable, &params.into()).unwrap().into_parts();
    instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Parses `20150830T123600Z`.
fn parse_date(date: &str) -> Option<SystemTime> {
    let part = |from: usize, to: usize| date.get(from..to);
    let (day, time) = ([part(0, 4)?, part(4, 6)?, part(6, 8)?], [part(9, 11)?, part(11, 13)?, part(13, 16)?]);
    let date = format!("{}T{}", day.join("-"), time.join(":"));
    DateTime::from_str(&date, Format::DateTime).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
