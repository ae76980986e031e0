//! The metrics of a broadcast's frames.

use shared::{
    limits::{CLOCK_SKEW_MS, MESSAGE_AGE_MS},
    metrics::{
        Metrics,
        names::{BROADCAST_LATENCY, BROADCASTS, MESSAGES_PER_POST, PRESENCE_POSTS},
    },
};

use super::EncodedFrame;

/// Counts a broadcast and its posts (`posts` attempts in all). `ended` is the time when its last post was answered, in
/// milliseconds since the Unix epoch; it is `None` for a broadcast that is not over.
pub(crate) fn count(frames: &[EncodedFrame], posts: u64, ended: Option<u64>, metrics: &Metrics) {
    if frames.iter().any(EncodedFrame::is_presence) {
        metrics.add(PRESENCE_POSTS, posts);
        return;
    }
    metrics.add(BROADCASTS, 1);
    if posts == 0 {
        return;
    }
    // Each connection gets the frames in turn, so each frame has an equal part of the posts; a remainder belongs to the
    // first frames, since some connections did not get to the last ones.
    let (each, rest) = (posts / frames.len().max(1) as u64, posts % frames.len().max(1) as u64);
    for (place, frame) in (0_u64..).zip(frames) {
        metrics.record_times(MESSAGES_PER_POST, frame.messages().len() as u64, each + u64::from(place < rest));
    }
    let Some(ended) = ended else { return };
    // A message that was sent further in the future than clocks differ is not measured: counted with a latency of 0,
    // many of them would hide slow broadcasts.
    for message in frames.iter().flat_map(EncodedFrame::messages) {
        let latency = ended.saturating_sub(message.sent_at);
        if latency <= MESSAGE_AGE_MS && message.sent_at <= ended.saturating_add(CLOCK_SKEW_MS) {
            metrics.record(BROADCAST_LATENCY, latency);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::metrics::Dimensions;

    use super::{super::Carried, *};

    const NOW: u64 = 1_800_000_000_000;

    fn frame(sent_at: &[u64]) -> EncodedFrame {
        let messages = sent_at.iter().map(|sent_at| Carried { id: "i".into(), sent_at: *sent_at }).collect();
        EncodedFrame::of("{}".into(), 1..=1, messages)
    }

    fn measured(frames: &[EncodedFrame], posts: u64, ended: Option<u64>) -> Value {
        let metrics = Metrics::default();
        count(frames, posts, ended, &metrics);
        let dimensions = Dimensions { stack: "s".to_owned(), function: "f".to_owned() };
        metrics.to_line(&dimensions, NOW).map_or(Value::Null, |line| serde_json::from_str(&line).unwrap())
    }

    #[test]
    fn posts_count_by_the_messages_in_them() {
        let line = measured(&[frame(&[NOW; 10]), frame(&[NOW; 3])], 7, Some(NOW + 5));
        assert_eq!(line["MessagesPerPost"], json!({"Values": [3, 10], "Counts": [3, 4]}));
        assert_eq!(line["BroadcastLatency"], json!({"Values": [5], "Counts": [13]}));
    }

    #[test]
    fn posts_of_presence_are_counted_apart() {
        let line = measured(&[EncodedFrame::presence("{}".into())], 7, Some(NOW));
        assert_eq!(
            (&line["PresencePosts"], &line["Broadcasts"], &line["MessagesPerPost"]),
            (&json!(7), &Value::Null, &Value::Null)
        );
    }

    #[test]
    fn a_broadcast_that_goes_on_has_no_latency_yet() {
        assert_eq!(measured(&[frame(&[NOW])], 1, None)["BroadcastLatency"], Value::Null);
        assert_eq!(measured(&[frame(&[NOW])], 0, Some(NOW))["MessagesPerPost"], Value::Null);
    }

    #[test]
    fn what_is_no_time_of_acceptance_has_no_latency() {
        let oldest = NOW - MESSAGE_AGE_MS;
        let sent_at = [0, NOW / 1_000, NOW + 1_000, NOW + CLOCK_SKEW_MS + 1, NOW * 1_000, oldest, oldest - 1];
        let line = measured(&[frame(&sent_at)], 1, Some(NOW));
        assert_eq!(line["BroadcastLatency"], json!({"Values": [0, 3_700_000_000_u64], "Counts": [1, 1]}));
    }
}
