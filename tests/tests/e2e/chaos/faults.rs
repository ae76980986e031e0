//! The faults, at random: three sources side by side, each with a bag of faults that it goes through in a new order
//! again and again, so that even a short run has each fault.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::time::sleep;

use super::producers::{burst, poison};
use super::services::{Service, Trouble};
use super::world::{ROOMS, World};
use crate::environments::kill_environments;
use crate::posts::Behaviour;
use crate::tables::{lose_row, now, plant_row, rows};

/// Milliseconds that a fault lasts that does not pass by itself.
const SPELL_MS: std::ops::Range<u64> = 1_000..4_000;

/// Stale rows that a lost `$disconnect` leaves behind at a time.
const STALE: u64 = 3;

/// Makes the faults of a bag, each once in a random order and then anew, until the world is calm.
async fn make_trouble<F: Copy>(world: &World, bag: &[F], random: &mut Rng, mut make: impl AsyncFnMut(F, &mut Rng)) {
    let mut left: Vec<F> = Vec::new();
    loop {
        if left.is_empty() {
            left = bag.to_vec();
            random.shuffle(&mut left);
        }
        sleep(Duration::from_millis(random.u64(world.pause_ms.clone()))).await;
        if world.is_calm() {
            return;
        }
        make(left.pop().expect("a bag with faults"), random).await;
    }
}

async fn a_spell(random: &mut Rng) {
    sleep(Duration::from_millis(random.u64(SPELL_MS))).await;
}

/// Makes posts fail on their way to the connections.
pub(super) async fn trouble_posts(world: Arc<World>, mut random: Rng) {
    let bag = [
        ("posts throttled", Some((429, 0.7))),
        ("all posts throttled", Some((429, 1.0))),
        ("posts answered 503", Some((503, 0.5))),
        ("living connections said to be gone", Some((410, 0.4))),
        ("posts hang", None),
        ("posts lost", Some((0, 0.3))),
    ];
    make_trouble(&world, &bag, &mut random, async |(kind, answer), random| {
        let from = Instant::now();
        world.posts.behave(match answer {
            None => Behaviour::Hang,
            Some((0, share)) => Behaviour::Lose { share, random: random.fork() },
            Some((status, share)) => Behaviour::Refuse { status, share, random: random.fork() },
        });
        a_spell(random).await;
        world.posts.behave(Behaviour::Pass);
        world.mark(kind, from);
    })
    .await;
}

/// Makes the functions' calls to other services fail.
pub(super) async fn trouble_services(world: Arc<World>, mut random: Rng) {
    use Service::{DynamoDb, SecretsManager, Sqs};
    let bag = [
        ("DynamoDB throttles", DynamoDb, Trouble::Throttled, 0.6),
        ("DynamoDB is down", DynamoDb, Trouble::Broken, 1.0),
        ("DynamoDB hangs", DynamoDb, Trouble::Hangs, 0.3),
        ("DynamoDB's answers are lost", DynamoDb, Trouble::Unanswered, 0.3),
        ("SQS throttles", Sqs, Trouble::Throttled, 0.6),
        ("SQS's answers are lost", Sqs, Trouble::Unanswered, 0.3),
        ("the authorizer has no keys", SecretsManager, Trouble::Broken, 1.0),
    ];
    make_trouble(&world, &bag, &mut random, async |(kind, service, trouble, share), random| {
        let from = Instant::now();
        world.services.trouble(service, trouble, share, random.fork());
        if service == SecretsManager {
            // A new environment has to read the keys, and clients that are cut off have to connect.
            kill_environments(&world.stack, "AuthorizerFunction");
            world.cuts.send_replace(0.2);
        }
        a_spell(random).await;
        world.services.pass();
        world.mark(kind, from);
    })
    .await;
}

#[derive(Clone, Copy)]
enum Incident {
    Kill(&'static str, &'static str),
    Poison,
    Burst,
    Cut,
    DisconnectLost,
    RowLost,
    Rotation,
}

/// Causes the incidents, which take no time: kills, cuts, poison.
pub(super) async fn cause_incidents(world: Arc<World>, mut random: Rng) {
    use Incident::{Burst, Cut, DisconnectLost, Kill, Poison, Rotation, RowLost};
    let bag = [
        Kill("fanout killed", "FanoutFunction"),
        Kill("shards killed", "ShardsFunction"),
        Kill("message killed", "MessageFunction"),
        Kill("relay killed", "RelayFunction"),
        Kill("session killed", "SessionFunction"),
        Poison,
        Poison,
        Burst,
        Burst,
        Cut,
        DisconnectLost,
        RowLost,
        Rotation,
    ];
    let mut number = 0;
    make_trouble(&world, &bag, &mut random, async |incident, random| {
        number += 1;
        let from = Instant::now();
        let kind = match incident {
            Kill(kind, function) => {
                if kill_environments(&world.stack, function) == 0 {
                    return;
                }
                kind
            }
            Poison => {
                poison(&world, number, random).await;
                "poison"
            }
            Burst => {
                burst(&world, number, random).await;
                "burst of events"
            }
            Cut => {
                world.cuts.send_replace(0.4);
                "clients cut"
            }
            DisconnectLost => {
                leave_rows_behind(&world, number, random).await;
                "$disconnect lost"
            }
            RowLost => {
                lose_a_row(&world, random).await;
                "a member's row lost"
            }
            Rotation => {
                world.rotate_secret(format!("{:064x}", random.u128(..))).await;
                "secret rotated"
            }
        };
        world.mark(kind, from);
    })
    .await;
}

/// Puts rows of connections that never were. They stand for rows that API Gateway leaves behind when it loses a
/// `$disconnect`, as the emulator never does.
async fn leave_rows_behind(world: &World, number: usize, random: &mut Rng) {
    let long_ago = now().checked_sub(Duration::from_mins(10)).expect("a clock that is set");
    let room = ROOMS[random.usize(..ROOMS.len())];
    for row in 0..STALE {
        let connection = format!("stale{number}-{row}=");
        plant_row(&world.stack, room, &connection, random.u64(..65_536), long_ago).await;
    }
}

async fn lose_a_row(world: &World, random: &mut Rng) {
    let room = ROOMS[random.usize(..ROOMS.len())];
    let members = rows(&world.stack, room).await;
    if !members.is_empty() {
        lose_row(&world.stack, room, &members[random.usize(..members.len())].connection).await;
    }
}
