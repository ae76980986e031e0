//! The limiter alone, without an account: what it keeps to whatever is answered.

use std::time::Duration;

use futures::{FutureExt, future::join_all};
use tokio::time::{advance, sleep};

use super::*;

const REFUSED: Outcome = Outcome::Throttled { retry_after: None };

fn acquire_now<'a>(turns: &Turns<'a>) -> Permit<'a> {
    turns.acquire(Order::First).now_or_never().expect("nothing to wait for")
}

/// Refuses posts until the account is throttled.
fn throttle(limiter: &RateLimiter) {
    let turns = limiter.turns();
    let permits: Vec<_> = (0..32).map(|_| acquire_now(&turns)).collect();
    for permit in permits {
        permit.record(REFUSED, 1);
    }
    assert!(limiter.is_throttled());
}

#[tokio::test(start_paused = true)]
async fn the_cap_is_never_exceeded() {
    for cap in [100_u32, 5_000] {
        let limiter = RateLimiter::new(64, u64::from(cap));
        let turns = limiter.turns();
        // Idleness saves up nothing.
        advance(Duration::from_secs(1)).await;
        let start = Instant::now();
        for made in 1..=cap {
            drop(turns.acquire(Order::First).await);
            let seconds = (start.elapsed() + pacer::SLACK).as_secs_f64();
            let allowed = 1.0 + f64::from(cap) * seconds;
            assert!(f64::from(made) <= allowed + 1e-6, "{made} posts where {allowed:.1} are allowed");
        }
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_millis(1_010), "{cap} posts took {elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiters_that_go_away_use_up_no_moments() {
    let limiter = RateLimiter::new(64, 10);
    let (gone, stays) = (limiter.turns(), limiter.turns());
    drop(acquire_now(&gone));
    advance(Duration::from_millis(1)).await;
    let start = Instant::now();
    let waiters = async {
        let waiting = join_all((0..50).map(|_| gone.acquire(Order::First)));
        let _ = tokio::time::timeout(Duration::from_millis(20), waiting).await;
    };
    let ((), _permit) = tokio::join!(waiters, stays.acquire(Order::First));
    assert!(start.elapsed() <= Duration::from_millis(200), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_limit_are_in_flight() {
    let limiter = RateLimiter::new(8, 0);
    let turns = limiter.turns();
    let in_flight = Cell::new(0);
    let posts = (0..100).map(|number| {
        let (turns, in_flight) = (&turns, &in_flight);
        async move {
            let permit = turns.acquire(Order::First).await;
            in_flight.set(in_flight.get() + 1);
            assert!(in_flight.get() <= 8);
            sleep(Duration::from_millis(1 + number % 5)).await;
            in_flight.set(in_flight.get() - 1);
            drop(permit);
        }
    });
    let start = Instant::now();
    tokio::time::timeout(Duration::from_secs(60), join_all(posts)).await.expect("no wake-up is lost");
    assert!(start.elapsed() <= Duration::from_millis(100 * 3 / 8 + 5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn waiters_that_go_away_at_any_time_leave_nothing_behind() {
    fastrand::seed(7);
    let limiter = RateLimiter::new(3, 2_000);
    let rooms: Vec<Turns> = (0..4).map(|_| limiter.turns()).collect();
    let served = Cell::new(0);
    let posts = (0..2_000).map(|number| {
        let (turns, served) = (&rooms[number % 4], &served);
        let order = if number % 3 == 0 { Order::Next } else { Order::First };
        async move {
            sleep(Duration::from_millis(fastrand::u64(..500))).await;
            let post = async {
                let permit = turns.acquire(order).await;
                sleep(Duration::from_millis(fastrand::u64(..3))).await;
                drop(permit);
            };
            let patience = if number % 2 == 0 { fastrand::u64(..50) } else { 60_000 };
            let is_served = tokio::time::timeout(Duration::from_millis(patience), post).await.is_ok();
            served.set(served.get() + u32::from(is_served));
        }
    });
    join_all(posts).await;
    assert!(served.get() >= 1_000, "{} of the 1,000 patient ones and others", served.get());
    assert!(limiter.queue.is_empty());
    let turns = limiter.turns();
    advance(Duration::from_secs(1)).await;
    let _places = [(); 3].map(|()| acquire_now(&turns));
    assert!(turns.acquire(Order::First).now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn deliveries_end_in_the_order_in_which_they_began() {
    let limiter = RateLimiter::new(1, 0);
    let turns = limiter.turns();
    let log = RefCell::new(Vec::new());
    let deliver = async |delivery: usize| {
        for frame in 0..3 {
            let permit = turns.acquire(if frame == 0 { Order::First } else { Order::Next }).await;
            log.borrow_mut().push(delivery);
            sleep(Duration::from_millis(1)).await;
            drop(permit);
        }
    };
    join_all((0..20).map(deliver)).await;
    let open = log.borrow().iter().enumerate().map(|(post, delivery)| post.abs_diff(3 * delivery)).max();
    assert!(open <= Some(3), "{:?}", log.borrow());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_paced_without_a_429_nor_for_one_slow_client() {
    let limiter = RateLimiter::new(64, 0);
    let turns = limiter.turns();
    for number in 0..10_000_u32 {
        // Refused again and again: one connection in a hundred, and its retries.
        let is_slow = number % 100 < 4;
        let attempt = if is_slow { number % 100 + 1 } else { 1 };
        acquire_now(&turns).record(if is_slow { REFUSED } else { Outcome::Delivered }, attempt);
        advance(Duration::from_micros(100)).await;
    }
    assert!(!limiter.is_throttled() && !limiter.is_struggling());
    assert_eq!(limiter.max_attempts(4), 4);
}

#[tokio::test(start_paused = true)]
async fn posts_are_paced_until_nothing_was_refused_for_long() {
    let limiter = RateLimiter::new(64, 0);
    throttle(&limiter);
    assert!(limiter.is_struggling());
    assert_eq!((limiter.max_attempts(4), limiter.max_attempts(12)), (8, 12));
    assert!(limiter.turns().acquire(Order::First).now_or_never().is_none(), "the account drains");
    advance(Duration::from_secs(4)).await;
    assert!(!limiter.is_throttled());
    let turns = limiter.turns();
    let _together = [(); 64].map(|()| acquire_now(&turns));
}

/// Whoever measures it may be the first to come after an idle time.
#[tokio::test(start_paused = true)]
async fn a_rate_is_told_while_posts_are_paced_by_it() {
    let limiter = RateLimiter::new(64, 0);
    assert_eq!(limiter.learnt_rate(), None);
    throttle(&limiter);
    assert_eq!(limiter.learnt_rate(), None, "the account drains");
    drop(limiter.turns().acquire(Order::First).await);
    assert!(limiter.learnt_rate().is_some_and(|rate| rate >= 250));
    advance(Duration::from_secs(4)).await;
    assert_eq!(limiter.learnt_rate(), None);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_account_makes_no_connection_slow() {
    let limiter = RateLimiter::new(64, 0);
    let turns = limiter.turns();
    let refused_since = Instant::now();
    for _ in 0..20 {
        acquire_now(&turns).record(Outcome::Delivered, 1);
    }
    assert!(limiter.is_slow_connection(refused_since));
    throttle(&limiter);
    assert!(!limiter.is_slow_connection(refused_since));
}

#[tokio::test(start_paused = true)]
async fn widespread_timeouts_leave_fewer_places() {
    let limiter = RateLimiter::new(64, 0);
    let turns = limiter.turns();
    let hanging: Vec<_> = (0..40).map(|_| acquire_now(&turns)).collect();
    advance(Duration::from_secs(3)).await;
    for permit in hanging {
        permit.record(Outcome::TimedOut, 1);
    }
    assert_eq!(limiter.in_flight_limit(), 32);
    assert!(limiter.is_struggling() && !limiter.is_throttled());
}
