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

/// Broadcasts to two connections over an API with such later posts. Returns the end, and the posts' connections.
async fn broadcast(later: Outcome) -> (Posted, Vec<ConnectionId>) {
    let api = Api { later, posts: RefCell::default(), is_second_answered: Notify::default() };
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
    let broadcaster = Broadcaster::new(&api, clock, posts);
    let deadline = Deadline::new(0, 600_000, Duration::ZERO);
    let (metrics, (gone, _)) = (Metrics::default(), mpsc::channel(1));
    let invocation = Invocation::new(deadline, gone, &metrics, None);
    let room = RoomId::parse("room").unwrap();
    let members = Members::open(&table, &room, ALL_SLOTS).await.unwrap();
    let audience = Audience { first_slot: 0, members, left_open: Vec::new() };
    let frames = [EncodedFrame::new("{}".into())];
    let posted = broadcaster.post(&room, &frames, true, audience, &invocation, async |_| {}).await;
    (posted, api.posts.take())
}

#[tokio::test]
async fn a_connection_is_posted_to_until_it_is_reached_while_others_are_answered() {
    let (posted, posts) = broadcast(Outcome::Delivered).await;
    assert!(matches!(posted, Posted::ToAll), "{posted:?}");
    assert_eq!(posts.len(), 3);
    assert_eq!((&posts[0], posts[1] != posts[0]), (&posts[2], true));
}

/// Who was answered before that says nothing of the endpoint as it is now.
#[tokio::test]
async fn an_endpoint_that_goes_away_in_the_middle_stops_the_broadcast_for_those_who_lack_it() {
    let (posted, posts) = broadcast(Outcome::Unreachable).await;
    let Posted::ToSome { lacking, got_further, cause: Interruption::Unreachable } = posted else {
        panic!("{posted:?}");
    };
    assert_eq!((posts.len(), &posts[0], got_further), (3, &posts[2], true));
    assert_eq!(lacking.missing, [posts[0].slot()]);
}
