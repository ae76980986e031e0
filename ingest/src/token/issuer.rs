//! The keys of an issuer: its JWKS document, fetched over HTTPS.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use super::{
    error::TokenError,
    jwks::{JwksError, KeySet},
    key_cache::KeySource,
    signed::{Payload, SignedToken},
};

/// Bytes of a document at most. Those of large issuers have some 10,000.
const DOCUMENT_BYTES: usize = 256 * 1024;

/// The time for which a document is used without fetching it again, if its response does not say.
const LIFETIME: Duration = Duration::from_hours(1);

/// The shortest and the longest time that a response can ask for.
const LIFETIMES: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(24));

/// The place of the document. Each fetch makes a new connection: fetches are minutes to hours apart.
pub struct Issuer {
    uri: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

/// The reason why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// There is no connection, or it broke.
    #[error("{}", chain(.0))]
    Connection(#[from] legacy::Error),
    /// The response is no 200. Redirections are not followed: they could lead anywhere.
    #[error("the response has status {0}")]
    Status(StatusCode),
    /// The response ends too early, or is too large.
    #[error("the response's body has more than {DOCUMENT_BYTES} bytes, or broke off")]
    Body,
    /// The response is no document.
    #[error("the response is of no use: {0}")]
    Document(#[from] JwksError),
}

impl Issuer {
    /// The document at a URL.
    ///
    /// # Errors
    /// When the machine has no certificates to trust.
    pub fn new(uri: Uri) -> io::Result<Self> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let connector = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?;
        let connector = connector.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { uri, client })
    }
}

impl KeySource for Issuer {
    type Keys = KeySet;
    type Error = IssuerError;

    const NAME: &'static str = "JWKS";
    const PAUSE: Duration = Duration::from_secs(30);

    async fn read(&self) -> Result<(KeySet, Duration), IssuerError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
        let response = self.client.request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(IssuerError::Status(response.status()));
        }
        let lifetime = lifetime(response.headers());
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES).collect().await;
        let document = body.map_err(|_| IssuerError::Body)?.to_bytes();
        Ok((KeySet::parse(&document)?, lifetime))
    }

    fn verify(keys: &KeySet, token: &SignedToken<'_>) -> Result<Payload, TokenError> {
        keys.verify(token)
    }
}

/// The response's `max-age`, within bounds.
fn lifetime(headers: &HeaderMap) -> Duration {
    let lines = headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|line| line.to_str().ok());
    let max_age = lines.flat_map(|line| line.split(',')).find_map(|directive| {
        let (name, seconds) = directive.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| seconds.trim_matches('"').parse().ok())?
    });
    max_age.map_or(LIFETIME, |seconds| Duration::from_secs(seconds).clamp(LIFETIMES.0, LIFETIMES.1))
}

/// An error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |told, source| format!("{told}: {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_lives_as_long_as_its_response_says_within_bounds() {
        for (cache_control, seconds) in [
            (None, 3_600),
            (Some("no-store"), 3_600),
            (Some("public, max-age=7200, must-revalidate"), 7_200),
            (Some("Max-Age=\"7200\""), 7_200),
            (Some("s-maxage=7200"), 3_600),
            (Some("max-age=0"), 300),
            (Some("max-age=-1"), 3_600),
            (Some("max-age=31536000"), 86_400),
            (Some("max-age=99999999999999999999999"), 3_600),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = cache_control {
                headers.insert(header::CACHE_CONTROL, value.parse().unwrap());
            }
            assert_eq!(lifetime(&headers), Duration::from_secs(seconds), "{cache_control:?}");
        }
    }
}
