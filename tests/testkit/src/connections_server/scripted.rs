//! The answers of requests to a connection.

use std::time::Duration;

use crate::http_server::{Answer, Framing, Reply};

/// An answer and the time it takes.
///
/// The bodies and the `x-amzn-errortype` headers are those of API Gateway where they are publicly known. Its 410 has an
/// empty body, so a client must go by the status or the header. No `Retry-After` is documented for its 429, so a client
/// must do with and without one.
#[derive(Clone, Debug)]
pub struct Scripted {
    answer: Answer,
    delay: Duration,
}

impl Scripted {
    /// The answer with this response.
    pub fn answering(reply: Reply) -> Self {
        Self { answer: Answer::Reply(reply), delay: Duration::ZERO }
    }

    /// 200 with an empty body: delivered.
    pub fn ok() -> Self {
        Self::answering(Reply::empty(200))
    }

    /// 410 `GoneException`: the connection is closed, or its handshake is not complete.
    pub fn gone() -> Self {
        Self::answering(Reply::empty(410).header("x-amzn-errortype", "GoneException"))
    }

    /// 429 `LimitExceededException`.
    pub fn throttled() -> Self {
        Self::error(429, "LimitExceededException", "Too Many Requests")
    }

    /// 403 `ForbiddenException`: no such stage, or nothing may be posted.
    pub fn forbidden() -> Self {
        Self::error(403, "ForbiddenException", "Forbidden")
    }

    /// 403 `ExpiredTokenException`: the credentials have expired.
    pub fn expired_token() -> Self {
        Self::error(403, "ExpiredTokenException", "The security token included in the request is expired")
    }

    /// 403 `InvalidSignatureException`.
    pub fn invalid_signature() -> Self {
        let message = "The request signature we calculated does not match the signature you provided. Check your \
                       AWS Secret Access Key and signing method. Consult the service documentation for details.";
        Self::error(403, "InvalidSignatureException", message)
    }

    /// 400 `BadRequestException`: API Gateway makes no such ids.
    pub fn bad_request() -> Self {
        Self::error(400, "BadRequestException", "Invalid connectionId")
    }

    /// 404 `NotFoundException`.
    pub fn not_found() -> Self {
        Self::error(404, "NotFoundException", "Not Found")
    }

    /// 413 `PayloadTooLargeException`: over 128 KiB.
    pub fn payload_too_large() -> Self {
        Self::error(413, "PayloadTooLargeException", "Request Entity Too Large")
    }

    /// 500 `InternalServerErrorException`.
    pub fn internal_error() -> Self {
        Self::error(500, "InternalServerErrorException", "Internal server error")
    }

    /// 502 without an error type, as a proxy on the way answers.
    pub fn bad_gateway() -> Self {
        Self::answering(Reply::with_body(502, "text/html", "<html><h1>502 Bad Gateway</h1></html>"))
    }

    /// 503 `ServiceUnavailableException`.
    pub fn unavailable() -> Self {
        Self::error(503, "ServiceUnavailableException", "Service Unavailable")
    }

    /// 504 `GatewayTimeoutException`.
    pub fn gateway_timeout() -> Self {
        Self::error(504, "GatewayTimeoutException", "Endpoint request timed out")
    }

    /// Never answered; the TCP connection stays open.
    pub fn hang() -> Self {
        Self { answer: Answer::Hang, delay: Duration::ZERO }
    }

    /// The TCP connection is reset instead of an answer.
    pub fn reset() -> Self {
        Self { answer: Answer::Reset, delay: Duration::ZERO }
    }

    /// The TCP connection is closed in an orderly way, but without an answer.
    pub fn close() -> Self {
        Self { answer: Answer::Close, delay: Duration::ZERO }
    }

    /// An error in the form of AWS's REST services.
    pub fn error(status: u16, kind: &str, message: &str) -> Self {
        let body = serde_json::json!({ "message": message }).to_string();
        Self::answering(Reply::with_body(status, "application/json", body).header("x-amzn-errortype", kind))
    }

    /// Delays the answer.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Adds a header.
    ///
    /// # Panics
    /// When there is no response to add it to.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.map_reply(|reply| reply.header(name, value))
    }

    /// Adds `Retry-After` with this value: seconds, as HTTP has it.
    #[must_use]
    pub fn retry_after(self, seconds: &str) -> Self {
        self.header("retry-after", seconds)
    }

    /// Replaces the body.
    #[must_use]
    pub fn body(self, body: &'static str) -> Self {
        self.map_reply(|reply| Reply { body: body.into(), ..reply })
    }

    /// Frames the body in another way: chunked, cut short, reset midway.
    #[must_use]
    pub fn framed(self, framing: Framing) -> Self {
        self.map_reply(|reply| Reply { framing, ..reply })
    }

    /// The status that the client sees; `None` when there is no complete response.
    pub fn status(&self) -> Option<u16> {
        match &self.answer {
            Answer::Reply(reply) if matches!(reply.framing, Framing::Length | Framing::Chunked) => Some(reply.status),
            _ => None,
        }
    }

    pub(super) fn into_answer(self) -> Answer {
        self.answer
    }

    pub(super) async fn answer(self, latency: Duration) -> Answer {
        let delay = self.delay + latency;
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
        self.answer
    }

    fn map_reply(mut self, change: impl FnOnce(Reply) -> Reply) -> Self {
        let Answer::Reply(reply) = self.answer else { panic!("this answer has no response: {:?}", self.answer) };
        self.answer = Answer::Reply(change(reply));
        self
    }
}
