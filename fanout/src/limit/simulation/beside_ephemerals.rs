//! Simulations of broadcasts beside ephemeral messages, with which they share nothing but the account.

use futures::future::{Either, select};
use shared::{clock::Clock, metrics::Metrics, metrics::names::EPHEMERAL_POSTS};

use super::*;
use crate::{
    connections_api::ConnectionsApi,
    ephemeral::post::{Frame, Poster},
    frame::EncodedFrame,
};

/// `EPHEMERAL_POSTS_PER_SECOND`.
const POSTS_PER_SECOND: u32 = 1_000;

/// `EPHEMERAL_WINDOW_SECONDS`.
const WINDOW: Duration = Duration::from_secs(1);

/// Environments that post ephemeral messages, the rooms of each in a window, and the connections of a room: together
/// twice the posts that the stack allows for ephemeral messages.
const ENVIRONMENTS: usize = 2;
const ROOMS: usize = 20;
const CONNECTIONS: usize = 50;

/// Posts to the same simulated account as the broadcasts.
struct AccountApi {
    account: Rc<RefCell<Account>>,
    way: RangeInclusive<u64>,
}

impl ConnectionsApi for AccountApi {
    async fn post(&self, _: &ConnectionId, _: &EncodedFrame) -> Outcome {
        sleep(Duration::from_millis(fastrand::u64(self.way.clone()))).await;
        let outcome = Account::ask(&self.account).await;
        sleep(Duration::from_millis(fastrand::u64(self.way.clone()))).await;
        outcome
    }

    async fn close(&self, _: &ConnectionId) -> Outcome {
        Outcome::Delivered
    }
}

/// Microseconds of simulated time.
struct SimulatedClock(Instant);

impl Clock for SimulatedClock {
    fn unix_micros(&self) -> u64 {
        1_800_000_000_000_000 + u64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

/// Posts ephemeral messages to its rooms, window after window.
async fn post_for_ever(number: usize, account: &Rc<RefCell<Account>>, metrics: &Metrics) {
    let api = AccountApi { account: account.clone(), way: FAR };
    let poster = Poster::new(api, SimulatedClock(Instant::now()), 64, POSTS_PER_SECOND);
    let room =
        |room| (0..CONNECTIONS).map(move |connection| ConnectionId::new(&format!("{number}/{room}/{connection}")));
    let rooms: Vec<Vec<_>> = (0..ROOMS).map(|number| room(number).collect()).collect();
    let frame = Frame { encoded: EncodedFrame::new("{}".into()), messages: 1, newest: u64::MAX / 2 };
    loop {
        sleep(WINDOW).await;
        join_all(rooms.iter().map(|room| poster.post(&frame, room, metrics))).await.into_iter().for_each(drop);
    }
}

/// The time that environments take to broadcast to a room each, with or without ephemeral messages beside them, on an
/// account that has nothing saved up; and the number of posts of ephemeral messages.
async fn broadcasts(count: usize, connections: usize, rate: f64, with_ephemerals: bool) -> (Duration, u64) {
    let account = Account::empty_for(rate, Duration::ZERO);
    let environments = environments(count, &account, 64, &FAR);
    let (start, metrics) = (Instant::now(), Metrics::default());
    let broadcasts = Box::pin(broadcast_together(&environments, connections));
    let beside =
        (0..if with_ephemerals { ENVIRONMENTS } else { 0 }).map(|number| post_for_ever(number, &account, &metrics));
    let beside = Box::pin(async {
        join_all(beside).await;
        std::future::pending::<()>().await;
    });
    let Either::Left((undelivered, _)) = select(broadcasts, beside).await else { panic!("it goes on for ever") };
    assert_eq!(undelivered, 0);
    (start.elapsed(), metrics.count(EPHEMERAL_POSTS))
}

/// Prints what the benchmarks report: `cargo test -p fanout --lib ephemerals_beside -- --nocapture`.
#[tokio::test(start_paused = true)]
#[expect(clippy::print_stdout, reason = "read by the benchmarks")]
async fn ephemerals_beside_a_full_account_slow_no_broadcast() {
    let (mut worst, mut posts) = (0.0_f64, 0);
    for (count, connections, rate) in [(2, 30_000, 10_000.0), (4, 5_000, 2_500.0)] {
        let (mut with, mut without) = (Duration::ZERO, Duration::ZERO);
        for seed in 0..4 {
            fastrand::seed(seed);
            without += broadcasts(count, connections, rate, false).await.0;
            fastrand::seed(seed);
            let (took, posts_beside) = broadcasts(count, connections, rate, true).await;
            with += took;
            posts += posts_beside;
        }
        worst = worst.max(with.as_secs_f64() / without.as_secs_f64());
    }
    println!("broadcast_beside_ephemerals_sim={worst:.4} ephemeral_posts_sim={posts}");
    assert!(worst <= 1.05, "{worst:.4}");
    assert!(posts > 0, "there were ephemeral messages beside");
}

#[tokio::test(start_paused = true)]
async fn ephemerals_have_their_rate_where_the_account_has_room() {
    fastrand::seed(9);
    let (account, metrics) = (Account::new(UNLIMITED), Metrics::default());
    let posting = tokio::time::timeout(Duration::from_secs(60), post_for_ever(0, &account, &metrics));
    posting.await.unwrap_err();
    let posts = metrics.count(EPHEMERAL_POSTS);
    // An environment has half of the stack's rate, and may go into debt for one frame. Some of what it earns while it
    // posts may be more than it can save.
    let earned = 30_000 + CONNECTIONS as u64;
    assert!((earned * 9 / 10..=earned).contains(&posts), "{posts} posts");
    assert_eq!(u64::from(account.borrow().passed), posts);
}
