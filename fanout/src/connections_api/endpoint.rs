//! The endpoint of the API: where it is, and how connections to it are opened.

use std::{io, sync::Arc, time::Duration};

use http::{
    Uri,
    uri::{Authority, InvalidUri, Scheme},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use shared::ConnectionId;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Characters of a connection id that are escaped in a URL: all but the "unreserved" ones of RFC 3986. Ids are base64,
/// whose `=`, `+` and `/` are escaped.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The @connections API of one stage.
pub(super) struct Endpoint {
    pub(super) scheme: Scheme,
    /// The host as it is sent and signed: with its port, unless that is the scheme's own.
    pub(super) authority: Authority,
    /// `/stage/@connections/`
    pub(super) path: String,
    host: String,
    port: u16,
    tls: Option<Tls>,
    /// Time for opening a connection.
    pub(super) timeout: Duration,
}

struct Tls {
    name: ServerName<'static>,
    http1: TlsConnector,
    any: TlsConnector,
}

/// The protocols that are offered to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, and HTTP/1.1 for a server that does not speak it. Without TLS there is no negotiation, and HTTP/2 is
    /// taken for granted.
    Any,
}

/// The reason why an endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It is no URL.
    #[error("CONNECTIONS_ENDPOINT {0}")]
    Url(#[from] InvalidUri),
    /// It is a URL, but names no server.
    #[error("CONNECTIONS_ENDPOINT {0:?} is no URL of a server")]
    NoServer(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("no connection could be opened: {0}")]
    Io(#[from] io::Error),
    #[error("no connection was open in time")]
    TimedOut,
    #[error("no HTTP/2 session could be opened: {0}")]
    Http2(#[from] h2::Error),
}

/// An open connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection, and whether the server has chosen HTTP/2 for it.
pub(super) struct Connected {
    pub(super) stream: Box<dyn Stream>,
    pub(super) is_http2: bool,
}

impl Endpoint {
    /// Reads an `http` or `https` URL that ends with the API's stage; `timeout` is the time for opening a connection.
    pub(super) fn new(url: &str, timeout: Duration) -> Result<Self, EndpointError> {
        let no_server = || EndpointError::NoServer(url.to_owned());
        let uri: Uri = url.parse()?;
        let literal = uri.host().ok_or_else(no_server)?;
        let host = literal.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_https = uri.scheme_str() == Some("https");
        let default_port = if is_https { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);
        let authority =
            if port == default_port { Authority::try_from(literal)? } else { format!("{literal}:{port}").parse()? };
        let tls = if is_https {
            let name = ServerName::try_from(host.clone()).map_err(|_| no_server())?;
            let config = tls_config()?;
            Some(Tls { name, http1: offering(&config, &[HTTP_1_1]), any: offering(&config, &[H2, HTTP_1_1]) })
        } else {
            None
        };
        Ok(Self {
            scheme: if is_https { Scheme::HTTPS } else { Scheme::HTTP },
            authority,
            path: format!("{}/@connections/", uri.path().trim_end_matches('/')),
            host,
            port,
            tls,
            timeout,
        })
    }

    /// Whether connections are made over TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The path of calls about a connection.
    pub(super) fn path_of(&self, connection: &ConnectionId) -> String {
        // An escaped character takes three; the ids that API Gateway makes have one or two of them.
        let mut path = String::with_capacity(self.path.len() + connection.as_str().len() + 8);
        path.push_str(&self.path);
        path.extend(utf8_percent_encode(connection.as_str(), ENCODED));
        path
    }

    /// Opens a connection, or fails after `timeout`.
    pub(super) async fn connect(&self, offer: Offer) -> Result<Connected, ConnectError> {
        timeout(self.timeout, self.open(offer)).await.map_err(|_| ConnectError::TimedOut)?
    }

    async fn open(&self, offer: Offer) -> Result<Connected, ConnectError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // A frame is one small write that nothing follows: Nagle's algorithm would only delay it.
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Connected { stream: Box::new(stream), is_http2: offer == Offer::Any });
        };
        let connector = match offer {
            Offer::Http1 => &tls.http1,
            Offer::Any => &tls.any,
        };
        let stream = connector.connect(tls.name.clone(), stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        Ok(Connected { stream: Box::new(stream), is_http2 })
    }
}

fn tls_config() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // Certificates that cannot be read are skipped, as the SDK's client does; without any, every handshake fails.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// A connector that offers these protocols by ALPN.
fn offering(config: &ClientConfig, protocols: &[&[u8]]) -> TlsConnector {
    let mut config = config.clone();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::new(url, Duration::from_secs(1))
    }

    #[test]
    fn the_authority_leaves_out_the_port_that_goes_without_saying() {
        for (url, authority, port) in [
            ("https://api.example/live", "api.example", 443),
            ("https://api.example:443/live", "api.example", 443),
            ("https://api.example:80/live", "api.example:80", 80),
            ("http://127.0.0.1:8080/live", "127.0.0.1:8080", 8080),
            ("http://[::1]/live", "[::1]", 80),
        ] {
            let endpoint = endpoint(url).unwrap();
            assert_eq!((endpoint.authority.as_str(), endpoint.port), (authority, port), "{url}");
        }
    }

    #[test]
    fn ids_are_escaped_below_the_path_of_the_stage() {
        let path = |url, id| endpoint(url).unwrap().path_of(&ConnectionId::new(id));
        assert_eq!(path("http://h/live", "L0SM9cOFvHcCIhw="), "/live/@connections/L0SM9cOFvHcCIhw%3D");
        assert_eq!(path("http://h/a/b/", "a+b/c~"), "/a/b/@connections/a%2Bb%2Fc~");
        assert_eq!(path("http://h", "c"), "/@connections/c");
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        assert!(matches!(endpoint("/live"), Err(EndpointError::NoServer(_))));
        assert!(matches!(endpoint("http://a b"), Err(EndpointError::Url(_))));
    }
}
