//! The signature of a post (AWS Signature Version 4).
//!
//! All posts have the same form, so what they have in common is made ready once a second, the key included; what is left
//! for each is its path and its body's hash. `aws-sigv4` can sign any request, and spends more time on finding out what
//! it has been given, for every post anew, than the rest of the post takes. The keys and the signatures are its own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use aws_smithy_types::date_time::{DateTime, Format};
use http::HeaderValue;
use sha2::{Digest, Sha256};

/// The service's name for signing.
const SERVICE: &str = "execute-api";

/// The body's type. Signed, as the SDK does.
pub(super) const OCTETS: &str = "application/octet-stream";

/// What the signatures of all posts of one second have in common.
pub(super) struct Stamp {
    second: u64,
    /// `x-amz-date`.
    pub(super) date: HeaderValue,
    /// `x-amz-security-token`.
    pub(super) token: Option<HeaderValue>,
    key: Vec<u8>,
    /// Of the canonical request, what stands between the path and the body's hash.
    canonical_headers: String,
    /// Of the string to sign, what stands before the canonical request's hash.
    preamble: String,
    /// Of `authorization`, what stands before the signature.
    authorization: String,
}

impl Stamp {
    /// For posts to a host. `None` when there is no such date, or when the token cannot stand in a header.
    pub(super) fn new(credentials: &Credentials, region: &str, host: &str, second: u64) -> Option<Self> {
        let date = compact(second)?;
        let day = &date[..8];
        let scope = format!("{day}/{region}/{SERVICE}/aws4_request");
        let (token_line, token_name) = match credentials.session_token() {
            Some(token) => (format!("x-amz-security-token:{token}\n"), ";x-amz-security-token"),
            None => (String::new(), ""),
        };
        let signed_headers = format!("content-type;host;x-amz-date{token_name}");
        let time = UNIX_EPOCH + Duration::from_secs(second);
        let key = generate_signing_key(credentials.secret_access_key(), time, region, SERVICE);
        let token = credentials.session_token().map(HeaderValue::from_str).transpose().ok()?;
        Some(Self {
            second,
            token: token.map(sensitive),
            key: key.as_ref().to_vec(),
            // After the path comes the query, which is empty.
            canonical_headers: format!(
                "\n\ncontent-type:{OCTETS}\nhost:{host}\nx-amz-date:{date}\n{token_line}\n{signed_headers}\n"
            ),
            preamble: format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n"),
            authorization: format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed_headers}, Signature=",
                credentials.access_key_id()
            ),
            date: HeaderValue::from_str(&date).ok()?,
        })
    }

    /// Whether it is good for posts made now.
    pub(super) fn is_of(&self, second: u64) -> bool {
        self.second == second
    }

    /// The `authorization` of a post. `canonical_path` is the request's path with every character escaped that is not
    /// unreserved or `/`; the escapes of the path itself once more.
    pub(super) fn authorization(&self, canonical_path: &str, body_sha256: &str) -> Option<HeaderValue> {
        let request = Sha256::new()
            .chain_update("POST\n")
            .chain_update(canonical_path)
            .chain_update(&self.canonical_headers)
            .chain_update(body_sha256)
            .finalize();
        let to_sign = [self.preamble.as_bytes(), &hex(&request)].concat();
        let signature = calculate_signature(&self.key, &to_sign);
        HeaderValue::try_from([self.authorization.as_str(), &signature].concat()).ok()
    }
}

/// The Unix second that it is.
pub(super) fn unix_second() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// `20261121T024500Z`.
fn compact(second: u64) -> Option<String> {
    let date = DateTime::from_secs(i64::try_from(second).ok()?).fmt(Format::DateTime).ok()?;
    Some(date.replace(['-', ':'], ""))
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn hex(hash: &[u8]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 64];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    digits
}

#[cfg(test)]
mod tests {
    use aws_sigv4::{
        http_request::{SignableBody, SignableRequest, SigningSettings, sign},
        sign::v4::SigningParams,
    };
    use proptest::prelude::*;

    use super::*;

    const BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// The headers that `aws-sigv4` adds to a post.
    fn reference(credentials: &Credentials, url: &str, second: u64) -> Vec<(String, String)> {
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
        let request = SignableRequest::new("POST", url, headers.into_iter(), body).unwrap();
        let (instructions, _) = sign(request, &params.into()).unwrap().into_parts();
        instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    proptest! {
        #[test]
        fn posts_are_signed_as_aws_sigv4_signs_them(
            second in 0_u64..4_000_000_000,
            secret in "[ -~]{1,40}",
            token in prop::option::of("[!-~]{1,200}"),
            id in "[A-Za-z0-9_~-]{1,20}",
        ) {
            let credentials = Credentials::new("AKID", secret, token, None, "test");
            let stamp = Stamp::new(&credentials, "eu-west-1", "host:8080", second).unwrap();
            let authorization = stamp.authorization(&format!("/live/%40connections/{id}%253D"), BODY).unwrap();
            let mut headers = vec![
                ("x-amz-date".to_owned(), stamp.date.to_str().unwrap().to_owned()),
                ("authorization".to_owned(), authorization.to_str().unwrap().to_owned()),
            ];
            let token = stamp.token.as_ref().map(|token| token.to_str().unwrap().to_owned());
            headers.extend(token.map(|token| ("x-amz-security-token".to_owned(), token)));
            let url = format!("https://host:8080/live/@connections/{id}%3D");
            prop_assert_eq!(headers, reference(&credentials, &url, second));
        }
    }
}
