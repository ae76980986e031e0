//! The outcomes of a post. This is the one place that reads an HTTP status.

use std::time::Duration;

/// The end of one attempt, by what the fan-out does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// API Gateway has taken the frame for the connection.
    Delivered,
    /// There is no such connection: it is closed, or its handshake is not complete yet.
    Gone,
    /// Too many requests: of the account, or for this connection.
    Throttled {
        /// The shortest wait, if API Gateway names one.
        retry_after: Option<Duration>,
    },
    /// No answer within the time for an attempt.
    TimedOut,
    /// 5xx, or the HTTP connection broke: another attempt may succeed.
    Failed,
    /// No connection to the endpoint could be opened (DNS, TCP or TLS), so nothing was sent. When no post gets through,
    /// the room's records must stay in the queue: nobody has been tried.
    Unreachable,
    /// The frame is larger than API Gateway takes.
    TooLarge,
    /// The request is refused for every connection: wrong permissions, wrong endpoint, no credentials. The room's
    /// records must stay in the queue until an operator has mended it.
    Misconfigured(Misconfiguration),
    /// The request is refused for this connection alone, and would be refused again.
    Rejected,
}

/// A fault of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misconfiguration {
    /// 403.
    #[error("@connections answered 403: may the function execute-api:ManageConnections on this API and stage?")]
    Forbidden,
    /// 404.
    #[error("@connections answered 404: is CONNECTIONS_ENDPOINT the API's endpoint with its stage?")]
    NotFound,
    /// The request could not be signed.
    #[error("there are no credentials to sign requests with")]
    Credentials,
}

impl Outcome {
    /// Whether the endpoint has answered.
    #[must_use]
    pub fn is_answer(self) -> bool {
        !matches!(self, Self::TimedOut | Self::Failed | Self::Unreachable)
    }

    /// Reads a response of @connections.
    #[must_use]
    pub fn of_response(status: u16, retry_after: Option<&str>) -> Self {
        match status {
            200..=299 => Self::Delivered,
            410 => Self::Gone,
            429 => Self::Throttled { retry_after: retry_after.and_then(parse_retry_after) },
            413 => Self::TooLarge,
            403 => Self::Misconfigured(Misconfiguration::Forbidden),
            404 => Self::Misconfigured(Misconfiguration::NotFound),
            // 408: the server gave up waiting for the request.
            408 | 500..=599 => Self::Failed,
            _ => Self::Rejected,
        }
    }
}

/// Reads `Retry-After` in seconds, as API Gateway sends it. The header may also be a date, which counts as none.
fn parse_retry_after(value: &str) -> Option<Duration> {
    let seconds: f64 = value.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_the_design_says() {
        let of = |status| Outcome::of_response(status, None);
        assert_eq!(of(200), Outcome::Delivered);
        assert_eq!(of(204), Outcome::Delivered);
        assert_eq!(of(410), Outcome::Gone);
        assert_eq!(of(429), Outcome::Throttled { retry_after: None });
        assert_eq!(of(413), Outcome::TooLarge);
        assert_eq!(of(403), Outcome::Misconfigured(Misconfiguration::Forbidden));
        assert_eq!(of(404), Outcome::Misconfigured(Misconfiguration::NotFound));
        assert_eq!(of(400), Outcome::Rejected);
        assert_eq!(of(301), Outcome::Rejected);
        assert!([408, 500, 502, 503, 504].map(of).iter().all(|outcome| *outcome == Outcome::Failed));
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        let after = |text| Outcome::of_response(429, Some(text));
        assert_eq!(after("2"), Outcome::Throttled { retry_after: Some(Duration::from_secs(2)) });
        assert_eq!(after(" 0.5 "), Outcome::Throttled { retry_after: Some(Duration::from_millis(500)) });
        for odd in ["-1", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "1e300", "NaN"] {
            assert_eq!(after(odd), Outcome::Throttled { retry_after: None }, "{odd}");
        }
    }
}
