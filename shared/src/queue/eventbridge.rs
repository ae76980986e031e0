//! The event bus: fans messages out to other consumers too, and gives up their order.

use std::sync::Arc;

use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};

use super::{QueueError, Sink};
use crate::{message::Message, trace::TraceHeader};

/// The detail type of every event that carries a message.
pub const DETAIL_TYPE: &str = "roomcast.message";

/// The source of events that the message route puts.
pub const SOURCE: &str = "roomcast.ingest";

const OPERATION: &str = "PutEvents";

/// The event bus.
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
        // The call succeeds when its entry fails.
        match output.entries().first() {
            Some(entry) if entry.event_id().is_some() => Ok(()),
            Some(entry) => Err(QueueError::of_entry(OPERATION, entry.error_code(), entry.error_message())),
            None => Err(QueueError::of_entry(OPERATION, None, Some("the response has no entry"))),
        }
    }
}
