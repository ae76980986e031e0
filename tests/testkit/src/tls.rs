//! TLS with a certificate for `localhost` of its own making.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Takes connections over TLS.
pub(crate) struct Tls(TlsAcceptor);

impl Tls {
    /// Makes a certificate and writes it to a file, for clients to trust. The protocols are offered in this order, the
    /// preferred one first.
    pub(crate) fn start(certificate: &Path, protocols: &[&str]) -> io::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .map_err(io::Error::other)?;
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        std::fs::write(certificate, made.cert.pem())?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands; returns also whether the client speaks HTTP/2.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, bool)> {
        let stream = self.0.accept(stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((stream, is_http2))
    }
}

/// TLS in front of a plain server; dropping it closes every connection.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    /// The certificate's file: `SSL_CERT_FILE` for clients that are to trust it.
    pub certificate: PathBuf,
    serving: JoinHandle<()>,
}

impl TlsFront {
    /// Starts on a free port, in front of the server at this address.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let certificate = std::env::temp_dir().join(format!("roomcast-test-{}.pem", address.port()));
        let tls = Arc::new(Tls::start(&certificate, &[]).unwrap());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tls = Arc::clone(&tls);
                tokio::spawn(async move {
                    // A client that does not trust the certificate ends the handshake.
                    let Ok((mut outside, _)) = tls.accept(stream).await else { return };
                    let mut inside = TcpStream::connect(server).await.unwrap();
                    // Either side may go away first.
                    let _ = copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
        Self { address, certificate, serving }
    }

    /// `https://localhost:{port}`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.serving.abort();
        // A file that cannot be removed does no harm.
        let _ = std::fs::remove_file(&self.certificate);
    }
}
