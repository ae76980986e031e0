//! The requests that the `@connections` server has recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::http_server::Request;
use crate::sigv4::SignatureError;

/// Everything that arrived since the start, or since the record was cleared.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The records of each connection.
    pub connections: BTreeMap<String, ConnectionRecord>,
    /// Posts that arrived.
    pub posts: usize,
    /// Posts by the status they were answered with.
    pub statuses: BTreeMap<u16, usize>,
    /// Posts refused by the token bucket; they count under status 429 too.
    pub over_rate: usize,
    /// Posts being answered now.
    pub in_flight: usize,
    /// The largest number of posts that were being answered at one time. A server without latency answers a post
    /// before it reads the next one, and sees 1: set a latency to see what a client does.
    pub max_in_flight: usize,
    /// The reasons why signatures were refused.
    pub signature_errors: Vec<SignatureError>,
}

/// The requests that arrived for one connection.
#[derive(Clone, Debug, Default)]
pub struct ConnectionRecord {
    /// Posts that arrived.
    pub posts: usize,
    /// Posts answered 2xx.
    pub delivered: usize,
    /// Requests to close it.
    pub deletes: usize,
    /// Requests for its state.
    pub gets: usize,
    /// The largest number of its posts that were being answered at one time. Above 1, their order is not certain. As
    /// for all posts, a server without latency sees 1.
    pub max_in_flight: usize,
    /// Every post in order of arrival; empty when only counts are kept.
    pub attempts: Vec<Attempt>,
    in_flight: usize,
}

/// One post to a connection.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its position in the order of arrival of all posts, from 0.
    pub number: usize,
    /// The request as it arrived.
    pub request: Request,
    /// When it arrived, since the server's start.
    pub arrived: Duration,
    /// When it was answered, or given up by the client, since the server's start; `None` while in flight.
    pub ended: Option<Duration>,
    /// The status of its answer; `None` while in flight and without a whole answer.
    pub status: Option<u16>,
}

impl Attempt {
    /// Whether it was answered 2xx.
    pub fn delivered(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl ConnectionRecord {
    /// Whether two posts to this connection were being answered at the same time.
    pub fn overlapped(&self) -> bool {
        self.max_in_flight > 1
    }

    /// The bodies of all attempts in order of arrival.
    pub fn bodies(&self) -> Vec<Bytes> {
        self.attempts.iter().map(|attempt| attempt.request.body.clone()).collect()
    }
}

impl Record {
    /// The number of posts answered with this status.
    pub fn status(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// The number of posts answered 2xx.
    pub fn delivered(&self) -> usize {
        self.statuses.range(200..300).map(|(_, count)| count).sum()
    }

    /// The connections with two posts that were being answered at the same time.
    pub fn overlapped(&self) -> Vec<&str> {
        let overlapped = self.connections.iter().filter(|(_, connection)| connection.overlapped());
        overlapped.map(|(id, _)| id.as_str()).collect()
    }

    /// The number of connections with a request to close them.
    pub fn deletes(&self) -> usize {
        self.connections.values().map(|connection| connection.deletes).sum()
    }

    pub(super) fn connection(&mut self, connection_id: &str) -> &mut ConnectionRecord {
        // The entry API would copy the id for each post, although almost every connection is already there.
        if !self.connections.contains_key(connection_id) {
            self.connections.insert(connection_id.to_owned(), ConnectionRecord::default());
        }
        self.connections.get_mut(connection_id).unwrap()
    }

    /// Records a post; returns its position among those of its connection.
    pub(super) fn begin_post(&mut self, connection_id: &str, request: Option<Request>, arrived: Duration) -> usize {
        let number = self.posts;
        self.posts += 1;
        self.in_flight += 1;
        self.max_in_flight = self.max_in_flight.max(self.in_flight);
        let connection = self.connection(connection_id);
        connection.posts += 1;
        connection.in_flight += 1;
        connection.max_in_flight = connection.max_in_flight.max(connection.in_flight);
        if let Some(request) = request {
            connection.attempts.push(Attempt { number, request, arrived, ended: None, status: None });
        }
        connection.posts - 1
    }

    pub(super) fn end_post(&mut self, connection_id: &str, attempt: usize, status: Option<u16>, now: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(status) = status {
            *self.statuses.entry(status).or_default() += 1;
        }
        let connection = self.connection(connection_id);
        connection.in_flight = connection.in_flight.saturating_sub(1);
        let delivered = status.is_some_and(|status| (200..300).contains(&status));
        connection.delivered += usize::from(delivered);
        if let Some(attempt) = connection.attempts.get_mut(attempt) {
            attempt.ended = Some(now);
            attempt.status = status;
        }
    }
}
