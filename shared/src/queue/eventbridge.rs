//! The event bus: fans messages out to other consumers too, and gives up their order.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_eventbridge::{
    Client,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};

use super::{QueueError, Sink};
use crate::{message::Message, trace::TraceHeader};

/// The detail type of every event that carries a message.
pub const DETAIL_TYPE: &str = "roomcast.message";

/// The source of events that the message route puts.
pub const SOURCE: &str = "roomcast.ingest";

const OPERATION: &str = "PutEvents";

/// Entries in one call: the limit of `PutEvents`.
const ENTRIES: usize = 10;

/// Bytes of all details in one call: the limit of `PutEvents`, 256 KiB, less what is around them.
const CALL_BYTES: usize = 240 * 1024;

/// An event of any source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusEvent {
    /// Its source.
    pub source: &'static str,
    /// Its detail type.
    pub detail_type: &'static str,
    /// Its detail: a JSON object.
    pub detail: String,
}

/// An event bus of EventBridge.
#[derive(Clone, Debug)]
pub struct EventBus {
    client: Client,
    name: Arc<str>,
}

impl EventBus {
    /// The bus with this name.
    #[must_use]
    pub fn new(client: Client, name: &str) -> Self {
        Self { client, name: name.into() }
    }

    /// As [`EventBus::new`], with the usual client.
    #[must_use]
    pub fn of_sdk(sdk: &SdkConfig, name: &str) -> Self {
        Self::new(Client::new(sdk), name)
    }

    /// Puts events, one call after the other, and says for each whether the bus has it. If it takes none of the first
    /// call, no other call is made.
    pub async fn put_all(&self, events: &[BusEvent]) -> Vec<Result<(), QueueError>> {
        let mut results = Vec::with_capacity(events.len());
        let mut rest = events;
        while !rest.is_empty() {
            let (call, later) = rest.split_at(first_call(rest));
            results.extend(self.put_call(call).await);
            rest = later;
            if results.iter().all(Result::is_err) {
                break;
            }
        }
        results.resize(events.len(), Err(QueueError::NotSent));
        results
    }

    async fn put_call(&self, events: &[BusEvent]) -> Vec<Result<(), QueueError>> {
        let entry = |event: &BusEvent| {
            let entry = PutEventsRequestEntry::builder().event_bus_name(&*self.name).source(event.source);
            entry.detail_type(event.detail_type).detail(&event.detail).build()
        };
        let put = self.client.put_events().set_entries(Some(events.iter().map(entry).collect()));
        match put.send().await.map_err(QueueError::of_call(OPERATION)) {
            Ok(output) => (0..events.len()).map(|place| result(output.entries().get(place))).collect(),
            Err(error) => vec![Err(error); events.len()],
        }
    }
}

/// The number of first events that go into one call, one at least.
fn first_call(events: &[BusEvent]) -> usize {
    let totals = events.iter().take(ENTRIES).scan(0, |bytes, event| {
        *bytes += event.detail.len();
        Some(*bytes)
    });
    totals.take_while(|bytes| *bytes <= CALL_BYTES).count().max(1)
}

/// The result of an entry. A call can succeed while entries of it fail.
fn result(entry: Option<&PutEventsResultEntry>) -> Result<(), QueueError> {
    match entry {
        Some(entry) if entry.event_id().is_some() => Ok(()),
        Some(entry) => Err(QueueError::of_entry(OPERATION, entry.error_code(), entry.error_message())),
        None => Err(QueueError::of_entry(OPERATION, None, Some("the response has no entry"))),
    }
}

impl Sink for EventBus {
    async fn put(&self, message: &Message, trace: Option<&TraceHeader>) -> Result<(), QueueError> {
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&*self.name)
            .source(SOURCE)
            .detail_type(DETAIL_TYPE)
            .detail(message.to_body())
            .set_trace_header(trace.map(|trace| trace.as_str().to_owned()))
            .build();
        let output = self.client.put_events().entries(entry).send().await.map_err(QueueError::of_call(OPERATION))?;
        result(output.entries().first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_ten_events_or_240_kib() {
        let events = |bytes: &[usize]| -> Vec<BusEvent> {
            let event = |bytes: &usize| BusEvent { source: "s", detail_type: "t", detail: "x".repeat(*bytes) };
            bytes.iter().map(event).collect()
        };
        assert_eq!(first_call(&events(&[1; 11])), 10);
        assert_eq!(first_call(&events(&[100_000; 5])), 2);
        assert_eq!(first_call(&events(&[1_000_000, 1])), 1);
    }
}
