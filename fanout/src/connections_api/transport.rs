//! The protocol of calls: HTTP/2, or HTTP/1.1 for an endpoint that does not speak HTTP/2.

use std::{cell::Cell, rc::Rc};

use tokio::time::Instant;

use super::{
    endpoint::Endpoint, http1::Http1Pool, http2::Http2Pool, request::SignedRequest, response::PostResponse,
    transport_error::TransportError,
};
use crate::config::HttpVersion;

/// The connections of both protocols, and which of the two is used.
pub(super) struct Transport {
    version: HttpVersion,
    /// Whether HTTP/2 is used: no more once the endpoint has refused it.
    is_http2: Cell<bool>,
    http1: Http1Pool,
    http2: Http2Pool,
}

impl Transport {
    /// Over TLS the server chooses, unless only HTTP/1.1 is wanted. Without TLS, HTTP/2 is used only where it is asked
    /// for.
    pub(super) fn new(endpoint: Rc<Endpoint>, version: HttpVersion) -> Self {
        let is_http2 = match version {
            HttpVersion::Auto => endpoint.is_tls(),
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
        };
        let (http1, http2) = (Http1Pool::new(endpoint.clone()), Http2Pool::new(endpoint));
        Self { version, is_http2: Cell::new(is_http2), http1, http2 }
    }

    /// Makes a call, until the deadline.
    pub(super) async fn send(
        &self,
        request: &SignedRequest<'_>,
        deadline: Instant,
    ) -> Result<PostResponse, TransportError> {
        if self.is_http2.get() {
            match self.http2.send(request, deadline).await {
                Err(TransportError::Http1Only) => self.fall_back(),
                result => return result,
            }
        }
        self.http1.send(request, deadline).await
    }

    /// Uses HTTP/1.1 from now on.
    fn fall_back(&self) {
        if self.is_http2.replace(false) && self.version == HttpVersion::Http2 {
            tracing::warn!("FANOUT_HTTP_VERSION is 2, but the endpoint speaks HTTP/1.1 only, which is used instead");
        }
    }
}
