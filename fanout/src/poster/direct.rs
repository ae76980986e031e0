//! The poster that the function uses: a signed request straight onto a connection that its worker owns. It costs a
//! fraction of the stock client's time, which spends most of its on what a fan-out has no use for: endpoint rules, a retry
//! strategy, an interceptor chain and a connection pool for each call.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use shared::ConnectionId;
use tokio::time::{Instant, timeout};

use super::{
    Lane, Poster,
    multiplexed::Multiplexed,
    sdk::SdkPoster,
    signature::OCTETS,
    signer::{Held, Signer},
    wire::{Answer, Target, TargetError, Wire, WireError},
};
use crate::{
    config::HttpVersion,
    encode::Frame,
    outcome::{Misconfiguration, Outcome},
};

/// Characters of a connection id that stand in a URL as they are (RFC 3986, "unreserved"); base64's `=`, `+` and `/` do not.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Characters of a path that stand in what is signed as they are: there, a path's own escapes are escaped once more.
const CANONICAL: &AsciiSet = &ENCODED.remove(b'/');

const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// How long a connection may have been idle. A server that has closed it since may not have been heard: each post over it
/// would wait for its whole time.
const IDLE: Duration = Duration::from_secs(30);

/// Broken connections are told of once in this time.
const TELL: Duration = Duration::from_secs(10);

/// Posts signed requests directly.
pub struct DirectPoster {
    shared: Rc<Shared>,
    idle: RefCell<Vec<(DirectLane, SystemTime)>>,
    lanes: Cell<usize>,
    reference: SdkPoster,
}

/// What all lanes share.
struct Shared {
    target: Target,
    signer: Signer,
    timeout: Duration,
    /// The connections, where workers share them.
    multiplexed: Option<Multiplexed>,
    /// `https://host`
    origin: String,
    host: HeaderValue,
    /// `/stage/@connections/`
    path: String,
    /// The same as it is signed.
    canonical_path: String,
    told: Cell<Option<Instant>>,
}

/// One worker's connection, or its part of one.
pub struct DirectLane {
    shared: Rc<Shared>,
    number: usize,
    wire: Option<Wire>,
}

/// Why there is no poster.
#[derive(Debug, thiserror::Error)]
pub enum DirectError {
    /// The endpoint is no URL.
    #[error("CONNECTIONS_ENDPOINT {0}")]
    Url(#[from] http::uri::InvalidUri),
    /// The endpoint's host is no header value.
    #[error("CONNECTIONS_ENDPOINT {0}")]
    Host(#[from] http::header::InvalidHeaderValue),
    /// The endpoint cannot be connected to.
    #[error("CONNECTIONS_ENDPOINT {0}")]
    Target(#[from] TargetError),
    /// The SDK's configuration has no credentials provider.
    #[error("there is no credentials provider")]
    Credentials,
}

impl DirectPoster {
    /// A poster to an @connections endpoint; each attempt has `timeout`.
    ///
    /// # Errors
    /// When the endpoint is no URL of a server, or there is nobody to ask for credentials.
    pub fn new(
        sdk: &SdkConfig,
        region: &str,
        endpoint: &str,
        timeout: Duration,
        version: HttpVersion,
    ) -> Result<Self, DirectError> {
        let url: Uri = endpoint.parse()?;
        let provider = sdk.credentials_provider().ok_or(DirectError::Credentials)?;
        let target = Target::new(&url, version)?;
        let scheme = url.scheme_str().unwrap_or("http");
        let host = match (url.host().unwrap_or_default(), url.port_u16(), scheme) {
            (host, None, _) | (host, Some(443), "https") | (host, Some(80), "http") => host.to_owned(),
            (host, Some(port), _) => format!("{host}:{port}"),
        };
        let path = format!("{}/@connections/", url.path().trim_end_matches('/'));
        let shared = Shared {
            target,
            signer: Signer::new(provider, region, &host),
            timeout,
            multiplexed: (version == HttpVersion::Http2).then(Multiplexed::default),
            origin: format!("{scheme}://{host}"),
            host: HeaderValue::from_str(&host)?,
            canonical_path: utf8_percent_encode(&path, CANONICAL).to_string(),
            told: Cell::new(None),
            path,
        };
        let reference = SdkPoster::new(sdk, endpoint, timeout);
        Ok(Self { shared: Rc::new(shared), idle: RefCell::default(), lanes: Cell::new(0), reference })
    }
}

impl Poster for DirectPoster {
    type Lane = DirectLane;

    fn lane(&self) -> DirectLane {
        let Some((mut lane, since)) = self.idle.borrow_mut().pop() else {
            let number = self.lanes.get();
            self.lanes.set(number + 1);
            return DirectLane { shared: self.shared.clone(), number, wire: None };
        };
        if since.elapsed().is_ok_and(|idle| idle > IDLE) {
            lane.wire = None;
        }
        lane
    }

    fn put_back(&self, lane: DirectLane) {
        // The wall clock: an environment is frozen between invocations, and other clocks may be with it.
        self.idle.borrow_mut().push((lane, SystemTime::now()));
    }

    async fn close(&self, connection: &ConnectionId) -> Outcome {
        self.reference.close(connection).await
    }
}

impl Lane for DirectLane {
    async fn post(&mut self, connection: &ConnectionId, frame: &Frame) -> Outcome {
        let shared = self.shared.clone();
        // Taken out: when the attempt is dropped half-way, its connection is of no more use.
        let wire = self.wire.take();
        match timeout(shared.timeout, shared.post(self.number, wire, connection, frame)).await {
            Ok((wire, outcome)) => {
                self.wire = wire.filter(Wire::is_open);
                outcome
            }
            Err(_) => Outcome::TimedOut,
        }
    }
}

impl Shared {
    async fn post(
        &self,
        lane: usize,
        wire: Option<Wire>,
        connection: &ConnectionId,
        frame: &Frame,
    ) -> (Option<Wire>, Outcome) {
        let mut wire = wire;
        let mut replaced = false;
        loop {
            let Ok(held) = self.signer.credentials().await else {
                return (wire, Outcome::Misconfigured(Misconfiguration::Credentials));
            };
            let Some(request) = self.request(&held, connection, frame) else {
                return (wire, Outcome::Rejected);
            };
            let answer = if let Some(connections) = &self.multiplexed {
                connections.exchange(&self.target, lane, request).await
            } else {
                let (used, answer) = self.exchange(wire.take(), request).await;
                wire = used;
                answer
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    self.tell(&error);
                    return (None, Outcome::Failed);
                }
            };
            let outcome = Outcome::of_response(answer.status.as_u16(), answer.retry_after.as_deref());
            // Credentials can be revoked before they expire: once, others are tried.
            let is_refused = outcome == Outcome::Misconfigured(Misconfiguration::Forbidden);
            if !is_refused || replaced || !self.signer.replace(&held).await {
                return (wire, outcome);
            }
            replaced = true;
        }
    }

    /// A signed request; `None` when the connection id cannot stand in one.
    fn request(&self, held: &Held, connection: &ConnectionId, frame: &Frame) -> Option<Request<Full<Bytes>>> {
        let id = utf8_percent_encode(connection.as_str(), ENCODED).to_string();
        let stamp = self.signer.stamp(held)?;
        let canonical_path = [self.canonical_path.as_str(), &id.replace('%', "%25")].concat();
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(OCTETS));
        headers.insert(X_AMZ_DATE, stamp.date.clone());
        headers.insert(AUTHORIZATION, stamp.authorization(&canonical_path, frame.sha256())?);
        if let Some(token) = &stamp.token {
            headers.insert(X_AMZ_SECURITY_TOKEN, token.clone());
        }
        let uri = if self.multiplexed.is_some() {
            // HTTP/2 takes scheme and host from here.
            [self.origin.as_str(), &self.path, &id].concat()
        } else {
            headers.insert(HOST, self.host.clone());
            [self.path.as_str(), &id].concat()
        };
        let mut request = Request::new(Full::new(frame.body().clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::try_from(uri).ok()?;
        *request.headers_mut() = headers;
        Some(request)
    }

    /// Tells the operator why posts fail: of an endpoint that cannot be reached nothing else would tell.
    fn tell(&self, error: &WireError) {
        if self.told.get().is_none_or(|told| told.elapsed() > TELL) {
            self.told.set(Some(Instant::now()));
            tracing::warn!(%error, endpoint = self.origin, "a connection to the endpoint failed");
        }
    }

    /// Sends a request over the lane's connection, or over a new one. Servers close connections that were idle; a
    /// request that meets one of those is sent again at once, which is safe: clients drop frames that they have seen.
    async fn exchange(
        &self,
        wire: Option<Wire>,
        request: Request<Full<Bytes>>,
    ) -> (Option<Wire>, Result<Answer, WireError>) {
        if let Some(mut wire) = wire.filter(Wire::is_open) {
            let answer = wire.exchange(request.clone()).await;
            if matches!(answer, Ok(_) | Err(WireError::Midway(_))) || !wire.is_used() {
                return (Some(wire), answer);
            }
        }
        match self.target.connect().await {
            Ok(mut wire) => {
                let answer = wire.exchange(request).await;
                (Some(wire), answer)
            }
            Err(error) => (None, Err(error)),
        }
    }
}
