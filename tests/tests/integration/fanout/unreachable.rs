//! An endpoint to which no new connection can be opened, while others have theirs.

use std::cell::RefCell;
use std::time::Duration;

use fanout::broadcast::interruption::Interruption;
use fanout::broadcast::members::Members;
use fanout::broadcast::{Audience, Broadcaster, Invocation, Posted};
use fanout::config::PostConfig;
use fanout::connections_api::{ConnectionsApi, Outcome};
use fanout::deadline::Deadline;
use fanout::frame::EncodedFrame;
use shared::metrics::Metrics;
use shared::store::connections::{ALL_SLOTS, ConnectionTable};
use shared::{ConnectionId, RoomId};
use testkit::clock::TestClock;
use testkit::dynamodb::{CONNECTIONS_TABLE, ConnectionRow, DynamoDb, ROOM_INDEX};
use tokio::sync::{Notify, mpsc};

use crate::log::client;

/// An API whose first post finds no connection, while the second one is answered. What becomes of all later posts is
/// said.
struct Api {
    later: Outcome,
    posts: RefCell<Vec<ConnectionId>>,
    is_second_answered: Notify,
}

impl ConnectionsApi for &Api {
    async fn post(&self, connection: &ConnectionId, _: &EncodedFrame) -> Outcome {
        let earlier = self.posts.borrow().len();
        self.posts.borrow_mut().push(connection.clone());
        if earlier == 0 {
            self.is_second_answered.notified().await;
            return Outcome::Unreachable;
        }
        self.is_second_answered.notify_one();
        if earlier == 1 { Outcome::Delivered } else { self.later }
    }

    async fn close(&self, _: &ConnectionId) -> Outcome {
        Outcome::Delivered
    }
}

/// Broadcasts to two connections. Returns the end, and the connections that are to be closed.
pub(super) async fn broadcast(api: impl ConnectionsApi, deadline: Deadline) -> (Posted, Vec<ConnectionId>) {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    dynamodb.seed(ConnectionRow::many("c", 2, "room"));
    let table = ConnectionTable::new(client(&dynamodb), CONNECTIONS_TABLE, clock.clone()).with_room_index(ROOM_INDEX);
    let posts = PostConfig {
        concurrency: 2,
        max_per_second: 0,
        timeout: Duration::from_secs(29),
        max_attempts: 1,
        deadline_reserve: Duration::ZERO,
        gone_grace: Duration::ZERO,
    };
    let broadcaster = Broadcaster::new(api, clock, posts);
    let (metrics, (gone, _)) = (Metrics::default(), mpsc::channel(1));
    let invocation = Invocation::new(deadline, gone, &metrics, None);
    let room = RoomId::parse("room").unwrap();
    let members = Members::open(&table, &room, ALL_SLOTS).await.unwrap();
    let audience = Audience { first_slot: 0, members, left_open: Vec::new() };
    let frames = [EncodedFrame::new("{}".into())];
    let posted = broadcaster.post(&room, &frames, true, audience, &invocation, async |_| {}).await;
    (posted, broadcaster.closing(invocation))
}

/// Broadcasts over an API with such later posts. Returns the end, and the posts' connections.
async fn broadcast_with(later: Outcome) -> (Posted, Vec<ConnectionId>) {
    let api = Api { later, posts: RefCell::default(), is_second_answered: Notify::default() };
    let (posted, _) = broadcast(&api, Deadline::new(0, 600_000, Duration::ZERO)).await;
    (posted, api.posts.take())
}

#[tokio::test]
async fn a_connection_is_posted_to_until_it_is_reached_while_others_are_answered() {
    let (posted, posts) = broadcast_with(Outcome::Delivered).await;
    assert!(matches!(posted, Posted::ToAll), "{posted:?}");
    assert_eq!(posts.len(), 3);
    assert_eq!((&posts[0], posts[1] != posts[0]), (&posts[2], true));
}

/// Who was answered before that says nothing of the endpoint as it is now.
#[tokio::test]
async fn an_endpoint_that_goes_away_in_the_middle_stops_the_broadcast_for_those_who_lack_it() {
    let (posted, posts) = broadcast_with(Outcome::Unreachable).await;
    let Posted::ToSome { lacking, got_further, cause: Interruption::Unreachable } = posted else {
        panic!("{posted:?}");
    };
    assert_eq!((posts.len(), &posts[0], got_further), (3, &posts[2], true));
    assert_eq!(lacking.missing, [posts[0].slot()]);
}

/// An API that says of each connection that it is gone.
struct Gone;

impl ConnectionsApi for Gone {
    async fn post(&self, _: &ConnectionId, _: &EncodedFrame) -> Outcome {
        Outcome::Gone
    }

    async fn close(&self, _: &ConnectionId) -> Outcome {
        Outcome::Gone
    }
}

/// The second post comes a second after the first one, and a single 410 proves nothing.
#[tokio::test]
async fn who_may_be_gone_when_the_time_is_up_is_posted_to_again_and_not_blamed() {
    let (posted, closing) = broadcast(Gone, Deadline::new(0, 600, Duration::from_millis(200))).await;
    let Posted::ToSome { lacking, got_further, cause: Interruption::TimeIsUp } = posted else { panic!("{posted:?}") };
    assert_eq!((got_further, closing), (false, vec![]));
    let lacks = |slot: u16| lacking.missing.contains(&slot) || slot >= lacking.from;
    assert!(["c0", "c1"].iter().all(|id| lacks(ConnectionId::new(id).slot())), "{lacking:?}");
}
