//! The cost of requests: read units, counted as DynamoDB counts them.

use std::time::Duration;

use serde_json::json;
use shared::clock::Clock;
use testkit::aws_endpoint::{Fault, Rule};
use testkit::dynamodb::ConnectionRow;

use super::rooms::{CONNECTION, RETENTION, Rooms, all_at, facts, name, seqs, sync_of};

/// The size of a message that is nearly as large as possible.
const LARGE: usize = 100_000;

/// The most read units that a frame may cost.
const MOST: f64 = 300.0;

#[tokio::test]
async fn a_sync_of_fifty_rooms_of_large_messages_costs_little_wherever_the_client_is() {
    let rooms = Rooms::new();
    rooms.fifty(5, LARGE);
    let mut one_behind = all_at(5);
    one_behind[20].1 = 1;
    // Positions, the most read units that their sync may cost, and the number of messages that it brings.
    for (positions, most, messages) in
        [(all_at(5), 30.0, 0), (all_at(1), MOST, 1), (all_at(0), MOST, 1), (all_at(4), MOST, 1), (one_behind, 150.0, 1)]
    {
        rooms.clock.advance(Duration::from_secs(1));
        let before = rooms.dynamodb.read_units();
        let reply = rooms.sync(&positions).await;
        let units = rooms.dynamodb.read_units() - before;
        assert!(units <= most, "{units} read units from {}", positions[0].1);
        let served = reply["rooms"].as_object().unwrap();
        assert_eq!((served.len(), served.values().map(|page| seqs(page).len()).sum::<usize>()), (50, messages));
        for (room, after) in &positions {
            let page = &served[room];
            let last = seqs(page).last().copied().unwrap_or(*after);
            assert_eq!((&page["seq"], &page["more"], &page["truncated"]), (&json!(5), &json!(last < 5), &json!(false)));
        }
    }
}

/// After a deployment, perhaps no log has a head yet. Logs beyond the frame's budget are left out and asked for again.
#[tokio::test]
async fn logs_without_heads_are_looked_at_within_a_budget() {
    let rooms = Rooms::new();
    rooms.fifty(5, LARGE);
    for room in (0..50).map(name) {
        rooms.dynamodb.delete_head(&room);
    }
    let mut left = all_at(5);
    let mut replies = 0;
    while !left.is_empty() {
        let before = rooms.dynamodb.read_units();
        let reply = rooms.sync(&left).await;
        let units = rooms.dynamodb.read_units() - before;
        assert!(units <= MOST, "{units} read units");
        let served = reply["rooms"].as_object().unwrap();
        assert!(!served.is_empty() && served.values().all(|page| facts(page) == (5, vec![], false, false)));
        left.retain(|(room, _)| !served.contains_key(room));
        replies += 1;
    }
    assert!(replies <= 15, "{replies}");
}

/// An older version let a connection into any number of rooms.
#[tokio::test]
async fn the_other_rooms_of_a_connection_are_not_read() {
    let rooms = Rooms::new();
    let expires_at = rooms.clock.unix_seconds() + 7_200;
    let row = |number| ConnectionRow { expires_at, ..ConnectionRow::new(CONNECTION, &format!("m{number:04}")) };
    rooms.dynamodb.seed((0..5_000).map(row));
    let wanted = ["a", "m0000", "m2500", "m4999", "z"];
    let before = (rooms.dynamodb.read_units(), rooms.dynamodb.count("Query"));
    let reply = rooms.sync(&wanted.map(|room| (room.to_owned(), 0))).await;
    assert_eq!((&reply["renewed"], &reply["forbidden"]), (&json!([]), &json!(["z", "a"])));
    // The sync reads four pages of rows, and counts as many rows as a connection may have.
    let (units, queries) = (rooms.dynamodb.read_units() - before.0, rooms.dynamodb.count("Query") - before.1);
    assert!(units <= 20.0 && queries <= 8, "{units} read units, {queries} queries");
}

/// Positions beyond every head, as an attacker might send them.
#[tokio::test]
async fn positions_of_other_logs_are_looked_at_within_a_budget() {
    let rooms = Rooms::new();
    rooms.fifty(5, LARGE);
    let before = rooms.dynamodb.read_units();
    let reply = rooms.sync(&all_at(6)).await;
    let units = rooms.dynamodb.read_units() - before;
    assert!(units <= MOST, "{units} read units");
    let served = reply["rooms"].as_object().unwrap();
    assert!(served.len() >= 4 && served.values().all(|page| facts(page) == (5, vec![], false, true)), "{reply}");
}

#[tokio::test]
async fn rows_that_were_all_lost_are_put_and_their_logs_looked_at_within_a_budget() {
    let rooms = Rooms::new();
    for room in (0..50).map(name) {
        rooms.seed(&room, 5, LARGE);
    }
    let before = rooms.dynamodb.read_units();
    let reply = rooms.sync(&all_at(5)).await;
    assert!(rooms.dynamodb.read_units() - before <= MOST);
    assert_eq!(reply["renewed"].as_array().unwrap().len(), 50);
    // The client is a member now, so the rooms that were left out cost little.
    let served = reply["rooms"].as_object().unwrap();
    let left: Vec<_> = all_at(5).into_iter().filter(|(room, _)| !served.contains_key(room)).collect();
    let again = rooms.sync(&left).await;
    assert_eq!((served.len() + again["rooms"].as_object().unwrap().len(), &again["renewed"]), (50, &json!([])));
}

/// A client that was no member may be behind in every room.
#[tokio::test]
async fn rows_that_were_lost_long_ago_are_put_and_their_logs_read_within_a_budget() {
    let rooms = Rooms::new();
    for room in (0..50).map(name) {
        rooms.seed(&room, 5, LARGE);
    }
    let before = rooms.dynamodb.read_units();
    let reply = rooms.sync(&all_at(1)).await;
    let units = rooms.dynamodb.read_units() - before;
    assert!(units <= MOST, "{units} read units");
    let served = reply["rooms"].as_object().unwrap();
    assert!(served.len() == 50 && served.values().all(|page| page["seq"] == 5 && page["more"] == true));
}

/// A head far below the end of its log, as an environment remembers it while the room goes on.
#[tokio::test]
async fn a_log_that_has_gone_on_far_beyond_its_remembered_head_is_read_in_few_queries() {
    let rooms = Rooms::new();
    rooms.seed("room", 90, 10);
    rooms.join("room", 7_200);
    rooms.dynamodb.seed_head("room", 2, rooms.clock.unix_millis(), rooms.clock.unix_seconds() + RETENTION);
    let before = rooms.dynamodb.count("Query");
    let reply = rooms.sync(&[("room".to_owned(), 1)]).await;
    assert_eq!(facts(&reply["rooms"]["room"]), (90, (2..=90).collect(), false, false));
    let queries = rooms.dynamodb.count("Query") - before;
    assert!(queries <= 6, "{queries} queries");
}

#[tokio::test]
async fn clients_at_the_head_share_their_environments_read_for_half_a_second() {
    let rooms = Rooms::new();
    rooms.fifty(5, 1_000);
    let reads = || rooms.dynamodb.count("BatchGetItem");
    rooms.sync(&all_at(5)).await;
    assert_eq!(reads(), 1);
    for _ in 0..3 {
        rooms.clock.advance(Duration::from_millis(120));
        rooms.sync(&all_at(5)).await;
    }
    assert_eq!(reads(), 1);
    rooms.clock.advance(Duration::from_millis(200));
    rooms.sync(&all_at(5)).await;
    assert_eq!(reads(), 2);
    let of_logs = |operation: &str| {
        rooms.dynamodb.calls_of(operation).into_iter().filter(|call| call.body["TableName"] == "Messages").count()
    };
    assert_eq!(of_logs("Query"), 0);
}

/// A client that has more than the environment remembers has it from a broadcast.
#[tokio::test]
async fn a_head_below_the_clients_position_is_never_trusted() {
    let rooms = Rooms::new();
    rooms.seed("room", 5, 10);
    rooms.join("room", 7_200);
    let sync = async |after: u64| facts(&rooms.sync(&[("room".to_owned(), after)]).await["rooms"]["room"]);
    assert_eq!(sync(5).await, (5, vec![], false, false));
    // The log goes on; its head is still the old one, as an eventually consistent read may find it.
    rooms.seed("room", 7, 10);
    rooms.dynamodb.seed_head("room", 5, 1, u64::MAX >> 12);
    assert_eq!(sync(6).await, (7, vec![7], false, false));
    assert_eq!(sync(7).await, (7, vec![], false, false));
    assert_eq!(sync(8).await, (7, vec![], false, true));
}

/// The read of a head costs half a unit, that of a log as much as its newest message.
#[tokio::test]
async fn who_is_ahead_of_what_is_remembered_has_the_head_read_again() {
    let rooms = Rooms::new();
    rooms.seed("room", 5, LARGE);
    rooms.join("room", 7_200);
    let sync = async |after: u64| facts(&rooms.sync(&[("room".to_owned(), after)]).await["rooms"]["room"]);
    assert_eq!(sync(5).await, (5, vec![], false, false));
    rooms.seed("room", 6, LARGE);
    let before = rooms.dynamodb.read_units();
    assert_eq!(sync(6).await, (6, vec![], false, false));
    assert!(rooms.dynamodb.read_units() - before < 2.0);
    assert_eq!(rooms.dynamodb.count("BatchGetItem"), 2);
}

#[tokio::test]
async fn a_history_page_reads_about_what_it_holds() {
    let rooms = Rooms::new();
    rooms.seed("large", 100, LARGE);
    rooms.seed("small", 200, 100);
    for (room, messages, most) in [("large", 1, 40.0), ("small", 100, 10.0)] {
        let before = (rooms.dynamodb.read_units(), rooms.dynamodb.count("Query"));
        let history = rooms.request(&json!({ "action": "getHistory", "roomId": room, "limit": 100 })).await;
        let units = rooms.dynamodb.read_units() - before.0;
        assert!(units <= most, "{units} read units of {room}");
        assert_eq!((seqs(&history).len(), &history["more"]), (messages, &json!(true)));
        assert!(rooms.dynamodb.count("Query") - before.1 <= 2);
    }
    assert!(rooms.dynamodb.calls_of("Query").iter().all(|call| call.body["ConsistentRead"] != true));
}

/// Large messages that have expired and that the table has not deleted yet: looking beyond them uses up what the frame
/// may read.
#[tokio::test]
async fn expired_rows_that_are_still_there_are_looked_beyond_in_few_rooms_of_a_frame() {
    let rooms = Rooms::new();
    for room in (0..50).map(name) {
        rooms.seed(&room, 40, 40_000);
        rooms.dynamodb.expire_in_place(&room, 30);
        rooms.join(&room, 7_200);
    }
    let before = rooms.dynamodb.read_units();
    let reply = rooms.sync(&all_at(1)).await;
    let units = rooms.dynamodb.read_units() - before;
    assert!(units <= 2.0 * MOST, "{units} read units");
    let served = reply["rooms"].as_object().unwrap();
    assert_eq!(served.len(), 50);
    assert!(served.values().all(|page| page["seq"] == 40 && page["more"] == true));
    let brought: Vec<_> = served.values().map(seqs).filter(|seqs| !seqs.is_empty()).collect();
    assert_eq!(brought, [[31]]);
}

/// A room that is always behind does not keep the others from being served.
#[tokio::test]
async fn whoever_asks_again_gets_of_every_room() {
    let rooms = Rooms::new();
    rooms.fifty(2, LARGE);
    let mut positions = all_at(1);
    let mut replies = 0;
    while positions.iter().skip(1).any(|(_, after)| *after < 2) {
        let reply = rooms.sync(&positions).await;
        for (room, after) in positions.iter_mut().skip(1) {
            *after = seqs(&reply["rooms"][&*room]).last().copied().unwrap_or(*after);
        }
        replies += 1;
        assert!(replies < 1_000, "room-00 is behind for ever, and so is another");
    }
}

#[tokio::test]
async fn a_table_that_throttles_is_not_asked_fifty_times() {
    let rooms = Rooms::new();
    rooms.fifty(3, 10);
    let is_of_log = |call: &testkit::aws_endpoint::Call| call.body["TableName"] == "Messages";
    rooms.dynamodb.fault(Rule::on("Query", Fault::throughput_exceeded()).when(is_of_log));
    // A room that was not read is not said to have more: a client that is told so asks at once.
    let reply = rooms.request(&sync_of(&all_at(2))).await;
    assert!(reply["code"] == "rate_limited" && reply["retryAfterMs"].is_u64(), "{reply}");
    let queries = rooms.dynamodb.calls_of("Query").into_iter().filter(is_of_log).count();
    assert!(queries <= 3 * 6, "{queries} queries, with the SDK's attempts");
}
