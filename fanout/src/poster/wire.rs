//! One HTTP/1.1 connection, owned by one worker and driven by it: no task of its own, no pool, no locks.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{Connection, SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::HttpVersion;

/// Bytes of a response that are read so that the connection can be used again; with a longer one it is closed.
const DRAINED: usize = 16 * 1024;

/// Where to connect to.
#[derive(Clone)]
pub(super) struct Target {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// The endpoint is no URL that can be connected to.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It has no host, or is no URL at all.
    #[error("{0:?} is no URL of a server")]
    Url(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Target {
    /// The server of an `http` or `https` URL.
    pub(super) fn new(url: &http::Uri, version: HttpVersion) -> Result<Self, TargetError> {
        let invalid = || TargetError::Url(url.to_string());
        let host = url.host().ok_or_else(invalid)?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_https = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let tls = if is_https {
            let name = ServerName::try_from(host.clone()).map_err(|_| invalid())?;
            Some((TlsConnector::from(Arc::new(tls_config(version)?)), name))
        } else {
            None
        };
        Ok(Self { host, port, tls })
    }

    /// Opens an HTTP/1.1 connection.
    pub(super) async fn connect(&self) -> Result<Wire, WireError> {
        let (sender, connection) = handshake(self.open().await?).await?;
        Ok(Wire { sender, connection: Some(Box::pin(connection)), used: false })
    }

    /// Opens a connection for whatever protocol.
    pub(super) async fn open(&self) -> Result<Box<dyn Io>, WireError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // A frame is one small write that nothing follows: waiting for more would only delay it.
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            Some((connector, name)) => Box::new(TokioIo::new(connector.connect(name.clone(), stream).await?)),
            None => Box::new(TokioIo::new(stream)),
        })
    }
}

fn tls_config(version: HttpVersion) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // Certificates that cannot be read are skipped, as the SDK's client does; without any, every handshake fails.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let protocol: &[u8] = match version {
        HttpVersion::Http1 => b"http/1.1",
        HttpVersion::Http2 => b"h2",
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

type Http1 = Connection<Box<dyn Io>, Full<Bytes>>;

pub(super) trait Io: hyper::rt::Read + hyper::rt::Write + Send + Unpin {}

impl<T: hyper::rt::Read + hyper::rt::Write + Send + Unpin> Io for T {}

/// An open connection.
pub(super) struct Wire {
    sender: SendRequest<Full<Bytes>>,
    /// `None` when it is over.
    connection: Option<Pin<Box<Http1>>>,
    used: bool,
}

/// What of a response counts.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<String>,
}

/// The connection broke, or could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// After the response had begun: the server has taken the request.
    #[error(transparent)]
    Midway(hyper::Error),
}

impl Wire {
    /// Whether an exchange has succeeded on it: then the server may have closed it since, which is not known before
    /// it is used again.
    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    /// Whether it can be used again.
    pub(super) fn is_open(&self) -> bool {
        self.connection.is_some() && !self.sender.is_closed()
    }

    /// Sends a request and reads the response to its end.
    pub(super) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, WireError> {
        let Self { sender, connection, used } = self;
        let exchange = async {
            sender.ready().await?;
            read_answer(sender.send_request(request).await?).await
        };
        let answer = drive(connection, exchange).await;
        *used |= answer.is_ok();
        answer
    }
}

/// Reads a response to its end, so that its connection can be used again.
pub(super) async fn read_answer(response: Response<Incoming>) -> Result<Answer, WireError> {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let answer = Answer { status, retry_after: retry_after.map(str::to_owned) };
    let mut body = response.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame.map_err(WireError::Midway)?.data_ref().map_or(0, Bytes::len);
        if read > DRAINED {
            // Dropping the body closes the connection.
            break;
        }
    }
    Ok(answer)
}

/// Drives a connection while an exchange goes on over it. The exchange is polled again right after the connection,
/// which has then mostly brought it what it waits for.
async fn drive<F: Future>(connection: &mut Option<Pin<Box<Http1>>>, exchange: F) -> F::Output {
    let mut exchange = pin!(exchange);
    poll_fn(move |cx| {
        if let Poll::Ready(output) = exchange.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
            // Dropped at once: only then does an exchange that it has not taken up yet, or not finished, learn of its end.
            *connection = None;
        }
        exchange.as_mut().poll(cx)
    })
    .await
}
