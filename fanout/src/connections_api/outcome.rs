//! The outcomes of a post, and what a delivery does after each. Fan-out reads an HTTP status here, and nowhere else.

use std::time::Duration;

/// The end of one post, by what the fan-out does next.
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

/// A delivery's posts of a frame, the last one included, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Tries {
    /// The number of the last attempt: the first is 1. A post that found nobody at the endpoint is none.
    pub attempt: u32,
    /// A post before it was answered 410.
    pub was_gone: bool,
    /// The posts that have found nobody at the endpoint since anybody's post was answered.
    pub unreachable: u32,
    /// Posts at the most for a connection that fails by itself. One, if it has missed a broadcast before: it must not
    /// hold up its room each time.
    pub most_failing: u32,
    /// Posts at the most while they are answered 429. That is mostly due to the account's rate, which is not the
    /// connection's fault: it gets all of them even if it missed the previous broadcast.
    pub most_throttled: u32,
    /// Posts at the most while the endpoint can be reached by nobody.
    pub most_unreachable: u32,
}

/// The next step of a delivery after a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// The connection has the frame, and gets the next one.
    GoOn,
    /// The connection will never get the frame, and gets the next one. Its client sees the gap, and reads the log.
    LeaveOut,
    /// The frame is posted again after a while.
    Retry,
    /// The same, if the budget of retries has one left; else the connection misses the broadcast.
    RetryWithinBudget,
    /// The same, but not before what the answer asks for; if that is too long, the connection misses the broadcast.
    RetryAfter(Option<Duration>),
    /// The frame is posted once more: a single 410 proves nothing.
    ConfirmGone,
    /// The connection is gone, and its row is deleted.
    Remove,
    /// The connection misses the broadcast.
    Miss,
    /// The broadcast stops until an operator has mended what is wrong.
    StopMisconfigured(Misconfiguration),
    /// The broadcast stops until the endpoint can be reached.
    StopUnreachable,
}

impl Outcome {
    /// The delivery's next step.
    #[must_use]
    pub fn next_step(self, tries: Tries) -> NextStep {
        let Tries { attempt, was_gone, unreachable, .. } = tries;
        match self {
            Self::Delivered => NextStep::GoOn,
            Self::TooLarge => NextStep::LeaveOut,
            Self::Gone if was_gone => NextStep::Remove,
            Self::Gone => NextStep::ConfirmGone,
            Self::Throttled { retry_after } if attempt < tries.most_throttled => NextStep::RetryAfter(retry_after),
            // Nothing could be sent, which is no connection's fault. As long as other posts are answered, over
            // connections that are open already, this one is tried again; when none is, its attempts are limited, and
            // the room's records go back to the queue.
            Self::Unreachable if unreachable < tries.most_unreachable => NextStep::Retry,
            Self::Unreachable => NextStep::StopUnreachable,
            Self::Failed | Self::TimedOut if attempt < tries.most_failing => NextStep::RetryWithinBudget,
            Self::Throttled { .. } | Self::Failed | Self::TimedOut | Self::Rejected => NextStep::Miss,
            Self::Misconfigured(misconfiguration) => NextStep::StopMisconfigured(misconfiguration),
        }
    }

    /// Whether it was refused for the rate, the account's or the connection's.
    #[must_use]
    pub fn is_throttled(self) -> bool {
        matches!(self, Self::Throttled { .. })
    }

    /// Whether no connection can be posted to.
    #[must_use]
    pub fn concerns_everybody(self) -> bool {
        matches!(self, Self::Misconfigured(_) | Self::Unreachable)
    }

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
    fn each_outcome_has_its_next_step() {
        let first = Tries {
            attempt: 1,
            was_gone: false,
            unreachable: 0,
            most_failing: 2,
            most_throttled: 4,
            most_unreachable: 3,
        };
        let at = |attempt| Tries { attempt, ..first };
        let throttled = Outcome::Throttled { retry_after: Some(Duration::from_secs(1)) };
        let again = NextStep::RetryAfter(Some(Duration::from_secs(1)));
        let misconfigured = Misconfiguration::Credentials;
        for (outcome, tries, expected) in [
            (Outcome::Delivered, first, NextStep::GoOn),
            (Outcome::TooLarge, first, NextStep::LeaveOut),
            (Outcome::Gone, first, NextStep::ConfirmGone),
            (Outcome::Gone, Tries { was_gone: true, ..at(2) }, NextStep::Remove),
            (throttled, at(3), again),
            (throttled, at(4), NextStep::Miss),
            (Outcome::TimedOut, at(1), NextStep::RetryWithinBudget),
            (Outcome::TimedOut, at(2), NextStep::Miss),
            (Outcome::Failed, at(1), NextStep::RetryWithinBudget),
            (Outcome::Failed, at(2), NextStep::Miss),
            (Outcome::Rejected, first, NextStep::Miss),
            (Outcome::Unreachable, Tries { unreachable: 2, ..at(9) }, NextStep::Retry),
            (Outcome::Unreachable, Tries { unreachable: 3, ..at(9) }, NextStep::StopUnreachable),
            (Outcome::Misconfigured(misconfigured), first, NextStep::StopMisconfigured(misconfigured)),
        ] {
            assert_eq!(outcome.next_step(tries), expected, "{outcome:?} {tries:?}");
        }
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
