//! The whole way of a message in one process, with everything going wrong: random clients in random rooms, the real
//! session, message and fan-out functions, a model of the queue between them, and a scripted @connections server.
//! When the faults stop, one sync later every client has seen its rooms' logs: nothing lost, twice or out of order. And
//! until then, whatever is posted to a connection comes in the order of the log, also for a client that reorders
//! nothing.

mod client;
mod consumer;
mod verdict;
mod world;

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use testkit::seeds::for_each_seed;

use client::ChaosClient;
use consumer::Feed;
use world::World;

const SEEDS: usize = 500;

#[test]
fn when_the_faults_stop_every_client_has_seen_its_rooms_logs() {
    for_each_seed("chaos", SEEDS, |seed| async move {
        let mut random = Rng::with_seed(seed);
        let world = Rc::new(World::new(&mut random));
        let feeds = [Feed::Rooms, Feed::Shards].into_iter().flat_map(|feed| vec![feed; random.usize(1..=2)]);
        let consumers: Vec<_> = feeds
            .collect::<Vec<_>>()
            .into_iter()
            .map(|feed| tokio::task::spawn_local(consumer::run(Rc::clone(&world), feed, random.fork())))
            .collect();
        let mut clients: Vec<_> =
            (0..random.usize(2..=4)).map(|number| ChaosClient::new(Rc::clone(&world), number, random.fork())).collect();

        // One or two times of traffic and faults, with a silence between them in which retention may empty the rooms.
        for round in 0..random.u32(1..=2) {
            if round > 0 {
                world.wait_until_silent().await;
                world.stay_silent(&mut random);
            }
            join_all(clients.iter_mut().map(ChaosClient::live)).await;
        }

        world.stop_faults();
        world.wait_until_silent().await;
        join_all(clients.iter_mut().map(ChaosClient::converge)).await;
        world.close();
        for ended in join_all(consumers).await {
            ended.unwrap();
        }
        verdict::check(&world, &clients);
    });
}

/// A moment of real time, in which whatever is under way goes on.
async fn moment(random: &mut Rng) {
    tokio::time::sleep(Duration::from_millis(random.u64(1..8))).await;
}
