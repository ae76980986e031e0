//! The signature of a call (AWS Signature Version 4).
//!
//! All calls have the same form, so the parts that they share are computed once a second: the key, the beginning of
//! both hashes, and the headers. Only the path and the body's hash are left for each call. `aws-sigv4` can sign any
//! request, but for each of them it spends more time on finding out what it was given than the rest of the call takes.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_smithy_types::date_time::{DateTime, Format};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// The service's name for signing.
const SERVICE: &str = "execute-api";

/// The body's type. It is signed, as the SDK does.
pub(super) const OCTETS: &str = "application/octet-stream";

/// Characters of a path that are escaped in the canonical request: the `%` of the path's own escapes is among them, so
/// those are escaped twice.
const CANONICAL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The endpoint that signatures are for.
pub(super) struct Scope {
    pub(super) region: String,
    /// The host as it is sent.
    pub(super) host: String,
    /// The beginning of all calls' paths.
    pub(super) path: String,
}

/// The HTTP method of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Post,
    Delete,
}

impl Method {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// A signature's hexadecimal digits.
pub(super) type Signature = [u8; 64];

/// The parts that the signatures of all calls within one second share.
pub(super) struct SigningContext {
    pub(super) second: u64,
    /// `x-amz-date`.
    pub(super) date: HeaderValue,
    /// `x-amz-security-token`.
    pub(super) token: Option<HeaderValue>,
    /// The part of `authorization` before the signature.
    pub(super) authorization: HeaderValue,
    /// The part of an HTTP/1.1 request between the path and the signature.
    pub(super) http1_headers: Vec<u8>,
    /// The length of the path's beginning, which `post` and `delete` contain.
    path_len: usize,
    /// The hash of the canonical request up to the connection's id, for a post and for a delete.
    post: Sha256,
    delete: Sha256,
    /// The part of the canonical request between the path and the body's hash.
    canonical_headers: Vec<u8>,
    /// The HMAC of the string to sign, up to the hash of the canonical request.
    string_to_sign: Hmac<Sha256>,
}

impl SigningContext {
    /// A context for the calls of one second. `None` when `second` is no date, or when the credentials cannot stand in
    /// a header.
    pub(super) fn new(credentials: &Credentials, scope: &Scope, second: u64) -> Option<Self> {
        let date = compact(second)?;
        let day = &date[..8];
        let Scope { region, host, path } = scope;
        let credential_scope = format!("{day}/{region}/{SERVICE}/aws4_request");
        let (token_line, token_name) = match credentials.session_token() {
            Some(token) => (format!("x-amz-security-token:{token}\n"), ";x-amz-security-token"),
            None => (String::new(), ""),
        };
        let signed_headers = format!("content-type;host;x-amz-date{token_name}");
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{credential_scope}, SignedHeaders={signed_headers}, Signature=",
            credentials.access_key_id()
        );
        let http1_headers = format!(
            " HTTP/1.1\r\nhost: {host}\r\ncontent-type: {OCTETS}\r\nx-amz-date: {date}\r\n{}authorization: {authorization}",
            token_line.replace('\n', "\r\n")
        );
        let secret = format!("AWS4{}", credentials.secret_access_key());
        let key = [day, region, SERVICE, "aws4_request"]
            .iter()
            .try_fold(secret.into_bytes(), |key, part| Some(keyed(&key, part)?.finalize().into_bytes().to_vec()))?;
        let begun = |method: Method| {
            let begin = format!("{}\n{}", method.name(), utf8_percent_encode(path, CANONICAL));
            Sha256::new().chain_update(begin)
        };
        Some(Self {
            second,
            token: credentials.session_token().map(HeaderValue::from_str).transpose().ok()?,
            authorization: HeaderValue::try_from(authorization).ok()?,
            http1_headers: http1_headers.into(),
            path_len: path.len(),
            post: begun(Method::Post),
            delete: begun(Method::Delete),
            // After the path comes the query, which is empty.
            canonical_headers: format!(
                "\n\ncontent-type:{OCTETS}\nhost:{host}\nx-amz-date:{date}\n{token_line}\n{signed_headers}\n"
            )
            .into(),
            string_to_sign: keyed(&key, &format!("AWS4-HMAC-SHA256\n{date}\n{credential_scope}\n"))?,
            date: HeaderValue::try_from(date).ok()?,
        })
    }

    /// The signature of a call. `path` begins with the scope's path; the rest of it is escaped for a URL.
    pub(super) fn sign(&self, method: Method, path: &str, body_sha256: &str) -> Signature {
        let mut request = match method {
            Method::Post => self.post.clone(),
            Method::Delete => self.delete.clone(),
        };
        // The escapes of the path are escaped once more.
        let mut parts = path.get(self.path_len..).unwrap_or_default().split('%');
        request.update(parts.next().unwrap_or_default());
        for part in parts {
            request.update("%25");
            request.update(part);
        }
        request.update(&self.canonical_headers);
        request.update(body_sha256);
        let to_sign = self.string_to_sign.clone().chain_update(digits(&request.finalize().into()));
        digits(&to_sign.finalize().into_bytes().into())
    }
}

/// An HMAC with a key, fed with the first part of its message. A key of any length will do.
fn keyed(key: &[u8], first: &str) -> Option<Hmac<Sha256>> {
    Some(Hmac::<Sha256>::new_from_slice(key).ok()?.chain_update(first))
}

/// The current time, in seconds since the Unix epoch.
pub(super) fn unix_second() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A time as signatures have it, such as `20261121T024500Z`.
fn compact(second: u64) -> Option<String> {
    let date = DateTime::from_secs(i64::try_from(second).ok()?).fmt(Format::DateTime).ok()?;
    Some(date.replace(['-', ':'], ""))
}

/// A hash in hexadecimal digits.
fn digits(hash: &[u8; 32]) -> Signature {
    let mut digits = [0; 64];
    // It fits: there are two digits for each byte.
    let _ = hex::encode_to_slice(hash, &mut digits);
    digits
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sigv4::{
        http_request::{SignableBody, SignableRequest, SigningSettings, sign},
        sign::v4::SigningParams,
    };
    use proptest::prelude::*;

    use super::*;

    const BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// The headers that `aws-sigv4` adds to a call.
    fn reference(credentials: &Credentials, method: Method, url: &str, second: u64) -> Vec<(String, String)> {
        let identity = credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name(SERVICE)
            .time(UNIX_EPOCH + Duration::from_secs(second))
            .settings(SigningSettings::default())
            .build()
            .unwrap();
        let headers = [("content-type", OCTETS)];
        let body = SignableBody::Precomputed(BODY.to_owned());
        let request = SignableRequest::new(method.name(), url, headers.into_iter(), body).unwrap();
        let (instructions, _) = sign(request, &params.into()).unwrap().into_parts();
        instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    proptest! {
        #[test]
        fn calls_are_signed_as_aws_sigv4_signs_them(
            second in 0_u64..4_000_000_000,
            secret in "[ -~]{1,100}",
            token in prop::option::of("[!-~]{1,200}"),
            ids in prop::collection::vec("(%3D|%2F|%2B|[A-Za-z0-9_~-]){1,20}", 3),
            method in prop::sample::select(vec![Method::Post, Method::Delete]),
        ) {
            let credentials = Credentials::new("AKID", secret, token, None, "test");
            let path = "/live/@connections/".to_owned();
            let scope = Scope { region: "eu-west-1".to_owned(), host: "host:8080".to_owned(), path };
            let context = SigningContext::new(&credentials, &scope, second).unwrap();
            let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
            // All of them start from the same state of the hashes.
            for id in ids {
                let path = format!("/live/@connections/{id}");
                let signature = context.sign(method, &path, BODY);
                let authorization = text(&context.authorization) + str::from_utf8(&signature).unwrap();
                let mut headers =
                    vec![("x-amz-date".to_owned(), text(&context.date)), ("authorization".to_owned(), authorization)];
                headers.extend(context.token.as_ref().map(|token| ("x-amz-security-token".to_owned(), text(token))));
                let url = format!("https://host:8080{path}");
                prop_assert_eq!(headers, reference(&credentials, method, &url, second));
            }
        }
    }

    #[test]
    fn credentials_that_would_break_out_of_a_header_cannot_sign() {
        let scope = Scope { region: "eu-west-1".to_owned(), host: "host".to_owned(), path: "/".to_owned() };
        let context = |key: &str, token: Option<&str>| {
            let credentials = Credentials::new(key, "secret", token.map(str::to_owned), None, "test");
            SigningContext::new(&credentials, &scope, 0)
        };
        assert!(context("AKID", Some("token")).is_some());
        assert!(context("AKID\r\nx: y", None).is_none());
        assert!(context("AKID", Some("token\r\nx: y")).is_none());
    }
}
