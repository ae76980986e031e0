//! A plot of a run: what was delivered and what not, the queues, the wait, and the faults below, over time.

use testkit::plot::{Spans, Timeline, timelines};

use super::report::Seconds;
use super::world::Mark;

pub(super) fn draw(seconds: &Seconds, faults: &[Mark]) -> String {
    let lines = [
        Timeline {
            title: "deliveries a second",
            lines: vec![
                ("delivered", &seconds.delivered),
                ("undelivered (recovered from the log)", &seconds.undelivered),
            ],
        },
        Timeline {
            title: "records in the queues",
            lines: ["broadcasts", "shards", "events"]
                .into_iter()
                .zip(seconds.depths.iter().map(Vec::as_slice))
                .collect(),
        },
        Timeline {
            title: "the longest wait (s)",
            lines: vec![
                ("of a message that nobody has seen yet", &seconds.oldest),
                ("of records that fan-out took (QueueAge)", &seconds.queue_age),
            ],
        },
    ];
    let mut kinds: Vec<_> = faults.iter().map(|mark| mark.kind).collect();
    // The first is drawn at the bottom.
    kinds.sort_unstable_by(|one, other| other.cmp(one));
    kinds.dedup();
    let span = |mark: &Mark| (mark.from.as_secs_f64(), mark.until.as_secs_f64());
    let spans = kinds
        .into_iter()
        .map(|kind| Spans { kind, spans: faults.iter().filter(|mark| mark.kind == kind).map(span).collect() });
    let label = "Deliveries, queues, the longest wait and the faults of a run, over time";
    timelines(label, &lines, "faults", &spans.collect::<Vec<_>>())
}
