//! `roomcast bench`.

use super::smoke::nothing_is_left;
use super::{json_lines, refuses, roomcast};
use crate::stacks::Stacks;

pub(crate) async fn bench_measures_within_its_posts_and_leaves_nothing(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let words = ["bench", "--posts", "40", "--connections", "4", "--rate", "10"];
    let (code, lines) = json_lines(stack, &words).await;
    assert_eq!(code, 0, "{lines:?}");
    let figures = lines.last().unwrap();
    assert_eq!((figures["members"].as_u64(), figures["messages"].as_u64()), (Some(4), Some(10)), "{figures}");
    assert_eq!((figures["lost"].as_u64(), figures["outOfOrder"].as_u64()), (Some(0), Some(0)), "{figures}");
    assert_eq!(figures["posts"]["budget"], 40);
    let [median, slow] = ["p50", "p99"].map(|share| figures["received"][share].as_f64().expect("a share of the times"));
    assert!(0.0 < median && median <= slow, "{figures}");
    nothing_is_left(stack, "bench:").await;
    let said = roomcast(stack, &["bench", "--posts", "4", "--connections", "2", "--rate", "10"]).await;
    assert!(said.out.contains("2 members, 2 messages"), "{said:?}");
}

pub(crate) async fn bench_refuses_more_posts_than_it_may_cause(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let words = ["bench", "--posts", "100", "--connections", "10", "--messages", "11"];
    refuses(stack, &words, "110 posts").await;
    refuses(stack, &["bench", "--rate", "0"], "0.1 to 200").await;
    refuses(stack, &["bench", "--connections", "0"], "--connections").await;
    refuses(stack, &["bench", "--posts", "many"], "--posts").await;
}
