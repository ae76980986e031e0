//! Simulations with several environments.

use super::*;

/// The result of several environments' broadcasts to a room each.
#[derive(Debug)]
struct Together {
    goodput: f64,
    waste: f64,
    undelivered: u32,
}

async fn together(
    count: usize,
    rate: f64,
    concurrency: usize,
    way: RangeInclusive<u64>,
    connections: usize,
) -> Together {
    let account = Account::new(rate);
    let environments = environments(count, &account, concurrency, &way);
    let undelivered = broadcast_together(&environments, connections).await;
    let account = account.borrow();
    Together { goodput: account.goodput(), waste: account.waste(), undelivered }
}

#[tokio::test(start_paused = true)]
async fn the_accounts_rate_is_used_and_hardly_any_post_is_wasted() {
    // With many environments more posts are wasted at the start, until the account is found to be short.
    for (count, connections, concurrency, way, most_waste) in [
        (1, 120_000, 64, NEAR, 0.03),
        (1, 120_000, 256, FAR, 0.03),
        (2, 60_000, 64, NEAR, 0.03),
        (4, 30_000, 64, NEAR, 0.03),
        (16, 15_000, 64, FAR, 0.03),
        (32, 7_500, 64, FAR, 0.04),
    ] {
        fastrand::seed(1);
        let case = format!("{count} environments, {concurrency} in flight, {way:?} ms each way");
        let result = together(count, 10_000.0, concurrency, way, connections).await;
        assert!(result.goodput >= 0.95, "{case}: {result:?}");
        assert!(result.waste <= most_waste, "{case}: {result:?}");
        assert_eq!(result.undelivered, 0, "{case}");
    }
}

/// Prints what the benchmarks report: `cargo test -p fanout --lib a_hundred_environments -- --nocapture`.
#[tokio::test(start_paused = true)]
#[expect(clippy::print_stdout, reason = "read by the benchmarks")]
async fn a_hundred_environments_share_a_small_account() {
    fastrand::seed(2);
    let Together { goodput, waste, undelivered } = together(100, 2_500.0, 64, FAR, 1_200).await;
    println!("goodput_100_sim={goodput:.4} waste_100_sim={waste:.4} undelivered={undelivered}");
    assert!(goodput >= 0.90, "goodput {goodput:.3}");
    assert!(waste <= 0.12, "waste {waste:.4}");
    assert_eq!(undelivered, 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_environment_gets_its_part() {
    fastrand::seed(3);
    let account = Account::new(10_000.0);
    let environments = environments(10, &account, 64, &FAR);
    let broadcasts = join_all(environments.iter().enumerate().map(async |(number, environment)| {
        sleep(Duration::from_secs(if number == 9 { 4 } else { 0 })).await;
        environment.broadcast(1_000_000).await
    }));
    tokio::time::timeout(Duration::from_secs(12), broadcasts).await.unwrap_err();
    let part = |environment: &Environment, seconds| sum(&environment.bins.borrow(), &seconds);
    assert!(part(&environments[9], 6.0..7.0) >= 500.0, "{}", part(&environments[9], 6.0..7.0));
    let parts: Vec<f64> = environments.iter().map(|environment| part(environment, 8.0..12.0)).collect();
    let (total, squares) = (parts.iter().sum::<f64>(), parts.iter().map(|part| part * part).sum::<f64>());
    let jain = total * total / (parts.len() as f64 * squares);
    assert!(jain >= 0.9, "{jain:.3}: {parts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_environments_leave_is_taken_over() {
    fastrand::seed(4);
    let account = Account::new(10_000.0);
    let environments = environments(4, &account, 64, &FAR);
    let broadcasts = join_all(environments.iter().enumerate().map(async |(number, environment)| {
        let leaves = Duration::from_secs(if number < 2 { 5 } else { 60 });
        tokio::time::timeout(leaves, environment.broadcast(1_000_000)).await
    }));
    tokio::time::timeout(Duration::from_secs(8), broadcasts).await.unwrap_err();
    let goodput = account.borrow().goodput_in(5.0..7.0);
    assert!(goodput >= 0.9, "{goodput:.3}");
}

#[tokio::test(start_paused = true)]
async fn what_others_take_for_a_while_is_left_to_them_and_taken_back() {
    for count in [1, 4] {
        fastrand::seed(5);
        let account = Account::new(10_000.0);
        let start = Instant::now();
        let others = start + Duration::from_secs(3)..start + Duration::from_secs(8);
        account.borrow_mut().others = Some((others, 8_000.0));
        let environments = environments(count, &account, 128, &NEAR);
        let busy = broadcast_together(&environments, 1_000_000);
        tokio::time::timeout(Duration::from_secs(12), busy).await.unwrap_err();
        let account = account.borrow();
        let (meanwhile, afterwards) = (account.goodput_in(4.0..8.0), account.goodput_in(10.0..12.0));
        let case = format!("{count}: {:.4} wasted, {meanwhile:.3}, then {afterwards:.3}", account.waste());
        assert!(account.waste() <= 0.05, "{case}");
        assert!((0.17..=0.21).contains(&meanwhile), "{case}");
        assert!(afterwards >= 0.9, "{case}");
    }
}
