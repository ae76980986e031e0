//! Simulations of messages beside the presence frames of other rooms, which go through the same rate limiters.

use super::*;

/// `PRESENCE_POSTS_PER_SECOND`, of which a room may take a fifth.
const POSTS_PER_SECOND: usize = 500;
const ROOMS_SHARE: usize = 5;

/// Environments that broadcast.
const ENVIRONMENTS: usize = 4;

/// Messages a second of each environment, and the connections of their rooms.
const MESSAGES: u32 = 10;
const CONNECTIONS: usize = 100;

/// The rooms whose presence is published: the connections of each, and the number of rooms.
#[derive(Clone, Copy, Debug)]
struct Rooms {
    connections: usize,
    count: usize,
}

impl Rooms {
    /// The time between two publications.
    fn pause(self) -> Duration {
        let millis = 1_000 * ROOMS_SHARE * self.connections / POSTS_PER_SECOND / self.count;
        Duration::from_millis(millis as u64)
    }
}

/// Broadcasts messages for a time; returns how long each took, in milliseconds.
async fn messages(environment: &Environment, time: Duration) -> Vec<f64> {
    let pause = Duration::from_secs(1) / MESSAGES;
    let count = time.as_millis() / pause.as_millis();
    let send = |number| async move {
        sleep(pause * number).await;
        environment.broadcast(CONNECTIONS).await.as_secs_f64() * 1_000.0
    };
    join_all((0..u32::try_from(count).unwrap()).map(send)).await
}

/// Publishes the rooms' presence for a time, each publication by the next environment; returns the number of posts.
async fn publish(environments: &[Environment], rooms: Rooms, time: Duration) -> usize {
    let publish = |number: usize| async move {
        sleep(rooms.pause() * u32::try_from(number).unwrap()).await;
        environments[number % environments.len()].broadcast(rooms.connections).await;
        rooms.connections
    };
    let count = time.as_millis().div_ceil(rooms.pause().as_millis());
    join_all((0..usize::try_from(count).unwrap()).map(publish)).await.into_iter().sum()
}

/// The mean time of the messages' broadcasts in milliseconds, and the number of posts of presence beside them.
async fn mean_time(seed: u64, rate: f64, rooms: Option<Rooms>, time: Duration) -> (f64, usize) {
    fastrand::seed(seed);
    let account = Account::empty_for(rate, Duration::ZERO);
    let environments = environments(ENVIRONMENTS, &account, 64, &FAR);
    let messages = join_all(environments.iter().map(|environment| messages(environment, time)));
    let publishing = async {
        match rooms {
            Some(rooms) => publish(&environments, rooms, time).await,
            None => 0,
        }
    };
    let (times, posts) = futures::join!(messages, publishing);
    assert_eq!(environments.iter().map(|environment| environment.undelivered.get()).sum::<u32>(), 0);
    let times = times.concat();
    (times.iter().sum::<f64>() / times.len() as f64, posts)
}

/// The stack's rate allows to publish a room of ten thousand, where a hundred clients come and go each second, every
/// hundred seconds, or five rooms of a hundred every second.
///
/// Prints what the benchmarks report: `cargo test -p fanout --lib messages_beside_presence -- --nocapture`.
#[tokio::test(start_paused = true)]
#[expect(clippy::print_stdout, reason = "read by the benchmarks")]
async fn messages_beside_presence_take_hardly_longer() {
    let mut worst = 0.0_f64;
    for (rooms, time) in [
        (Rooms { connections: 10_000, count: 1 }, Duration::from_secs(100)),
        (Rooms { connections: 100, count: 5 }, Duration::from_secs(20)),
    ] {
        let (without, _) = mean_time(7, 10_000.0, None, time).await;
        let (with, posts) = mean_time(7, 10_000.0, Some(rooms), time).await;
        assert_eq!(
            posts,
            POSTS_PER_SECOND * usize::try_from(time.as_secs()).unwrap() * rooms.count / ROOMS_SHARE,
            "{rooms:?}"
        );
        worst = worst.max(with / without);
    }
    println!("messages_beside_presence_sim={worst:.4}");
    assert!(worst <= 1.1, "{worst:.4}");
}
