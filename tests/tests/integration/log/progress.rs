//! The progress of broadcasts: the rows beside the log's entries.

use std::num::NonZeroU16;

use serde_json::json;
use shared::clock::Clock;
use shared::store::log::{Progress, ProgressOf};
use testkit::aws_endpoint::{Fault, Rule};

use super::writer::{Log, ROOM, append, batch, ids, room, writer};

const RETENTION: u64 = 3_600;

impl Log {
    async fn save(&self, of: ProgressOf, progress: Progress) {
        let expires_at = self.clock.unix_seconds() + RETENTION;
        self.table.save_progress(&room(), of, &progress, expires_at).await.unwrap();
    }

    async fn shards_done(&self, shards: u16) -> u64 {
        self.table.shards_done(&room(), NonZeroU16::new(shards).unwrap()).await.unwrap()
    }
}

fn done(done: u64) -> Progress {
    Progress { done, ..Progress::default() }
}

#[tokio::test]
async fn each_group_reads_what_it_saved_last() {
    let log = Log::new();
    assert_eq!(log.table.progress(&room(), ProgressOf::Room).await.unwrap(), None);
    let of_room = Progress { done: 7, up_to: 9, slot: 65_535, missing: vec![0, 7, 65_534] };
    log.save(ProgressOf::Room, done(3)).await;
    log.save(ProgressOf::Room, of_room.clone()).await;
    log.save(ProgressOf::Shard(0), done(5)).await;
    log.save(ProgressOf::Shard(65_535), done(6)).await;
    for (of, saved) in [
        (ProgressOf::Room, Some(of_room)),
        (ProgressOf::Shard(0), Some(done(5))),
        (ProgressOf::Shard(65_535), Some(done(6))),
        (ProgressOf::Shard(1), None),
    ] {
        assert_eq!(log.table.progress(&room(), of).await.unwrap(), saved, "{of:?}");
    }
}

#[tokio::test]
async fn what_is_done_stays_done() {
    let log = Log::new();
    log.save(ProgressOf::Room, done(7)).await;
    log.save(ProgressOf::Room, Progress { done: 6, up_to: 9, slot: 40, missing: vec![3] }).await;
    assert_eq!(log.table.progress(&room(), ProgressOf::Room).await.unwrap(), Some(done(7)));
    // The same numbers may be interrupted again.
    let interrupted = Progress { done: 7, up_to: 9, slot: 40, missing: vec![3] };
    log.save(ProgressOf::Room, interrupted.clone()).await;
    assert_eq!(log.table.progress(&room(), ProgressOf::Room).await.unwrap(), Some(interrupted));
}

/// Rows are read by other versions than those that wrote them.
#[tokio::test]
async fn a_row_is_as_documented() {
    let log = Log::new();
    log.save(ProgressOf::Shard(3), Progress { done: 7, up_to: 9, slot: 40, missing: Vec::new() }).await;
    let call = &log.dynamodb.calls_of("PutItem")[0];
    let expires_at = log.clock.unix_seconds() + RETENTION;
    assert_eq!(
        call.body["Item"],
        json!({
            "roomId": { "S": ROOM }, "seq": { "N": "-5" }, "done": { "N": "7" }, "upTo": { "N": "9" },
            "slot": { "N": "40" }, "expiresAt": { "N": expires_at.to_string() },
        })
    );
    log.save(ProgressOf::Room, done(1)).await;
    assert_eq!(log.dynamodb.calls_of("PutItem")[1].body["Item"]["seq"]["N"], "-1");
}

#[tokio::test]
async fn shards_are_done_as_far_as_the_slowest() {
    let log = Log::new();
    assert_eq!(log.shards_done(1).await, 0);
    log.save(ProgressOf::Room, done(1)).await;
    for (shard, progress) in [(0, 9), (1, 7), (2, 8)] {
        log.save(ProgressOf::Shard(shard), done(progress)).await;
    }
    assert_eq!((log.shards_done(1).await, log.shards_done(2).await, log.shards_done(3).await), (9, 7, 7));
    assert_eq!(log.shards_done(4).await, 0, "the fourth has saved nothing");
    assert_eq!(log.dynamodb.count("Query"), 5, "one each");
    let query = &log.dynamodb.calls_of("Query")[0].body;
    assert_eq!(query["ConsistentRead"], true);
}

#[tokio::test]
async fn thousands_of_shards_are_all_looked_at() {
    let log = Log::new();
    let row = |shard: i64| json!({ "roomId": ROOM, "seq": -2 - shard, "done": 100 + shard, "slot": 0, "upTo": 0 });
    log.dynamodb.seed_log((0..4_000).map(row));
    assert_eq!((log.shards_done(4_000).await, log.shards_done(4_001).await), (100, 0));
}

#[tokio::test]
async fn rows_that_are_no_entries_are_never_read_as_such() {
    let log = Log::new();
    let writer = writer(&log.dynamodb, &log.clock, RETENTION);
    append(&writer, &batch(&["a", "b"], &log.clock)).await.unwrap();
    log.save(ProgressOf::Room, done(1)).await;
    log.save(ProgressOf::Shard(0), done(1)).await;
    assert_eq!(log.table.since(&room(), 0, 10).await.unwrap().entries.len(), 2);
    let latest = log.table.latest(&room(), None, 10).await.unwrap();
    assert_eq!((latest.entries.len(), latest.more), (2, false));
    assert_eq!(log.table.latest(&room(), Some(1), 10).await.unwrap().entries.len(), 0);
    assert_eq!(ids(&log.dynamodb), ["a", "b"], "nor by the tests");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_counts_as_none() {
    let log = Log::new();
    log.dynamodb.seed_log([
        json!({ "roomId": ROOM, "seq": -1, "done": 4, "upTo": 4, "slot": 65_536 }),
        json!({ "roomId": ROOM, "seq": -2, "done": "four" }),
    ]);
    assert_eq!(log.table.progress(&room(), ProgressOf::Room).await.unwrap(), None);
    assert_eq!(log.shards_done(1).await, 0);
    log.save(ProgressOf::Shard(0), done(1)).await;
    assert_eq!(log.shards_done(1).await, 1, "and another one takes its place");
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_an_error() {
    let log = Log::new();
    for operation in ["GetItem", "PutItem", "Query"] {
        log.dynamodb.fault(Rule::on(operation, Fault::access_denied()));
    }
    assert!(log.table.progress(&room(), ProgressOf::Room).await.is_err());
    assert!(log.table.save_progress(&room(), ProgressOf::Room, &done(1), 1).await.is_err());
    assert!(log.table.shards_done(&room(), NonZeroU16::MIN).await.is_err());
}
