//! The answers of routes.

use serde::Serialize;
use shared::{
    congestion::view::NotNow,
    frame::server::{ErrorCode, ErrorReason, Reply, ServerFrame},
    json::FieldError,
    metrics::Metrics,
    queue::QueueError,
    store::StoreError,
};

use crate::request::{Refusal, RefusalReason};

/// The proxy response of a WebSocket route. On `$connect` and `$disconnect` only the status counts; for a frame, the
/// body is the route response, which API Gateway sends to the client without an @connections call.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The status.
    pub status_code: u16,
    /// The frame for the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The code of the error, if the response is one.
    #[serde(skip)]
    pub refused: Option<ErrorCode>,
}

/// The reason why a request was refused or could not be served.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The frame is wrong.
    #[error(transparent)]
    Refused(#[from] RefusalReason),
    /// The subject may not do that.
    #[error("{0}")]
    Forbidden(String),
    /// The connection's token has expired.
    #[error("your token has expired: connect again with a new one")]
    Expired,
    /// The subject has as many connections as it may have.
    #[error("{0} connections are open already")]
    TooManyConnections(u32),
    /// A table did not answer, or throttled.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue or bus did not take the message.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The subject or the room has used up a share, or the room is behind.
    #[error("{what}")]
    NotNow {
        /// The thing of which there is too much.
        what: &'static str,
        /// When to try again.
        until: NotNow,
    },
    /// The invocation's time was up.
    #[error("the invocation's time was up")]
    TimeIsUp,
}

impl From<FieldError> for RouteError {
    fn from(error: FieldError) -> Self {
        Self::Refused(error.into())
    }
}

impl RouteError {
    /// Whether a table or queue takes no more for now.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        matches!(self, Self::Store(StoreError::Throttled { .. }) | Self::Queue(QueueError::Throttled { .. }))
    }

    /// The code and the text that the client gets. It says nothing about tables and queues, which are no business of a
    /// client's.
    fn code(&self) -> (ErrorCode, String) {
        match self {
            Self::Refused(reason @ (RefusalReason::UnknownAction(_) | RefusalReason::AmbiguousAction)) => {
                (ErrorCode::UnknownAction, reason.to_string())
            }
            Self::Refused(reason @ RefusalReason::Field(FieldError::TooLarge { .. })) => {
                (ErrorCode::TooLarge, reason.to_string())
            }
            Self::Refused(reason) => (ErrorCode::BadRequest, reason.to_string()),
            Self::Forbidden(_) | Self::Expired => (ErrorCode::Forbidden, self.to_string()),
            Self::TooManyConnections(_) => (ErrorCode::RateLimited, self.to_string()),
            Self::Queue(QueueError::Refused { .. }) => {
                (ErrorCode::BadRequest, "the message can never be sent as it is".to_owned())
            }
            Self::Queue(QueueError::Throttled { .. }) => {
                (ErrorCode::RateLimited, "too many messages at once, try again with the same id".to_owned())
            }
            Self::NotNow { what, .. } => (ErrorCode::RateLimited, format!("{what}, try again later")),
            Self::Queue(QueueError::Unavailable { .. } | QueueError::NotSent) => {
                (ErrorCode::Unavailable, "the message was not accepted, try again with the same id".to_owned())
            }
            Self::Store(StoreError::Throttled { .. }) => {
                (ErrorCode::RateLimited, "too many requests at once, try again later".to_owned())
            }
            Self::Store(StoreError::Unavailable { .. }) | Self::TimeIsUp => {
                (ErrorCode::Unavailable, "try again later".to_owned())
            }
        }
    }

    /// The status with which the handshake is refused.
    fn status(&self) -> u16 {
        match self {
            Self::Refused(_) => 400,
            Self::Forbidden(_) | Self::Expired => 403,
            Self::TooManyConnections(_) | Self::NotNow { .. } => 429,
            Self::Store(_) | Self::Queue(_) | Self::TimeIsUp => 503,
        }
    }

    /// Logs for the operator. What clients do wrong is only for debugging; a missing right or table is an error.
    fn log(&self) {
        match self {
            Self::Refused(_)
            | Self::Forbidden(_)
            | Self::Expired
            | Self::TooManyConnections(_)
            | Self::NotNow { .. } => {
                tracing::debug!(error = %self, "request refused");
            }
            Self::Queue(QueueError::Refused { .. }) => tracing::warn!(error = %self, "message refused by the queue"),
            error if error.is_throttled() => tracing::warn!(error = %self, "request not served"),
            Self::Store(_) | Self::Queue(_) | Self::TimeIsUp => tracing::error!(error = %self, "request not served"),
        }
    }

    /// The error frame. `id` is that of the message that it is about, if it is about one; `retry_after` says when a
    /// throttled request may be tried again, in milliseconds.
    #[must_use]
    pub fn into_reply(self, id: Option<String>, retry_after: u64) -> Reply {
        self.log();
        let (code, message) = self.code();
        let retry_after_ms = match &self {
            Self::NotNow { until, .. } => Some(until.retry_after_ms),
            error => error.is_throttled().then_some(retry_after),
        };
        let reason = matches!(self, Self::Expired).then_some(ErrorReason::TokenExpired);
        Reply::Error { code, message, id, reason, retry_after_ms }
    }
}

impl Response {
    /// Answers `$connect` or `$disconnect`.
    #[must_use]
    pub fn for_lifecycle(result: Result<(), RouteError>) -> Self {
        match result {
            Ok(()) => Self { status_code: 200, body: None, refused: None },
            Err(error) => {
                error.log();
                Self { status_code: error.status(), body: None, refused: Some(error.code().0) }
            }
        }
    }

    /// Answers a frame. The status is 200 for errors too: API Gateway passes the body on, and the frame has its own
    /// code.
    #[must_use]
    pub fn for_frame(request_id: Option<String>, reply: Reply) -> Self {
        let refused = match &reply {
            Reply::Error { code, .. } => Some(*code),
            _ => None,
        };
        Self { status_code: 200, body: Some(ServerFrame { reply, request_id }.to_json()), refused }
    }

    /// Answers without a frame: the connection was told through @connections that its request is refused.
    #[must_use]
    pub fn for_told(code: ErrorCode) -> Self {
        Self { status_code: 200, body: None, refused: Some(code) }
    }

    /// Answers a frame that could not be read.
    #[must_use]
    pub fn for_refused(refusal: Refusal) -> Self {
        Self::for_frame(refusal.request_id, RouteError::from(refusal.reason).into_reply(refusal.message_id, 0))
    }

    /// Counts the response as a refusal, if it is one.
    #[must_use]
    pub fn counted(self, metrics: &Metrics) -> Self {
        if let Some(code) = self.refused {
            metrics.refuse(code);
        }
        self
    }

    /// Answers a binary frame.
    #[must_use]
    pub fn for_binary() -> Self {
        let error = FieldError::NotAnObject("frames must be text, not binary".into());
        Self::for_frame(None, RouteError::from(error).into_reply(None, 0))
    }
}
