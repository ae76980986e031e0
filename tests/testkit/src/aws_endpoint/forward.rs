//! A backend that passes calls on to a real service.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::{Backend, error_reply};
use crate::http_server::{Reply, Request};

/// The [`Backend`] that is a service behind a URL.
#[derive(Debug)]
pub struct Forward {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
}

impl Forward {
    /// Passes calls on to this URL, such as `http://127.0.0.1:8000`.
    pub fn new(url: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            url: url.trim_end_matches('/').to_owned(),
        }
    }

    async fn send(&self, body: &Value, request: &Request) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        // A body that was not changed is passed on byte for byte.
        let unchanged =
            body.is_null() || serde_json::from_slice::<Value>(&request.body).is_ok_and(|sent| sent == *body);
        let bytes = if unchanged { request.body.clone() } else { body.to_string().into() };
        let mut outgoing = http::Request::builder()
            .method(request.method.clone())
            .uri(format!("{}{}", self.url, request.target))
            .body(Full::new(bytes))?;
        *outgoing.headers_mut() = request.headers.clone();
        for hop in [HOST, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING] {
            outgoing.headers_mut().remove(hop);
        }
        let response = self.client.request(outgoing).await?;
        let (head, body) = response.into_parts();
        let mut reply = Reply::empty(head.status.as_u16());
        reply.body = body.collect().await?.to_bytes();
        for (name, value) in &head.headers {
            if ![CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING].contains(name) {
                reply = reply.header(name.as_str(), value.to_str()?);
            }
        }
        Ok(reply)
    }
}

impl Backend for Forward {
    async fn call(&self, operation: &str, body: &Value, request: &Request) -> Reply {
        self.send(body, request).await.unwrap_or_else(|error| {
            let message = format!("the service behind the test's endpoint failed at {operation}: {error}");
            error_reply(500, "InternalFailure", &message)
        })
    }
}
