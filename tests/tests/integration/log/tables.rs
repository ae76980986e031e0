//! Calls of the tables whose answers make little difference to callers, and their costs.

use std::time::Duration;

use serde_json::json;
use shared::clock::Clock;
use shared::limits::CONNECTION_TTL_SECONDS;
use shared::store::StoreError;
use shared::store::log::LogTable;
use shared::store::presence::PresenceTable;
use shared::store::subjects::{SubjectConnection, SubjectTable};
use shared::{ConnectionId, RoomId, Subject};
use testkit::aws_endpoint::{Fault, Rule};
use testkit::clock::TestClock;
use testkit::dynamodb::{CONNECTIONS_TABLE, DynamoDb, MESSAGES_TABLE};

use super::writer::{ROOM, append_with_head, batch, client, writer};

fn room() -> RoomId {
    RoomId::parse(ROOM).unwrap()
}

fn presence(dynamodb: &DynamoDb, clock: &TestClock) -> PresenceTable<TestClock> {
    PresenceTable::new(client(dynamodb), CONNECTIONS_TABLE, clock.clone())
}

#[tokio::test]
async fn a_subjects_connection_is_forgotten_when_its_token_or_its_longest_life_is_over() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let subjects = SubjectTable::new(client(&dynamodb), CONNECTIONS_TABLE, clock.clone());
    let (alice, now) = (Subject::parse("alice").unwrap(), clock.unix_seconds());
    for (connection, ends_at, expires_at) in [("c1", now + 10, now + 10), ("c2", now * 2, now + CONNECTION_TTL_SECONDS)]
    {
        subjects.add(&alice, &ConnectionId::new(connection), ends_at).await.unwrap();
        clock.advance(Duration::from_millis(1));
        assert_eq!(dynamodb.raw_row("subject/alice", connection).unwrap()["expiresAt"], expires_at, "{connection}");
    }
    let names = |connections: Vec<SubjectConnection>| -> Vec<String> {
        connections.iter().map(|connection| connection.id.to_string()).collect()
    };
    assert!(subjects.connections(&alice, 5).await.unwrap().iter().all(|connection| connection.is_new));
    assert_eq!(names(subjects.connections(&alice, 5).await.unwrap()), ["c1", "c2"]);
    let before = dynamodb.count("Query");
    assert_eq!(names(subjects.connections(&alice, 1).await.unwrap()), ["c1"]);
    assert_eq!(dynamodb.count("Query") - before, 1, "what is beyond the limit is not read");
    clock.advance(Duration::from_secs(20));
    assert!(!subjects.connections(&alice, 5).await.unwrap()[0].is_new, "its handshake is over");
    assert_eq!(names(subjects.connections(&alice, 5).await.unwrap()), ["c2"]);
    assert_eq!(names(subjects.all_connections(&alice).await.unwrap()), ["c1", "c2"]);
}

/// An eventually consistent answer may lack the newest entries: unless it ends just before the number that was asked
/// for, that number is looked at, and the log is read again.
#[tokio::test]
async fn history_that_is_read_again_says_what_all_reads_took() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let numbers = append_with_head(&writer(&dynamodb, &clock, 3_600), &batch(&["a", "b"], &clock)).await;
    let log = LogTable::new(client(&dynamodb), MESSAGES_TABLE, clock.clone());
    let next = numbers[1] + 1;
    let once = log.history(&room(), Some(next), 10).await.unwrap().bytes;
    let again = log.history(&room(), Some(next + 1), 10).await.unwrap().bytes;
    assert!(once > 0);
    assert_eq!(again, 3 * once);
}

#[tokio::test]
async fn a_look_at_a_list_that_is_another_by_now_is_not_noted() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let presence = presence(&dynamodb, &clock);
    presence.note_look(&room(), 7, 1, 2).await.unwrap();
    assert_eq!(dynamodb.raw_row(&format!("presence/{ROOM}"), ROOM), None);
    dynamodb.fault(Rule::on("UpdateItem", Fault::throughput_exceeded()));
    let noted = presence.note_look(&room(), 7, 1, 2).await;
    assert!(matches!(noted, Err(StoreError::Throttled { .. })), "{noted:?}");
}

#[tokio::test]
async fn of_many_members_the_index_is_read_as_far_as_the_page_needs_it() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let presence = presence(&dynamodb, &clock);
    let row = |connection: &str, user: &str, joined_at: u64, listed: bool| {
        let present_until = clock.unix_seconds() + 60;
        dynamodb.seed_raw_row(&json!({
            "connectionId": connection, "roomId": ROOM, "userId": user, "memberOf": ROOM, "joinedAt": joined_at,
            "presentUntil": present_until, "listed": listed, "data": joined_at.to_string(),
        }));
    };
    // One answer has 500 rows at the most.
    for number in 0..499 {
        row(&format!("a{number:03}"), &format!("a{number:03}"), 1, number >= 400);
    }
    row("b1", "b", 1, true);
    row("b2", "b", 2, true);
    let page_after = async |after: &str, limit: u32| {
        let before = dynamodb.count("Query");
        let page = presence.listed_after(&room(), Some(after), limit).await.unwrap();
        (page, dynamodb.count("Query") - before)
    };
    let (page, queries) = page_after("", 10).await;
    assert_eq!((page.members.len(), page.next.as_deref(), queries), (10, Some("a409"), 1));
    // All members up to the end of the answer; the last one has a newer row after it.
    let (page, queries) = page_after("", 100).await;
    let last = page.members.last().unwrap();
    assert_eq!((page.members.len(), last.id.as_str(), queries), (100, "b", 2));
    assert_eq!((json!(last.data), page.next), (json!(2), None));
}
