//! Reads of a log by clients: `joinRoom` with `after`, `sync` and `getHistory`.

use std::future::Future;
use std::time::Duration;

use futures::future::join;
use serde_json::{Value, json, value::RawValue};
use shared::clock::Clock;
use testkit::aws_endpoint::{Call, Fault, Hold, Rule};
use testkit::clock::TestClock;
use testkit::dynamodb::{ConnectionRow, DynamoDb, MESSAGES_TABLE};

use super::rooms::{facts, seqs};
use super::session::Session;
use super::writer::{ROOM, append_with_head, batch, batch_of, client, message, writer};

pub(super) const RETENTION: u64 = 3_600;

pub(super) struct Room {
    pub(super) dynamodb: DynamoDb,
    pub(super) clock: TestClock,
    session: Session,
}

impl Room {
    pub(super) fn new() -> Self {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let session = Session::new(client(&dynamodb), &clock);
        dynamodb.seed([ConnectionRow { expires_at: u64::MAX >> 12, ..ConnectionRow::new("c=", ROOM) }]);
        Self { dynamodb, clock, session }
    }

    /// Logs messages a minute apart; returns their numbers.
    pub(super) async fn log(&self, ids: &[&str]) -> Vec<u64> {
        let log = writer(&self.dynamodb, &self.clock, RETENTION);
        let mut logged = Vec::new();
        for id in ids {
            logged.extend(append_with_head(&log, &batch(&[id], &self.clock)).await);
            self.clock.advance(Duration::from_secs(60));
        }
        logged
    }

    pub(super) async fn sync(&self, after: u64) -> Value {
        let frame = json!({ "action": "sync", "rooms": { ROOM: after } });
        self.session.request("c=", "alice", &frame).await["rooms"][ROOM].take()
    }

    pub(super) async fn join(&self, after: Option<u64>) -> Value {
        let mut frame = json!({ "action": "joinRoom", "roomId": ROOM });
        if let Some(after) = after {
            frame["after"] = json!(after);
        }
        self.session.request("c=", "alice", &frame).await
    }

    pub(super) async fn history(&self, before: Option<u64>, limit: u32) -> Value {
        let mut frame = json!({ "action": "getHistory", "roomId": ROOM, "limit": limit });
        if let Some(before) = before {
            frame["before"] = json!(before);
        }
        self.session.request("c=", "alice", &frame).await
    }
}

#[tokio::test]
async fn an_empty_log_has_no_head() {
    let room = Room::new();
    assert_eq!(facts(&room.sync(0).await), (0, vec![], false, false));
    assert_eq!(facts(&room.sync(17).await), (0, vec![], false, true), "whatever came after 17 may be gone");
    let joined = room.session.request("c=", "alice", &json!({ "action": "joinRoom", "roomId": ROOM })).await;
    assert_eq!(facts(&joined), (0, vec![], false, false));
}

#[tokio::test]
async fn a_reader_gets_what_comes_after_what_it_has() {
    let room = Room::new();
    let log = room.log(&["a", "b", "c"]).await;
    assert_eq!(facts(&room.sync(log[0]).await), (log[2], log[1..].to_vec(), false, false));
    assert_eq!(facts(&room.sync(log[2]).await), (log[2], vec![], false, false));
    assert_eq!(facts(&room.sync(0).await), (log[2], log.clone(), false, false));
    let join = json!({ "action": "joinRoom", "roomId": ROOM, "after": log[1] });
    assert_eq!(facts(&room.session.request("c=", "alice", &join).await), (log[2], vec![log[2]], false, false));
}

#[tokio::test]
async fn what_has_expired_is_never_returned_though_the_table_still_has_it() {
    let room = Room::new();
    let log = room.log(&["a", "b", "c", "d"]).await;
    // `a` and `b` expire; `c` and `d` do not yet.
    room.clock.advance(Duration::from_secs(RETENTION - 150));
    assert_eq!(room.dynamodb.log(ROOM).len(), 4);
    assert_eq!(facts(&room.sync(0).await), (log[3], log[2..].to_vec(), false, false));
    let history = room.history(None, 10).await;
    assert_eq!((seqs(&history), &history["more"]), (log[2..].to_vec(), &json!(false)));
    let history = room.history(Some(log[2]), 10).await;
    assert_eq!((seqs(&history), &history["more"]), (vec![], &json!(false)));
    room.clock.advance(Duration::from_secs(300));
    assert_eq!(facts(&room.sync(0).await), (log[3], vec![], false, false));
    assert_eq!(seqs(&room.history(None, 10).await), Vec::<u64>::new());
}

/// The table may have deleted any of the expired entries, in any order.
#[tokio::test]
async fn truncation_is_told_exactly_while_the_readers_last_message_is_there() {
    for share in [0.0, 0.5, 1.0] {
        let room = Room::new();
        let log = room.log(&["a", "b", "c", "d"]).await;
        room.clock.advance(Duration::from_secs(RETENTION - 150));
        let mut random = fastrand::Rng::with_seed(3);
        room.dynamodb.delete_expired(ROOM, room.clock.unix_seconds(), share, &mut random);
        let rest = log[2..].to_vec();
        assert_eq!(facts(&room.sync(log[0]).await), (log[3], rest.clone(), false, true), "b was dropped");
        assert_eq!(facts(&room.sync(log[1]).await), (log[3], rest, false, false), "nothing that comes after b was");
        assert_eq!(facts(&room.sync(log[2]).await), (log[3], vec![log[3]], false, false));
        assert_eq!(facts(&room.sync(log[3]).await), (log[3], vec![], false, false));
        assert_eq!(facts(&room.sync(log[3] + 9).await), (log[3], vec![], false, true), "of another log");
    }
}

#[tokio::test]
async fn who_has_everything_of_a_log_that_has_expired_has_missed_nothing() {
    for share in [0.0, 1.0] {
        let room = Room::new();
        let log = room.log(&["a", "b"]).await;
        room.clock.advance(Duration::from_secs(RETENTION));
        let mut random = fastrand::Rng::with_seed(3);
        room.dynamodb.delete_expired(ROOM, room.clock.unix_seconds(), share, &mut random);
        for page in [room.sync(log[1]).await, room.join(Some(log[1])).await] {
            assert_eq!(facts(&page), (log[1], vec![], false, false));
        }
        for page in [room.sync(log[0]).await, room.join(Some(log[0])).await] {
            assert_eq!(facts(&page), (log[1], vec![], false, true), "b is gone");
        }
        for page in [room.sync(log[1] + 1).await, room.join(Some(log[1] + 1)).await] {
            assert_eq!(facts(&page), (log[1], vec![], false, true), "of another log");
        }
        for page in [room.sync(0).await, room.join(Some(0)).await, room.join(None).await] {
            assert_eq!(facts(&page), (log[1], vec![], false, false));
        }
    }
}

#[tokio::test]
async fn whoever_reads_from_the_beginning_costs_one_read_of_the_log() {
    let room = Room::new();
    let log = room.log(&["a", "b"]).await;
    let reads = || {
        let of_the_log = |call: &&Call| call.body["TableName"] == MESSAGES_TABLE;
        ["Query", "GetItem"].map(|operation| room.dynamodb.calls_of(operation).iter().filter(of_the_log).count())
    };
    let [queries, gets] = reads();
    assert_eq!(facts(&room.join(Some(0)).await), (log[1], log, false, false));
    assert_eq!(reads(), [queries + 1, gets]);
}

#[tokio::test]
async fn a_backlog_of_several_replies_is_read_to_its_end() {
    let room = Room::new();
    let log = writer(&room.dynamodb, &room.clock, RETENTION);
    let large = RawValue::from_string(format!("\"{}\"", "x".repeat(10_000))).unwrap();
    let mut first = None;
    for round in 0..25 {
        let mut messages: Vec<_> = (0..10).map(|place| message(&format!("{round}-{place}"), &room.clock)).collect();
        messages[3].data = large.clone();
        let logged = append_with_head(&log, &batch_of(messages)).await;
        first.get_or_insert(logged[0]);
    }
    let first = first.unwrap();
    let (mut after, mut replies, mut read) = (first - 1, 0, Vec::new());
    loop {
        let page = room.sync(after).await;
        let (head, new, more, truncated) = facts(&page);
        assert!(head == first + 249 && !truncated && page.to_string().len() <= 32 * 1024);
        after = *new.last().expect("at least one message in each reply");
        read.extend(new);
        replies += 1;
        if !more {
            break;
        }
    }
    assert!(read.into_iter().eq(first..first + 250), "all, once and in order");
    assert!((8..=15).contains(&replies), "{replies}");
}

#[tokio::test]
async fn history_is_paged_from_the_newest_and_crosses_a_jump() {
    let room = Room::new();
    let mut log = room.log(&["a", "b", "c"]).await;
    // Deployments before have let numbers jump while the log still had entries.
    let row = |seq: u64| {
        let expires_at = room.clock.unix_seconds() + RETENTION;
        json!({
            "roomId": ROOM, "seq": seq, "id": format!("m{seq}"), "from": "alice", "sentAt": 1, "data": "1",
            "appendedAt": 1, "expiresAt": expires_at,
        })
    };
    log.extend([log[2] + 5_000_000, log[2] + 5_000_001]);
    room.dynamodb.seed_log(log[3..].iter().map(|seq| row(*seq)));
    room.dynamodb.seed_head(ROOM, log[4], 1, room.clock.unix_seconds() + RETENTION);
    let (mut before, mut read) = (None, Vec::new());
    loop {
        let page = room.history(before, 2).await;
        let mut newer = seqs(&page);
        assert!(newer.is_sorted());
        before = newer.first().copied();
        newer.extend(read);
        read = newer;
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(read, log);
    let page = facts(&room.sync(log[2]).await);
    assert_eq!(page, (log[4], log[3..].to_vec(), false, true), "no fence says that nothing was between");
}

#[tokio::test]
async fn many_expired_rows_that_are_still_there_cost_few_reads() {
    let room = Room::new();
    let now = room.clock.unix_seconds();
    // The table may take days to delete what has expired. One row in a hundred it has deleted already.
    let row = |seq: u64| {
        let expires_at = if seq <= 9_990 { now - 1 } else { now + RETENTION };
        json!({
            "roomId": ROOM, "seq": seq, "id": format!("m{seq}"), "from": "alice", "sentAt": 1, "data": "1",
            "appendedAt": 1, "expiresAt": expires_at,
        })
    };
    room.dynamodb.seed_log((1..=10_000).filter(|seq| seq % 100 != 50).map(row));
    room.dynamodb.seed_head(ROOM, 10_000, 1, now + RETENTION);
    for after in [0, 5, 9_700] {
        let before = room.dynamodb.count("Query");
        let page = room.sync(after).await;
        assert_eq!(facts(&page), (10_000, (9_991..=10_000).collect(), false, after > 0));
        let queries = room.dynamodb.count("Query") - before;
        assert!(queries <= 20, "{queries} queries");
    }
}

/// The reply to a request while the log ends: all its messages expire while the query with this index is under way.
async fn read_while_it_ends(room: &Room, queries: usize, request: impl Future<Output = Value>) -> Value {
    let hold = Hold::default();
    let is_of_log = |call: &Call| call.body["TableName"] == MESSAGES_TABLE;
    room.dynamodb.fault(Rule::on("Query", Fault::Held(hold.clone())).when(is_of_log).after(queries));
    let of_log = || room.dynamodb.calls_of("Query").into_iter().filter(is_of_log).count();
    let before = of_log();
    let ends = async {
        while of_log() < before + queries + 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        room.clock.advance(Duration::from_secs(RETENTION));
        hold.release();
    };
    join(request, ends).await.0
}

async fn log_150(room: &Room) -> Vec<u64> {
    let log = writer(&room.dynamodb, &room.clock, RETENTION);
    let mut all = Vec::new();
    for part in 0..15 {
        let ids: Vec<_> = (0..10).map(|n| format!("{part}-{n}")).collect();
        all.extend(
            append_with_head(&log, &batch(&ids.iter().map(String::as_str).collect::<Vec<_>>(), &room.clock)).await,
        );
    }
    all
}

/// The saved head says that the log has expired, so it has not just been started, and is not read once more.
#[tokio::test]
async fn who_joins_a_log_that_has_expired_has_it_read_once() {
    let room = Room::new();
    let last = room.log(&["a", "b"]).await[1];
    room.clock.advance(Duration::from_secs(RETENTION));
    room.dynamodb.endpoint().clear_calls();
    assert_eq!(facts(&room.join(None).await), (last, vec![], false, false));
    let of_log = |call: &Call| call.body["TableName"] == MESSAGES_TABLE;
    let calls: Vec<_> =
        room.dynamodb.endpoint().calls().into_iter().filter(of_log).map(|call| call.operation).collect();
    assert_eq!(calls, ["Query", "GetItem"]);
}

/// A join reads a few rows, then the rest of a reply's, and then, because the log goes on, its head.
#[tokio::test]
async fn a_log_that_ends_between_two_reads_ends_with_what_was_read() {
    let room = Room::new();
    let all = log_150(&room).await;
    for queries in [1, 2] {
        let room = Room::new();
        let all = log_150(&room).await;
        let page = read_while_it_ends(&room, queries, room.join(Some(all[0]))).await;
        let read = seqs(&page);
        assert!(read.len() >= 2);
        assert_eq!(facts(&page), (*read.last().unwrap(), all[1..=read.len()].to_vec(), false, false));
    }
    // A client that knows the head asks for the rest, and learns that it is gone.
    let page = read_while_it_ends(&room, 1, room.sync(all[0])).await;
    let read = seqs(&page);
    assert_eq!(facts(&page), (all[149], all[1..=read.len()].to_vec(), true, false));
    assert_eq!(facts(&room.sync(read[read.len() - 1]).await), (all[149], vec![], false, true));
}

/// A client that joins does not know the head, and learns from the log how far behind it is.
#[tokio::test]
async fn who_joins_far_behind_is_told_of_the_head_and_that_there_is_more() {
    let room = Room::new();
    let all = log_150(&room).await;
    assert_eq!(facts(&room.join(Some(all[0])).await), (all[149], all[1..=100].to_vec(), true, false));
    assert_eq!(facts(&room.join(Some(all[100])).await), (all[149], all[101..].to_vec(), false, false));
}

/// A head is saved after its messages are logged, so the log may go on beyond it, and the client must ask for the rest.
#[tokio::test]
async fn who_is_behind_a_head_that_is_behind_the_log_is_told_that_there_is_more() {
    let room = Room::new();
    let all = log_150(&room).await;
    room.dynamodb.seed_head(ROOM, all[9], 1, room.clock.unix_seconds() + RETENTION);
    assert_eq!(facts(&room.sync(all[0]).await), (all[100], all[1..=100].to_vec(), true, false));
    assert_eq!(facts(&room.sync(all[8]).await), (all[108], all[9..=108].to_vec(), true, false));
}

/// The head that was read does not tell of messages that are appended while the log is read; the log does.
#[tokio::test]
async fn what_is_appended_between_two_reads_is_read_too() {
    let room = Room::new();
    let log = room.log(&["a", "b"]).await;
    let hold = Hold::default();
    room.dynamodb
        .fault(Rule::on("Query", Fault::Held(hold.clone())).when(|call| call.body["TableName"] == MESSAGES_TABLE));
    let heads = room.dynamodb.count("BatchGetItem");
    let appends = async {
        room.dynamodb.endpoint().wait_for("BatchGetItem", heads + 1).await;
        room.dynamodb.endpoint().wait_for("Query", 3).await;
        let row = json!({
            "roomId": ROOM, "seq": log[1] + 1, "id": "c", "from": "alice", "sentAt": 1, "data": "1", "appendedAt": 1,
            "expiresAt": room.clock.unix_seconds() + RETENTION,
        });
        room.dynamodb.seed_log([row]);
        hold.release();
    };
    let (page, ()) = join(room.sync(log[0]), appends).await;
    assert_eq!(facts(&page), (log[1] + 1, vec![log[1], log[1] + 1], false, false));
}

/// The log is empty when it is read, and has a head afterwards: the message came between the two reads, and the client
/// must not believe that it has the message.
#[tokio::test]
async fn a_log_that_starts_before_its_head_is_read_has_more_to_ask_for() {
    for silent in [false, true] {
        for asks in ["join", "sync"] {
            let room = Room::new();
            let after = if silent { *room.log(&["a"]).await.last().unwrap() } else { 0 };
            room.clock.advance(Duration::from_secs(RETENTION));
            if asks == "sync" {
                // For a client that was no member, the log itself is read.
                room.dynamodb.delete_row("c=", ROOM);
            }
            let hold = Hold::default();
            let is_of_head = |call: &Call| call.body["Key"]["seq"]["N"] == "-1000000";
            room.dynamodb.fault(Rule::on("GetItem", Fault::Held(hold.clone())).when(is_of_head).times(1));
            let reads = room.dynamodb.count("GetItem");
            let starts = async {
                room.dynamodb.endpoint().wait_for("GetItem", reads + 1).await;
                let logged = room.log(&["b"]).await;
                hold.release();
                logged
            };
            let request = async {
                match asks {
                    "join" => room.join(Some(after)).await,
                    _ => room.sync(after).await,
                }
            };
            let (page, new) = join(request, starts).await;
            assert_eq!(facts(&page), (new[0], vec![], true, false), "{asks} after {after}");
            assert_eq!(facts(&room.sync(after).await), (new[0], new, false, false));
        }
    }
}
