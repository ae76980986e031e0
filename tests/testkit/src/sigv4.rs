//! An independent check of AWS Signature Version 4, written from its specification, and a signer for calls of services whose SDK
//! is not at hand.
//!
//! It shares no code with the signer under test: what it accepts, AWS would accept.

mod canonical;
mod hmac;

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::http_server::Request;

/// How far a request's date may be from the server's clock (AWS allows five minutes).
const MAX_SKEW: Duration = Duration::from_mins(5);

/// Long-term or temporary credentials.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: String,
    /// The session token of temporary credentials.
    pub session_token: Option<String>,
}

impl Credentials {
    /// Long-term credentials.
    pub fn new(access_key: &str, secret_key: &str) -> Self {
        Self { access_key: access_key.to_owned(), secret_key: secret_key.to_owned(), session_token: None }
    }

    /// Temporary credentials.
    pub fn temporary(access_key: &str, secret_key: &str, session_token: &str) -> Self {
        Self { session_token: Some(session_token.to_owned()), ..Self::new(access_key, secret_key) }
    }
}

/// What a request must have been signed with and for.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The signer's credentials.
    pub credentials: Credentials,
    /// The region of the scope.
    pub region: String,
    /// The service of the scope: `execute-api`, `dynamodb`, `sqs`, `events`.
    pub service: String,
    /// The server's clock; `None` does not look at the date.
    pub now: Option<SystemTime>,
}

/// Why a signature is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SignatureError {
    /// A header that must be there is missing, or is not text.
    Missing(&'static str),
    /// The `Authorization` header or the date does not have the form that the specification gives it.
    Malformed(String),
    /// Signed with another access key.
    WrongAccessKey(String),
    /// Signed for another date, region or service.
    WrongScope(String),
    /// This header must be signed: `host` and every `x-amz-*` header.
    Unsigned(String),
    /// The session token is missing, or not the one of the credentials.
    WrongSessionToken,
    /// `x-amz-content-sha256` is not the digest of the body.
    WrongPayloadHash,
    /// The date is more than five minutes away from the server's clock.
    Skewed(String),
    /// The signature is another one; the canonical request and the string to sign that were expected.
    Mismatch {
        /// The canonical request that the server made of the request.
        canonical_request: String,
        /// The string to sign made of that.
        string_to_sign: String,
    },
}

impl fmt::Display for SignatureError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(formatter, "the header {name} is missing"),
            Self::Malformed(what) => write!(formatter, "malformed: {what}"),
            Self::WrongAccessKey(key) => write!(formatter, "signed with the access key {key}"),
            Self::WrongScope(scope) => write!(formatter, "signed for the scope {scope}"),
            Self::Unsigned(name) => write!(formatter, "the header {name} is not signed"),
            Self::WrongSessionToken => write!(formatter, "the session token is not the credentials' own"),
            Self::WrongPayloadHash => write!(formatter, "x-amz-content-sha256 is not the digest of the body"),
            Self::Skewed(date) => write!(formatter, "signed at {date}, too far from the clock"),
            Self::Mismatch { canonical_request, string_to_sign } => write!(
                formatter,
                "wrong signature\n-- canonical request:\n{canonical_request}\n-- string to sign:\n{string_to_sign}"
            ),
        }
    }
}

impl std::error::Error for SignatureError {}

/// The parts of `Authorization: AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...`.
struct Authorization<'a> {
    access_key: &'a str,
    scope: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let rest = value.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            match part.trim().split_once('=')? {
                ("Credential", value) => credential = Some(value),
                ("SignedHeaders", value) => signed_headers = Some(value),
                ("Signature", value) => signature = Some(value),
                _ => return None,
            }
        }
        let (access_key, scope) = credential?.split_once('/')?;
        Some(Self { access_key, scope, signed_headers: signed_headers?.split(';').collect(), signature: signature? })
    }
}

/// The access key a request claims to be signed with, checked or not.
pub fn access_key(request: &Request) -> Option<&str> {
    Some(Authorization::parse(request.header("authorization")?)?.access_key)
}

/// Checks a request's signature, and that it covers everything that it must cover.
///
/// # Errors
/// The first thing that AWS would refuse it for.
pub fn verify(request: &Request, expected: &Expected) -> Result<(), SignatureError> {
    let header = request.header("authorization").ok_or(SignatureError::Missing("authorization"))?;
    let authorization = Authorization::parse(header).ok_or_else(|| SignatureError::Malformed(header.to_owned()))?;
    if authorization.access_key != expected.credentials.access_key {
        return Err(SignatureError::WrongAccessKey(authorization.access_key.to_owned()));
    }
    let date = request.header("x-amz-date").ok_or(SignatureError::Missing("x-amz-date"))?;
    let signed_at = parse_date(date).ok_or_else(|| SignatureError::Malformed(date.to_owned()))?;
    let scope = format!("{}/{}/{}/aws4_request", &date[..8], expected.region, expected.service);
    if authorization.scope != scope {
        return Err(SignatureError::WrongScope(authorization.scope.to_owned()));
    }
    check_signed_headers(request, &authorization.signed_headers)?;
    if request.header("x-amz-security-token") != expected.credentials.session_token.as_deref() {
        return Err(SignatureError::WrongSessionToken);
    }
    if let Some(now) = expected.now
        && now.duration_since(signed_at).or_else(|early| Ok::<_, ()>(early.duration())).unwrap() > MAX_SKEW
    {
        return Err(SignatureError::Skewed(date.to_owned()));
    }
    let canonical_request = canonical::request(request, &authorization.signed_headers, &payload_hash(request)?);
    let string_to_sign = string_to_sign(date, &scope, &canonical_request);
    if signature(&expected.credentials, &scope, &string_to_sign) == authorization.signature {
        Ok(())
    } else {
        Err(SignatureError::Mismatch { canonical_request, string_to_sign })
    }
}

/// Signs a request with long-term credentials: its `host`, its `x-amz-date` (`20150830T123600Z`) and its body. The value
/// of its `Authorization`.
pub fn sign(request: &Request, credentials: &Credentials, region: &str, service: &str) -> String {
    let date = request.header("x-amz-date").expect("a date to sign");
    let scope = format!("{}/{region}/{service}/aws4_request", &date[..8]);
    let signed = ["host", "x-amz-date"];
    let canonical_request = canonical::request(request, &signed, &hmac::hex(&hmac::sha256(&request.body)));
    let signature = signature(credentials, &scope, &string_to_sign(date, &scope, &canonical_request));
    let (key, signed) = (&credentials.access_key, signed.join(";"));
    format!("AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={signed}, Signature={signature}")
}

fn string_to_sign(date: &str, scope: &str, canonical_request: &str) -> String {
    format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hmac::hex(&hmac::sha256(canonical_request.as_bytes())))
}

fn signature(credentials: &Credentials, scope: &str, string_to_sign: &str) -> String {
    let mut key = format!("AWS4{}", credentials.secret_key).into_bytes();
    for part in scope.split('/') {
        key = hmac::hmac_sha256(&key, part.as_bytes()).to_vec();
    }
    hmac::hex(&hmac::hmac_sha256(&key, string_to_sign.as_bytes()))
}

fn check_signed_headers(request: &Request, signed: &[&str]) -> Result<(), SignatureError> {
    if !signed.is_sorted() {
        return Err(SignatureError::Malformed(format!("signed headers out of order: {signed:?}")));
    }
    if let Some(absent) = signed.iter().find(|name| !request.headers.contains_key(**name)) {
        return Err(SignatureError::Malformed(format!("signed, but absent: {absent}")));
    }
    let must_be_signed = |name: &&str| *name == "host" || name.starts_with("x-amz-");
    let mut names = request.headers.keys().map(http::HeaderName::as_str);
    match names.find(|name| must_be_signed(name) && !signed.contains(name)) {
        Some(name) => Err(SignatureError::Unsigned(name.to_owned())),
        None if !signed.contains(&"host") => Err(SignatureError::Missing("host")),
        None => Ok(()),
    }
}

fn payload_hash(request: &Request) -> Result<String, SignatureError> {
    let digest = hmac::hex(&hmac::sha256(&request.body));
    match request.header("x-amz-content-sha256") {
        Some("UNSIGNED-PAYLOAD") => Ok("UNSIGNED-PAYLOAD".to_owned()),
        Some(claimed) if claimed != digest => Err(SignatureError::WrongPayloadHash),
        Some(_) | None => Ok(digest),
    }
}

/// Parses `20150830T123600Z`.
fn parse_date(date: &str) -> Option<SystemTime> {
    let bytes = date.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| date.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    // Days since 1970-01-01 of the proleptic Gregorian calendar, with years that begin in March.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = shifted_year * 365 + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (153 * shifted_month + 2) / 5
        + day
        - 1;
    let seconds = (days.checked_sub(719_468)? * 24 + hour) * 3_600 + minute * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
