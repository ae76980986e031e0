//! A `sync` makes the connection a member again of every room that it names.

use std::time::Duration;

use futures::future::join;
use serde_json::json;
use shared::clock::Clock;
use shared::limits::{CONNECTION_TTL_SECONDS, MAX_MESSAGE_BYTES, MAX_POST_BYTES, ROOM_ID_CHARS, SYNC_ROOMS};
use testkit::aws_endpoint::{Call, Fault, Hold, Rule};
use testkit::dynamodb::{CONNECTIONS_TABLE, MESSAGES_TABLE};

use super::rooms::{CONNECTION, RETENTION, Rooms, all_at, facts, name, sync_of};

/// A put of the row of a room.
fn is_put_of(room: &str) -> impl Fn(&Call) -> bool + Send + 'static {
    let room = room.to_owned();
    move |call: &Call| call.body["Item"]["roomId"]["S"] == room.as_str()
}

#[tokio::test]
async fn a_sync_of_a_member_puts_nothing_and_reads_its_rows_once() {
    let rooms = Rooms::new();
    rooms.fifty(3, 10);
    let reply = rooms.sync(&all_at(3)).await;
    assert_eq!((&reply["renewed"], reply["rooms"].as_object().unwrap().len()), (&json!([]), 50));
    assert_eq!(rooms.dynamodb.count("PutItem"), 0);
    let mut operations = rooms.dynamodb.endpoint().operations();
    operations.sort();
    assert_eq!(operations, ["BatchGetItem", "Query"]);
    let query = &rooms.dynamodb.calls_of("Query")[0].body;
    assert_eq!((&query["TableName"], query.get("ConsistentRead")), (&json!(CONNECTIONS_TABLE), None));
}

#[tokio::test]
async fn a_row_that_was_lost_is_put_again_and_told() {
    let rooms = Rooms::new();
    rooms.fifty(3, 10);
    rooms.dynamodb.delete_row(CONNECTION, &name(7));
    let reply = rooms.sync(&all_at(3)).await;
    assert_eq!(reply["renewed"], json!([name(7)]));
    assert_eq!(facts(&reply["rooms"][name(7)]), (3, vec![], false, false));
    assert_eq!((rooms.dynamodb.count("PutItem"), rooms.memberships().len()), (1, 50));
    let row = rooms.dynamodb.rows_of_room(&name(7)).remove(0);
    assert_eq!((row.connection_id.as_str(), row.user_id.as_str()), (CONNECTION, "alice"));
    assert!(row.expires_at.abs_diff(rooms.clock.unix_seconds() + CONNECTION_TTL_SECONDS) <= 2);
    assert_eq!(rooms.sync(&all_at(3)).await["renewed"], json!([]));
}

#[tokio::test]
async fn a_row_that_is_about_to_expire_is_put_again_and_no_other() {
    let rooms = Rooms::new();
    for (room, seconds) in [("gone", 0), ("soon", 20 * 60 - 5), ("later", 20 * 60 + 60), ("late", 7_000)] {
        rooms.seed(room, 1, 10);
        rooms.join(room, seconds);
    }
    let reply = rooms.sync(&["gone", "late", "later", "soon"].map(|room| (room.to_owned(), 1))).await;
    assert_eq!(reply["renewed"], json!(["gone", "soon"]));
    let now = rooms.clock.unix_seconds();
    let lasting: Vec<_> =
        rooms.memberships().into_iter().filter(|(_, expires_at)| *expires_at > now + 7_100).map(|row| row.0).collect();
    assert_eq!((rooms.dynamodb.count("PutItem"), lasting), (2, vec!["gone".to_owned(), "soon".to_owned()]));
}

#[tokio::test]
async fn only_rooms_that_the_subject_may_join_are_joined() {
    let rooms = Rooms::new();
    let frame = sync_of(&[("mine".to_owned(), 0), ("user:bob".to_owned(), 0)]);
    let reply = rooms.request(&frame).await;
    assert_eq!((&reply["forbidden"], &reply["renewed"]), (&json!(["user:bob"]), &json!(["mine"])));
    assert_eq!(rooms.dynamodb.rooms_of_connection(CONNECTION), ["mine"]);
}

/// A message that is appended before the row exists is perhaps never posted to the connection, so the log must be read
/// after the row is put.
#[tokio::test]
async fn what_came_while_the_row_was_missing_is_in_the_reply() {
    let rooms = Rooms::new();
    rooms.seed("room", 2, 10);
    let hold = Hold::default();
    rooms.dynamodb.fault(Rule::on("PutItem", Fault::Held(hold.clone())).when(is_put_of("room")));
    let appends = async {
        rooms.dynamodb.endpoint().wait_for("PutItem", 1).await;
        rooms.dynamodb.endpoint().wait_for("BatchGetItem", 1).await;
        rooms.dynamodb.seed_log([json!({
            "roomId": "room", "seq": 3, "id": "m3", "from": "bob", "sentAt": 1, "data": "1", "appendedAt": 1,
            "expiresAt": rooms.clock.unix_seconds() + RETENTION,
        })]);
        hold.release();
    };
    let before_it = [("room".to_owned(), 2)];
    let (reply, ()) = join(rooms.sync(&before_it), appends).await;
    assert_eq!((facts(&reply["rooms"]["room"]), &reply["renewed"]), ((3, vec![3], false, false), &json!(["room"])));
}

#[tokio::test]
async fn a_room_whose_row_cannot_be_put_is_left_out_and_the_others_are_served() {
    let rooms = Rooms::new();
    rooms.fifty(3, 10);
    rooms.dynamodb.delete_row(CONNECTION, &name(7));
    rooms.dynamodb.delete_row(CONNECTION, &name(8));
    rooms.dynamodb.fault(Rule::on("PutItem", Fault::throughput_exceeded()).when(is_put_of(&name(7))));
    let reply = rooms.sync(&all_at(2)).await;
    assert_eq!(reply["renewed"], json!([name(8)]));
    let served = reply["rooms"].as_object().unwrap();
    assert!(served.len() == 49 && !served.contains_key(&name(7)));
    assert!(served.values().all(|page| facts(page) == (3, vec![3], false, false)));
}

#[tokio::test]
async fn a_room_whose_log_throttles_is_left_out_and_the_others_are_served() {
    let rooms = Rooms::new();
    rooms.fifty(3, 10);
    let is_of_room = |call: &Call| call.body["ExpressionAttributeValues"][":room"]["S"] == name(7).as_str();
    rooms.dynamodb.fault(Rule::on("Query", Fault::throughput_exceeded()).when(is_of_room));
    let reply = rooms.sync(&all_at(2)).await;
    let served = reply["rooms"].as_object().unwrap();
    assert!(served.len() == 49 && !served.contains_key(&name(7)));
    assert!(served.values().all(|page| facts(page) == (3, vec![3], false, false)));
    rooms.dynamodb.endpoint().clear_faults();
    let again = rooms.sync(&[(name(7), 2)]).await;
    assert_eq!(facts(&again["rooms"][name(7)]), (3, vec![3], false, false));
}

#[tokio::test]
async fn heads_that_the_table_does_not_process_are_left_out() {
    let rooms = Rooms::new();
    rooms.fifty(3, 10);
    rooms.dynamodb.fault(Rule::on("BatchGetItem", Fault::unprocessed_after(40)).times(1));
    let heads = rooms.sync(&all_at(3)).await;
    assert_eq!(heads["rooms"].as_object().unwrap().len(), 50, "those of the second round among them");
    rooms.clock.advance(Duration::from_secs(1));
    rooms.dynamodb.fault(Rule::on("BatchGetItem", Fault::unprocessed_after(40)).times(1));
    rooms.dynamodb.fault(Rule::on("BatchGetItem", Fault::unprocessed_after(0)));
    let heads = rooms.sync(&all_at(3)).await;
    assert_eq!(heads["rooms"].as_object().unwrap().len(), 40);
}

#[tokio::test]
async fn when_no_room_can_be_served_the_request_is_an_error() {
    for (fault, code) in [(Fault::throughput_exceeded(), "rate_limited"), (Fault::access_denied(), "unavailable")] {
        for (operation, table) in
            [("Query", CONNECTIONS_TABLE), ("Query", MESSAGES_TABLE), ("BatchGetItem", ""), ("PutItem", "")]
        {
            let rooms = Rooms::new();
            rooms.seed("room", 3, 10);
            if operation != "PutItem" {
                rooms.join("room", 7_200);
            }
            let is_table = move |call: &Call| table.is_empty() || call.body["TableName"] == table;
            rooms.dynamodb.fault(Rule::on(operation, fault.clone()).when(is_table));
            let reply = rooms.request(&sync_of(&[("room".to_owned(), 1)])).await;
            assert_eq!((&reply["code"], &reply["requestId"]), (&json!(code), &json!("q")), "{operation} {table}");
            assert_eq!(reply.get("retryAfterMs").is_some(), code == "rate_limited", "{reply}");
        }
    }
}

/// The largest reply that there can be: API Gateway does not pass on a larger one.
#[tokio::test]
async fn a_reply_fits_a_post_whatever_was_renewed() {
    let rooms = Rooms::new();
    let long = |number: usize| format!("{}{number:02}", "r".repeat(ROOM_ID_CHARS - 2));
    // A frame adds some 80 bytes to it.
    rooms.seed(&long(0), 1, MAX_MESSAGE_BYTES - 100);
    let positions: Vec<_> = (0..SYNC_ROOMS).map(|number| (long(number), 0)).collect();
    let mut served = Vec::new();
    for _ in 0..2 {
        let reply = rooms.sync(&positions).await;
        assert!(reply.to_string().len() <= MAX_POST_BYTES, "{} bytes", reply.to_string().len());
        served.push(facts(&reply["rooms"][long(0)]));
    }
    assert_eq!(served, [(1, vec![], true, false), (1, vec![1], false, false)]);
}
