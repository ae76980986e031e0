//! Frames of clients, through the `message` function: from the frame of one client to the frames that others in the
//! room receive.

use std::cell::RefCell;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use fastrand::Rng;
use ingest::{
    admission::Admission,
    congestion::CongestionSource,
    connections_api::ConnectionsApi,
    ephemeral::Ephemerals,
    message::MessageFunction,
    request::{Inbound, Request},
    routes::send_message::SendMessage,
    shares::{EphemeralShares, MessageRates},
};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};
use shared::{
    Ephemeral, Message,
    clock::Clock,
    congestion::Cut,
    limits::{MAX_POST_BYTES, NAME_CHARS},
    metrics::Metrics,
    queue::{QueueError, Sink, ephemeral::EphemeralSink},
    room_pattern::RoomPatterns,
    store::StoreError,
    trace::TraceHeader,
};

use super::{
    block_on,
    broadcast::{broadcast, queued},
    ephemerals::assert_posted,
};
use crate::promises::{assert_ephemeral_within_limits, assert_tells, assert_within_limits, field, value};

/// The most bytes of a reply to a message: the longest names, with every character escaped.
const REPLY_BYTES: usize = 1_500;

const NOW: u64 = 1_800_000_000_000;

pub(super) struct FixedClock;

impl Clock for FixedClock {
    fn unix_micros(&self) -> u64 {
        NOW * 1_000
    }
}

/// Queues that take every record and remember it.
#[derive(Default)]
struct Recording {
    messages: RefCell<Vec<Message>>,
    ephemerals: RefCell<Vec<Ephemeral>>,
}

impl Sink for &Recording {
    async fn put(&self, message: &Message, _: Option<&TraceHeader>) -> Result<(), QueueError> {
        self.messages.borrow_mut().push(message.clone());
        Ok(())
    }
}

impl EphemeralSink for &Recording {
    async fn put(&self, message: &Ephemeral) -> Result<(), QueueError> {
        self.ephemerals.borrow_mut().push(message.clone());
        Ok(())
    }
}

/// No room is behind.
#[derive(Clone)]
pub(super) struct NoCongestion;

impl CongestionSource for NoCongestion {
    async fn cuts(&self) -> Result<Vec<(String, Cut)>, StoreError> {
        Ok(Vec::new())
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        Ok(0)
    }
}

/// Rooms that keep state: the sender may set keys in one of them and not in another.
const STATE_ROOMS: &str = "rs:*,user:*";

const RATES: MessageRates = MessageRates { subject_messages: 1, subject_bytes: 1, room_messages: 1, room_bytes: 1 };

thread_local! {
    // No token expires here, and nobody is closed.
    static CONNECTIONS: ConnectionsApi = {
        let sdk = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        ConnectionsApi::new(&sdk, "http://127.0.0.1:9")
    };
    static EVENT: ApiGatewayWebsocketProxyRequest = serde_json::from_value(json!({
        "requestContext": {
            "routeKey": "sendMessage", "eventType": "MESSAGE", "connectionId": "c=", "messageId": "m=",
            "connectedAt": 1, "requestTimeEpoch": 2,
            "authorizer": {"sub": "alice", "rooms": r#"{"r*":["send"],"rs:mine":["state"],"user:*":["send"]}"#, "exp": "9007199254740991"},
        },
        "isBase64Encoded": false,
    })).unwrap();
}

pub(super) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let inbound = Inbound::parse(&text);
    if let Err(refusal) = &inbound {
        assert_tells(&refusal.reason.to_string());
    }
    let request_id = match &inbound {
        Ok(Inbound { request_id, .. }) => request_id.clone(),
        Err(refusal) => refusal.request_id.clone(),
    };
    if let Some(id) = &request_id {
        assert_eq!(field(&text, "requestId"), Some(id.as_str().into()));
    }

    let sink = Recording::default();
    let mut event = EVENT.with(Clone::clone);
    event.body = Some(text.clone().into_owned());
    let admission = Admission::new(NoCongestion, RATES, 1, Rng::with_seed(1));
    let state_rooms = RoomPatterns::parse(STATE_ROOMS).unwrap();
    let ephemerals = Some(Ephemerals::new(&sink, EphemeralShares::new(1)));
    let send_message = SendMessage { sink: &sink, admission, state_rooms, ephemerals };
    let function = MessageFunction::new(send_message, CONNECTIONS.with(Clone::clone), FixedClock);
    let event = LambdaEvent::new(event, Context::default());
    let response = block_on(function.handle(event, &Metrics::default())).expect("the connection stays open");
    assert_eq!(response.status_code, 200);
    let reply = response.body.expect("every frame is answered");
    assert!(reply.len() <= REPLY_BYTES.min(MAX_POST_BYTES), "{reply}");
    let reply = value(&reply);
    assert_eq!(reply["requestId"].as_str(), request_id.as_deref());

    let (mut messages, mut ephemerals) = (sink.messages.into_inner(), sink.ephemerals.into_inner());
    match reply["type"].as_str() {
        Some("accepted") => {
            assert!(matches!(inbound, Ok(Inbound { request: Request::SendMessage(_), .. })));
            assert_eq!(messages.len() + ephemerals.len(), 1, "one message");
            let is_ephemeral = field(&text, "ephemeral") == Some(true.into());
            assert_eq!(ephemerals.len(), usize::from(is_ephemeral));
            let id = named(&text, "id").map_or("m=".to_owned(), |id| id.as_str().unwrap().to_owned());
            assert_eq!(reply["id"], id);
            assert_eq!(Some(reply["roomId"].clone()), field(&text, "roomId"));
            if let Some(message) = messages.pop() {
                assert_eq!(message.id, id);
                check_accepted(&text, message);
            }
            if let Some(message) = ephemerals.pop() {
                check_ephemeral(&text, message);
            }
        }
        Some("error") => {
            assert!(messages.is_empty() && ephemerals.is_empty());
            assert_tells(reply["message"].as_str().unwrap());
            let codes = ["bad_request", "unknown_action", "forbidden", "too_large"];
            assert!(codes.contains(&reply["code"].as_str().unwrap()), "{reply}");
            assert!(reply["id"].as_str().is_none_or(|id| (1..=NAME_CHARS).contains(&id.chars().count())));
        }
        _ => panic!("{reply}"),
    }
}

/// Follows an accepted message to the room.
fn check_accepted(text: &str, message: Message) {
    assert_within_limits(&message);
    assert_eq!((message.from.as_str(), message.sent_at), ("alice", NOW));
    assert_eq!(field(text, "roomId"), Some(message.room.as_str().into()));
    assert!(["r", "user:"].into_iter().any(|rooms| message.room.as_str().starts_with(rooms)), "no right to send there");
    let said = field(text, "data").or(message.remove.then_some(Value::Null));
    assert_eq!(said, Some(value(message.data.get())), "what is said is what was sent");
    assert_eq!(message.key, named(text, "key").map(|key| key.as_str().unwrap().to_owned()));
    assert_eq!(message.version, named(text, "version").map(|version| version.as_u64().unwrap()));
    assert_eq!(Some(message.remove), named(text, "remove").map_or(Some(false), |remove| remove.as_bool()));
    assert_eq!(message.ttl_seconds, named(text, "ttlSeconds").map(|seconds| seconds.as_u64().unwrap()));
    let keeps_state = ["rs:", "user:"].into_iter().any(|rooms| message.room.as_str().starts_with(rooms));
    let is_own = ["rs:mine", "user:alice"].contains(&message.room.as_str());
    assert!(message.key.is_none() || !keeps_state || is_own, "no right to set a value there");

    let queued = queued(&message.room, &message.to_body());
    assert_eq!(queued.to_body(), message.to_body());
    assert_eq!(queued.identity(), message.identity());
    let room = message.room.clone();
    broadcast(&room, vec![message, queued]);
}

/// Follows an ephemeral message to the room.
fn check_ephemeral(text: &str, message: Ephemeral) {
    assert_ephemeral_within_limits(&message);
    assert_eq!((message.from.as_str(), message.sent_at), ("alice", NOW));
    assert_eq!(field(text, "roomId"), Some(message.room.as_str().into()));
    assert!(["r", "user:"].into_iter().any(|rooms| message.room.as_str().starts_with(rooms)), "no right to send there");
    assert_eq!(field(text, "data"), Some(value(message.data.get())), "what is said is what was sent");
    assert_eq!(message.key, named(text, "key").map(|key| key.as_str().unwrap().to_owned()));
    assert!(["version", "ttlSeconds"].into_iter().all(|name| named(text, name).is_none()));
    assert!(named(text, "remove").is_none_or(|remove| remove == false));
    assert_posted(&[&message.to_body()], NOW);
}

/// A field that is present; `null` counts as missing.
fn named(text: &str, name: &str) -> Option<Value> {
    field(text, name).filter(|value| !value.is_null())
}
