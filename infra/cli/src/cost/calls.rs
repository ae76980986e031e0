//! The usage of calls that several parts of a stack make.

use super::{
    sizes::{MESSAGE_STEP, QUEUE_STEP, REPLY, steps},
    usage::{Count, Part, Usage},
    workload::Setting,
};

/// Seconds of an invocation of `message` or `session`, which wait for a call or two.
pub(super) const INGEST_SECONDS: f64 = 0.010;

/// Seconds that `fanout` needs besides posting: the log's write, the first page.
pub const LOGGING: f64 = 0.025;

/// Seconds that `shards` needs besides posting: a look at the progress and a note of it, the first page.
pub const RESUMING: f64 = 0.020;

/// An invocation of a function with `gb` of memory.
pub(super) fn invocation(usage: &mut Usage, part: Part, function: Count, (gb, seconds): (f64, f64), setting: &Setting) {
    usage.add(part, function, 1.0);
    usage.add(part, Count::GbSeconds, gb * seconds);
    usage.add(part, Count::LogBytes, setting.log_bytes);
}

/// A frame from a client with its reply.
pub(super) fn frame(usage: &mut Usage, part: Part, bytes: f64) {
    usage.add(part, Count::FramesIn, steps(bytes, MESSAGE_STEP));
    usage.add(part, Count::Replies, 1.0);
    usage.add(part, Count::EgressBytes, REPLY);
}

/// The calls that the event source mapping makes for a batch.
pub(super) fn receipt(usage: &mut Usage, part: Part, requests: Count, bytes: f64) {
    usage.add(part, Count::ReceiveMessage, 1.0);
    usage.add(part, Count::DeleteMessageBatch, 1.0);
    usage.add(part, requests, steps(bytes, QUEUE_STEP) + 1.0);
}
