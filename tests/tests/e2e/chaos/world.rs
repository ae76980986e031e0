//! The stack that the chaos happens to, and the records of everything that was sent, seen and done to it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use testkit::events::everywhere;
use testkit::stack::{LocalStack, mint};
use tokio::sync::watch;

use super::services::{Service, Services};
use crate::posts::Posts;
use crate::tables::{now, queue_url, set_visibility_timeout};

/// The rooms. All clients are in the first, which is so large that it is cut into shards.
pub(super) const ROOMS: [&str; 5] = ["chaos:all", "chaos:b", "chaos:c", "chaos:d", "chaos:e"];

/// Connections above which a room is cut into shards: more than are in any room but the first.
const SHARD_SIZE: &str = "16";

/// Seconds for which the records of a killed environment stay invisible. Their rooms stand still for so long, so it is
/// little more than fan-out's timeout of 5 seconds.
const VISIBILITY_SECONDS: u32 = 6;

pub(super) struct World {
    pub(super) stack: LocalStack,
    pub(super) posts: Posts,
    pub(super) services: Services,
    /// The queues that must be empty in the end: their names in the report, their URLs.
    pub(super) queues: Vec<(&'static str, String)>,
    pub(super) started: Instant,
    pub(super) began: SystemTime,
    /// Milliseconds between two faults of the same troublemaker.
    pub(super) pause_ms: Range<u64>,
    /// The share of all clients that lose their connection, each time that a share is sent.
    pub(super) cuts: watch::Sender<f64>,
    calm: AtomicBool,
    secret: Mutex<String>,
    books: Mutex<Books>,
}

/// The records of everything that was sent, seen and done.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// All messages that somebody tried to send, by id.
    pub(super) sent: HashMap<String, Sent>,
    /// The messages of each sender that waits for its answers, by room, in the order of sending.
    pub(super) orders: BTreeMap<(String, &'static str), Vec<String>>,
    /// A unique text of each dead letter that there must be.
    pub(super) poison: Vec<String>,
    /// Each first sight of a message by a client.
    pub(super) sights: Vec<Sight>,
    /// The faults, and how long each lasted.
    pub(super) faults: Vec<Mark>,
    /// The counts of events that happened to clients.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// Replies that clients got and must never get.
    pub(super) violations: Vec<String>,
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) room: &'static str,
    pub(super) at: Instant,
    pub(super) accepted: bool,
    pub(super) seen: bool,
}

/// A client's first sight of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// The time since the message was first sent.
    pub(super) latency: Duration,
    /// Whether the message came by broadcast, and not from the log.
    pub(super) by_broadcast: bool,
}

/// A fault, as the plot shows it.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) kind: &'static str,
    pub(super) from: Duration,
    pub(super) until: Duration,
}

impl World {
    pub(super) async fn start(pause_ms: Range<u64>) -> Self {
        let (posts, services) = (Posts::start(), Services::start());
        let connections_endpoint = format!("{}/_aws/execute-api/roomcast/local", posts.url());
        let stack = LocalStack::start_behind(
            &Service::NAMES.map(|name| (name, services.url())).each_ref().map(|(name, url)| (*name, url.as_str())),
            &[
                ("ConnectionsEndpoint", &connections_endpoint),
                // The emulator notices the end of an environment when the function's time is up.
                ("FanoutTimeout", "5"),
                ("FanoutDeadlineReserveMs", "500"),
                ("FanoutPostTimeoutMs", "1000"),
                ("FanoutMaxAttempts", "3"),
                ("FanoutShardSize", SHARD_SIZE),
                ("FanoutShards", "2"),
            ],
        )
        .await;
        let mut queues = vec![("broadcasts", stack.description().queue_url.clone())];
        for (name, logical_id) in
            [("shards", "ShardQueue"), ("events", "EventQueue"), ("relay failures", "RelayFailureQueue")]
        {
            queues.push((name, queue_url(&stack, logical_id).await));
        }
        for (_, url) in &queues {
            set_visibility_timeout(&stack, url, VISIBILITY_SECONDS).await;
        }
        posts.lead_to(&stack.description().endpoint_url);
        services.lead_to(&stack.description().endpoint_url);
        let secret = Mutex::new(stack.secret().to_owned());
        Self {
            stack,
            posts,
            services,
            queues,
            started: Instant::now(),
            began: SystemTime::now(),
            pause_ms,
            cuts: watch::Sender::new(0.0),
            calm: AtomicBool::new(false),
            secret,
            books: Mutex::default(),
        }
    }

    /// Whether the faults are over.
    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    /// A token signed with the newest secret, as the application's backend signs them.
    pub(super) fn token(&self, subject: &str) -> String {
        let expiry = now() + Duration::from_hours(1);
        let claims = json!({ "sub": subject, "exp": expiry.as_secs(), "rooms": everywhere() });
        mint(&self.secret.lock().unwrap(), &claims)
    }

    pub(super) async fn rotate_secret(&self, secret: String) {
        self.stack.rotate_secret(&secret).await;
        *self.secret.lock().unwrap() = secret;
    }

    pub(super) fn books<T>(&self, read: impl FnOnce(&mut Books) -> T) -> T {
        read(&mut self.books.lock().unwrap())
    }

    pub(super) fn count(&self, what: &'static str) {
        self.books(|books| *books.counts.entry(what).or_default() += 1);
    }

    /// Notes a fault that began at a moment and ends now.
    pub(super) fn mark(&self, kind: &'static str, from: Instant) {
        let [from, until] = [from, Instant::now()].map(|time| time.duration_since(self.started));
        self.books(|books| books.faults.push(Mark { kind, from, until }));
    }

    /// Notes that a message is about to be sent for the first time.
    pub(super) fn sending(&self, id: &str, room: &'static str) {
        let sent = Sent { room, at: Instant::now(), accepted: false, seen: false };
        let before = self.books(|books| books.sent.insert(id.to_owned(), sent));
        assert!(before.is_none(), "{id} is sent twice");
    }

    /// Notes that a sender was told that its message was accepted.
    pub(super) fn accepted(&self, id: &str) {
        self.books(|books| books.sent.get_mut(id).expect("a message that was sent").accepted = true);
    }

    /// Notes an accepted message of a sender that waits for its answers: the log must keep the order.
    pub(super) fn accepted_in_order(&self, id: &str, sender: &str) {
        self.accepted(id);
        self.books(|books| {
            let room = books.sent[id].room;
            books.orders.entry((sender.to_owned(), room)).or_default().push(id.to_owned());
        });
    }

    /// Notes that a client's application sees a message for the first time.
    pub(super) fn seen(&self, id: &str, at: Instant, by_broadcast: bool) {
        self.books(|books| {
            // The checker reports what nobody has sent.
            let Some(sent) = books.sent.get_mut(id) else { return };
            sent.seen = true;
            let latency = at.saturating_duration_since(sent.at);
            books.sights.push(Sight { latency, by_broadcast });
        });
    }

    pub(super) fn violation(&self, what: String) {
        self.books(|books| books.violations.push(what));
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn unix_millis(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
