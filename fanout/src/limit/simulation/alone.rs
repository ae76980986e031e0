//! Simulations with one environment.

use super::*;

#[tokio::test(start_paused = true)]
async fn without_refusals_nothing_waits() {
    fastrand::seed(1);
    let account = Account::new(UNLIMITED);
    let environment = Environment::new(&account, 64, 3..=3);
    let took = environment.broadcast(5_000).await;
    // 64 at a time, each for 6 ms.
    assert_eq!(took, Duration::from_millis(5_000_u64.div_ceil(64) * 6));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_empty_for_a_moment_costs_little_more_than_that_moment() {
    // Empty for 60 ms, then 10,000 a second: 0.26 s for 2,000 connections.
    let ideal = Duration::from_millis(260);
    for concurrency in [64, 128, 512] {
        for seed in 0..5 {
            fastrand::seed(seed);
            let account = Account::empty_for(10_000.0, Duration::from_millis(60));
            let environment = Environment::new(&account, concurrency, NEAR);
            let took = environment.broadcast(2_000).await;
            assert_eq!(environment.undelivered.get(), 0);
            let ratio = took.as_secs_f64() / ideal.as_secs_f64();
            assert!(ratio <= 1.5, "{concurrency} in flight, seed {seed}: {took:?}, {ratio:.2} of the ideal");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_at_random_do_not_sink_the_rate() {
    // A single connection that is refused four times in a row may wait for 0.75 s. When few posts are refused, it
    // sometimes takes long to find out that this has nothing to do with the rate.
    for (connections, refused_at_random, seconds, worst) in
        [(1_000, 0.1, 0.5, 1.25), (10_000, 0.1, 3.0, 3.0), (10_000, 0.02, 3.0, 10.0), (1_000, 0.3, 5.0, 5.75)]
    {
        let mut times = Vec::new();
        for seed in 0..5 {
            fastrand::seed(seed);
            let account = Account::new(UNLIMITED);
            account.borrow_mut().refused_at_random = refused_at_random;
            let environment = Environment::new(&account, 64, NEAR);
            times.push(environment.broadcast(connections).await.as_secs_f64());
            assert!(environment.undelivered.get() <= 1);
        }
        times.sort_by(f64::total_cmp);
        let case = format!("{connections} connections, {refused_at_random} refused: {times:.2?} s");
        assert!(times[times.len() / 2] <= seconds, "{case}");
        assert!(times[times.len() - 1] <= worst, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_connections_do_not_slow_down_the_others() {
    for (connections, slow) in [(10, 1), (50, 3), (1_000, 10)] {
        fastrand::seed(3);
        let account = Account::new(UNLIMITED);
        let environment = Environment::new(&account, 64, FAR);
        let alone = environment.broadcast(connections).await;
        let every = connections / slow;
        let is_slow = |number| if number % every == 3 { Health::Slow } else { Health::Healthy };
        for _ in 0..10 {
            let (_, others) = environment.broadcast_among(connections, is_slow).await;
            let ratio = others.as_secs_f64() / alone.as_secs_f64();
            assert!(ratio <= 1.2, "{slow} slow of {connections}: the others take {others:?}, alone {alone:?}");
        }
        let struck = environment.struck.borrow();
        let is_one_of_them = |connection: &ConnectionId| connection.as_str().parse::<usize>().unwrap() % every == 3;
        assert!(struck.iter().all(is_one_of_them));
        assert!(struck.len() >= 8 * slow, "{} misses of {slow} slow connections", struck.len());
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_hang_hold_up_nobody_and_are_found() {
    fastrand::seed(4);
    let account = Account::new(UNLIMITED);
    let environment = Environment::new(&account, 64, FAR);
    let hangs = |number| if number % 250 == 3 { Health::Hanging } else { Health::Healthy };
    for _ in 0..3 {
        let (_, others) = environment.broadcast_among(1_000, hangs).await;
        assert!(others <= Duration::from_millis(300), "{others:?}");
        assert_eq!(environment.limiter.in_flight_limit(), 64);
    }
    assert_eq!(environment.struck.borrow().len(), 3 * 4);
}

#[tokio::test(start_paused = true)]
async fn a_small_room_beside_a_big_one_is_served_at_once() {
    fastrand::seed(5);
    let account = Account::new(UNLIMITED);
    let environment = Environment::new(&account, 64, NEAR);
    let alone = environment.broadcast(10).await;
    let big = environment.broadcast(20_000);
    let small = async {
        sleep(Duration::from_millis(300)).await;
        environment.broadcast(10).await
    };
    let (big, beside) = tokio::join!(big, small);
    assert!(beside <= 2 * alone + Duration::from_millis(1), "{beside:?} beside, {alone:?} alone");
    assert!(big > Duration::from_secs(1), "{big:?}: it was not beside");
}

#[tokio::test(start_paused = true)]
async fn a_small_room_beside_a_big_one_is_served_soon_when_the_rate_is_short() {
    fastrand::seed(6);
    let account = Account::empty_for(2_500.0, Duration::ZERO);
    let environment = Environment::new(&account, 64, NEAR);
    let big = environment.broadcast(10_000);
    let small = async {
        sleep(Duration::from_secs(1)).await;
        environment.broadcast(10).await
    };
    let (_, beside) = tokio::join!(big, small);
    // The small room has every other post: it waits for the time of 20 posts and for a retry or two.
    assert!(beside <= Duration::from_millis(250), "{beside:?}");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_account_strikes_nobody_in_a_tiny_room() {
    fastrand::seed(7);
    let account = Account::empty_for(10_000.0, Duration::from_secs(10));
    for connections in [1, 2, 3] {
        let cold = Environment::new(&account, 64, NEAR);
        cold.broadcast(connections).await;
        assert_eq!(cold.undelivered.get() as usize, connections);
        assert!(cold.struck.borrow().is_empty());
    }
    // The same holds in an environment whose posts all passed until a moment ago.
    let account = Account::new(10_000.0);
    let warm = Environment::new(&account, 64, NEAR);
    warm.broadcast(100).await;
    account.borrow_mut().tokens = -100_000.0;
    warm.broadcast(2).await;
    assert_eq!(warm.undelivered.get(), 2);
    assert!(warm.struck.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_an_abort_and_idleness_posts_are_not_paced() {
    fastrand::seed(8);
    let account = Account::new(10_000.0);
    let environments = environments(2, &account, 128, &NEAR);
    let busy = broadcast_together(&environments, 100_000);
    tokio::time::timeout(Duration::from_secs(3), busy).await.unwrap_err();
    assert!(environments[0].limiter.is_throttled());
    sleep(Duration::from_secs(30)).await;
    let took = environments[0].broadcast(2_000).await;
    assert!(took <= Duration::from_millis(200), "{took:?}");
}
