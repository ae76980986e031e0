//! A signed call in the form of its protocol.

use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE},
    uri::{Parts, PathAndQuery},
};

use super::{
    endpoint::Endpoint,
    signature::{Method, OCTETS, Signature, SigningContext},
};

const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// A call that is ready to be sent.
pub(super) struct SignedRequest<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: &'a Bytes,
    pub(super) context: Rc<SigningContext>,
    pub(super) signature: Signature,
}

impl SignedRequest<'_> {
    /// Writes the head of an HTTP/1.1 request.
    pub(super) fn write_http1_head(&self, head: &mut Vec<u8>) {
        let length = self.body.len().to_string();
        let parts: [&[u8]; 8] = [
            self.method.name().as_bytes(),
            b" ",
            self.path.as_bytes(),
            &self.context.http1_headers,
            &self.signature,
            b"\r\ncontent-length: ",
            length.as_bytes(),
            b"\r\n\r\n",
        ];
        for part in parts {
            head.extend_from_slice(part);
        }
    }

    /// The head of an HTTP/2 request; `None` when its path is too long for one. HPACK sends the date and the session
    /// token only once, since they stay the same from call to call; the authorization is another one each time.
    pub(super) fn http2_head(&self, endpoint: &Endpoint) -> Option<Request<()>> {
        let context = &self.context;
        let mut uri = Parts::default();
        uri.scheme = Some(endpoint.scheme.clone());
        uri.authority = Some(endpoint.authority.clone());
        uri.path_and_query = Some(PathAndQuery::try_from(self.path).ok()?);
        let mut authorization = BytesMut::with_capacity(context.authorization.len() + self.signature.len());
        authorization.put_slice(context.authorization.as_bytes());
        authorization.put_slice(&self.signature);
        let mut headers = HeaderMap::with_capacity(5);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(OCTETS));
        headers.insert(X_AMZ_DATE, context.date.clone());
        if let Some(token) = &context.token {
            headers.insert(X_AMZ_SECURITY_TOKEN, token.clone());
        }
        headers.insert(AUTHORIZATION, HeaderValue::from_maybe_shared(authorization.freeze()).ok()?);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        let mut request = Request::new(());
        *request.method_mut() = match self.method {
            Method::Post => http::Method::POST,
            Method::Delete => http::Method::DELETE,
        };
        *request.uri_mut() = Uri::from_parts(uri).ok()?;
        *request.headers_mut() = headers;
        Some(request)
    }
}
