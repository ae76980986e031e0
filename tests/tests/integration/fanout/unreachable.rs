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

/// An API with an answer to each post to the connection that comes first; the last one is for all later posts. Another
/// connection is answered while one of these posts is under way.
struct Api {
    answers: Vec<Outcome>,
    /// The position of that post.
    together: usize,
    posts: RefCell<Vec<ConnectionId>>,
    is_other_due: Notify,
    is_other_answered: Notify,
}

impl Api {
    fn new(answers: &[Outcome], together: usize) -> Self {
        let (is_other_due, is_other_answered) = (Notify::new(), Notify::new());
        Self { answers: answers.to_vec(), together, posts: RefCell::default(), is_other_due, is_other_answered }
    }
}

impl ConnectionsApi for &Api {
    async fn post(&self, connection: &ConnectionId, _: &EncodedFrame) -> Outcome {
        self.posts.borrow_mut().push(connection.clone());
        if self.posts.borrow()[0] != *connection {
            self.is_other_due.notified().await;
            self.is_other_answered.notify_one();
            return Outcome::Delivered;
        }
        let earlier = self.posts.borrow().iter().filter(|other| *other == connection).count() - 1;
        if earlier == self.together {
            self.is_other_due.notify_one();
            self.is_other_answered.notified().await;
        }
        self.answers[earlier.min(self.answers.len() - 1)]
    }

    async fn close(&self, _: &ConnectionId) -> Outcome {
        Outcome::Delivered
    }
}

/// Broadcasts to two connections, with so many attempts for each, within a time that is simulated. Returns the end, and
/// the connections that are to be closed.
async fn broadcast(api: impl ConnectionsApi, max_attempts: u32, within: Duration) -> (Posted, Vec<ConnectionId>) {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    dynamodb.seed(ConnectionRow::many("c", 2, "room"));
    let table = ConnectionTable::new(client(&dynamodb), CONNECTIONS_TABLE, clock.clone()).with_room_index(ROOM_INDEX);
    let posts = PostConfig {
        concurrency: 2,
        max_per_second: 0,
        timeout: Duration::from_secs(29),
        max_attempts,
        deadline_reserve: Duration::ZERO,
        gone_grace: Duration::ZERO,
    };
    let broadcaster = Broadcaster::new(api, clock, posts);
    let room = RoomId::parse("room").unwrap();
    let members = Members::open(&table, &room, ALL_SLOTS).await.unwrap();
    tokio::time::pause();
    let deadline = Deadline::new(0, u64::try_from(within.as_millis()).unwrap(), Duration::from_millis(200));
    let (metrics, (gone, _)) = (Metrics::default(), mpsc::channel(1));
    let invocation = Invocation::new(deadline, gone, &metrics, None);
    let audience = Audience { first_slot: 0, members, left_open: Vec::new() };
    let frames = [EncodedFrame::new("{}".into())];
    let posted = broadcaster.post(&room, &frames, true, audience, &invocation, async |_| {}).await;
    (posted, broadcaster.closing(invocation))
}

const LONG: Duration = Duration::from_mins(10);

#[tokio::test]
async fn a_connection_is_posted_to_until_it_is_reached_while_others_are_answered() {
    let api = Api::new(&[Outcome::Unreachable, Outcome::Delivered], 0);
    let (posted, closing) = broadcast(&api, 1, LONG).await;
    assert!(matches!(posted, Posted::ToAll), "{posted:?}");
    let posts = api.posts.take();
    assert_eq!((posts.len(), closing), (3, vec![]));
    assert_eq!((&posts[0], posts[1] != posts[0]), (&posts[2], true));
}

/// An answer before that says nothing of the endpoint as it is now.
#[tokio::test]
async fn an_endpoint_that_goes_away_in_the_middle_stops_the_broadcast_for_those_who_lack_it() {
    let api = Api::new(&[Outcome::Unreachable], 0);
    let (posted, _) = broadcast(&api, 1, LONG).await;
    let Posted::ToSome { lacking, got_further, cause: Interruption::Unreachable } = posted else {
        panic!("{posted:?}");
    };
    let posts = api.posts.take();
    assert_eq!((posts.len(), &posts[0], got_further), (3, &posts[2], true));
    assert_eq!(lacking.missing, [posts[0].slot()]);
}

#[tokio::test]
async fn an_answer_to_anybody_has_the_posts_that_find_nobody_counted_anew() {
    let nobody = Outcome::Unreachable;
    let api = Api::new(&[nobody, nobody, nobody, Outcome::Delivered], 1);
    let (posted, _) = broadcast(&api, 2, LONG).await;
    assert!(matches!(posted, Posted::ToAll), "{posted:?}");
    assert_eq!(api.posts.take().len(), 5);
}

#[tokio::test]
async fn posts_that_find_nobody_are_no_attempts_at_a_connection() {
    let api = Api::new(&[Outcome::Unreachable, Outcome::Failed, Outcome::Delivered], 0);
    let (posted, closing) = broadcast(&api, 2, LONG).await;
    assert!(matches!(posted, Posted::ToAll), "{posted:?}");
    assert_eq!((api.posts.take().len(), closing), (4, vec![]));
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
    let (posted, closing) = broadcast(Gone, 1, Duration::from_millis(600)).await;
    let Posted::ToSome { lacking, got_further, cause: Interruption::TimeIsUp } = posted else { panic!("{posted:?}") };
    assert_eq!((got_further, closing), (false, vec![]));
    let lacks = |slot: u16| lacking.missing.contains(&slot) || slot >= lacking.from;
    assert!(["c0", "c1"].iter().all(|id| lacks(ConnectionId::new(id).slot())), "{lacking:?}");
}
