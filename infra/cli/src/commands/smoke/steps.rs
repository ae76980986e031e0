//! The steps, in their order.

use std::num::NonZeroU16;

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use fanout::{frame::EncodedFrame, shard};
use serde_json::json;
use shared::{
    RoomId,
    queue::{Queue, Record, sqs::SqsQueue},
};

use super::{
    ground::{Ground, eventually, has},
    optional,
};
use crate::{failure::Failure, traces};

/// The first number of the shard job's messages, which were never in a log: no fan-out has made the job.
const FIRST: u64 = 1;

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Connect,
    Join,
    Heartbeat,
    Send,
    Receive,
    History,
    State,
    Ephemeral,
    Presence,
    Event,
    Shard,
    Resume,
    DeadLetter,
    Redrive,
    Leave,
}

pub(super) const STEPS: [Step; 15] = [
    Step::Connect,
    Step::Join,
    Step::Heartbeat,
    Step::Send,
    Step::Receive,
    Step::History,
    Step::State,
    Step::Ephemeral,
    Step::Presence,
    Step::Event,
    Step::Shard,
    Step::Resume,
    Step::DeadLetter,
    Step::Redrive,
    Step::Leave,
];

impl Step {
    /// Whether the stack has the feature that the step tries.
    pub(super) fn is_for(self, ground: &Ground<'_>) -> bool {
        match self {
            Self::State => optional::keeps_state(ground.stack, &ground.room),
            Self::Ephemeral => ground.stack.optional_output("EphemeralQueueUrl").is_some(),
            Self::Presence => ground.presence_room.is_some(),
            _ => true,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Join => "join",
            Self::Heartbeat => "heartbeat",
            Self::Send => "send",
            Self::Receive => "receive",
            Self::History => "history",
            Self::State => "state",
            Self::Ephemeral => "ephemeral",
            Self::Presence => "presence",
            Self::Event => "event",
            Self::Shard => "shard",
            Self::Resume => "resume",
            Self::DeadLetter => "dead letter",
            Self::Redrive => "redrive",
            Self::Leave => "leave",
        }
    }

    /// The command to go on with when it fails.
    pub(super) fn look(self) -> &'static str {
        match self {
            Self::Connect => "doctor --brief --only tokens,api,functions,permissions,limits,clock",
            Self::Join | Self::Heartbeat | Self::History | Self::Leave => {
                "doctor --brief --only functions,permissions,api,tables"
            }
            Self::Send => "doctor --brief --only functions,permissions,api,queues",
            Self::Receive | Self::Resume | Self::State => {
                "doctor --brief --only mappings,functions,permissions,tables,queues,limits"
            }
            Self::Event => "doctor --brief --only bus,queues,mappings,functions,permissions",
            Self::Presence => "doctor --brief --only mappings,functions,permissions,tables,queues,bus",
            Self::Shard | Self::DeadLetter | Self::Redrive | Self::Ephemeral => {
                "doctor --brief --only queues,mappings,functions,permissions,limits"
            }
        }
    }

    pub(super) async fn take(self, ground: &mut Ground<'_>) -> Result<(), Failure> {
        match self {
            Self::Connect => connect(ground).await,
            Self::Join => join(ground).await,
            Self::Heartbeat => heartbeat(ground).await,
            Self::Send => ground.say("send").await.map(drop),
            Self::Receive => receive(ground).await,
            Self::History => history(ground).await,
            Self::State => optional::state(ground).await,
            Self::Ephemeral => optional::ephemeral(ground).await,
            Self::Presence => optional::presence(ground).await,
            Self::Event => event(ground).await,
            Self::Shard => shard(ground).await,
            Self::Resume => resume(ground).await,
            Self::DeadLetter => dead_letter(ground).await,
            Self::Redrive => redrive(ground).await,
            Self::Leave => leave(ground).await,
        }
    }
}

async fn connect(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let [alice, bob] = ground.subjects();
    ground.alice = Some(ground.connect(&alice).await?);
    ground.bob = Some(ground.connect(&bob).await?);
    Ok(())
}

async fn join(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let (room, within) = (ground.room.clone(), ground.within);
    for room in [room.clone(), ground.other_room.clone()] {
        ground.bob()?.request("joined", json!({ "action": "joinRoom", "roomId": room }), within).await?;
    }
    ground.alice()?.request("joined", json!({ "action": "joinRoom", "roomId": room }), within).await?;
    Ok(())
}

async fn heartbeat(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let (room, within) = (ground.room.clone(), ground.within);
    let mut rooms = json!({});
    rooms[&room] = json!(0);
    let synced = ground.bob()?.request("synced", json!({ "action": "sync", "rooms": rooms }), within).await?;
    match synced["rooms"].get(&room) {
        Some(_) => Ok(()),
        None => Err(Failure::Met(format!("the reply says nothing of the room: {synced}"))),
    }
}

async fn receive(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let id = ground.say("receive").await?;
    let room = ground.room.clone();
    ground.last = ground.hears(&room, &id).await?;
    Ok(())
}

async fn history(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let id = ground.say("history").await?;
    let room = ground.room.clone();
    ground.last = ground.hears(&room, &id).await?;
    let within = ground.within;
    let asked = json!({ "action": "getHistory", "roomId": room });
    let page = ground.bob()?.request("history", asked, within).await?;
    if has(&page["messages"], &id) { Ok(()) } else { Err(Failure::Met(format!("a message is not in it: {page}"))) }
}

async fn event(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let (room, bus) = (ground.room.clone(), ground.stack.output("EventBusName")?);
    let id = format!("event-{}", fastrand::u64(..));
    let detail = json!({ "roomId": room, "id": id, "data": { "smoke": "event" } });
    let entry = PutEventsRequestEntry::builder().event_bus_name(bus).source("roomcast.smoke");
    let entry = entry.detail_type("roomcast.message").detail(detail.to_string()).build();
    let put = aws_sdk_eventbridge::Client::new(&ground.stack.sdk).put_events().entries(entry).send().await;
    let put = put.map_err(Failure::call("an event was to be put on the bus"))?;
    if let Some(refused) = put.entries().iter().find_map(|entry| entry.error_code()) {
        return Err(Failure::Met(format!("the bus refused the event: {refused}")));
    }
    ground.last = ground.hears(&room, &id).await?;
    Ok(())
}

/// Sends a job as fan-out makes it for large rooms, here for a room that is cut into one shard.
async fn shard(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let room = ground.other_room.clone();
    let parsed = RoomId::parse(&room).map_err(|error| Failure::Met(error.to_string()))?;
    let id = format!("shard-{}", fastrand::u64(..));
    let message = json!({ "seq": FIRST, "id": id, "from": "smoke", "sentAt": 0, "data": { "smoke": "shard" } });
    let frame = json!({ "type": "messages", "roomId": room, "messages": [message] });
    let frame = EncodedFrame::new(frame.to_string().into());
    let records: Vec<Record> = shard::records(&parsed, &[frame], NonZeroU16::MIN, None).collect();
    send(ground, "ShardQueueUrl", &records).await?;
    ground.hears(&room, &id).await.map(drop)
}

async fn resume(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let (room, within, last) = (ground.room.clone(), ground.within, ground.last);
    let [_, subject] = ground.subjects();
    if let Some(bob) = ground.bob.take() {
        bob.close().await;
    }
    let id = ground.say("resume").await?;
    ground.bob = Some(ground.connect(&subject).await?);
    // Nobody else sends, so a client that comes back misses only this message.
    let asked = json!({ "action": "joinRoom", "roomId": room, "after": last });
    let joined = ground.bob()?.request("joined", asked, within).await?;
    let other = json!({ "action": "joinRoom", "roomId": ground.other_room });
    ground.bob()?.request("joined", other, within).await?;
    if has(&joined["messages"], &id) {
        return Ok(());
    }
    // The message was broadcast after the join, so it is no part of the reply.
    ground.hears(&room, &id).await.map(drop)
}

async fn dead_letter(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let room = ground.other_room.clone();
    let body = json!({ "roomId": room, "smoke": "this can never succeed" }).to_string();
    send(ground, "QueueUrl", &[record(&room, body, None)]).await?;
    let letter =
        eventually(ground, "the dead letter", async |ground| traces::take_letter(ground.stack, &room).await).await?;
    if letter.reason.is_some() { Ok(()) } else { Err(Failure::Met("the dead letter has no reason".to_owned())) }
}

async fn redrive(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let room = ground.other_room.clone();
    let id = format!("redriven-{}", fastrand::u64(..));
    let body =
        json!({ "v": 1, "roomId": room, "id": id, "from": "smoke", "sentAt": 0, "data": { "smoke": "redrive" } });
    let reason = Some("put there by roomcast smoke".to_owned());
    send(ground, "DlqUrl", &[record(&room, body.to_string(), reason)]).await?;
    let letter =
        eventually(ground, "the dead letter", async |ground| traces::take_letter(ground.stack, &room).await).await?;
    send(ground, "QueueUrl", &[record(&room, letter.body, None)]).await?;
    ground.hears(&room, &id).await.map(drop)
}

async fn leave(ground: &mut Ground<'_>) -> Result<(), Failure> {
    let (room, within) = (ground.room.clone(), ground.within);
    ground.bob()?.request("left", json!({ "action": "leaveRoom", "roomId": room }), within).await?;
    ground.hang_up().await;
    eventually(ground, "the end of the connections' rows", async |ground| {
        Ok(ground.traces().members(ground.stack).await?.is_empty().then_some(()))
    })
    .await
}

fn record(room: &str, body: String, reason: Option<String>) -> Record {
    let deduplication_id = format!("smoke-{}", fastrand::u64(..));
    Record { group_id: room.to_owned(), deduplication_id, body, reason, trace: None }
}

async fn send(ground: &Ground<'_>, queue: &str, records: &[Record]) -> Result<(), Failure> {
    let url = ground.stack.output(queue)?;
    let queue = SqsQueue::new(aws_sdk_sqs::Client::new(&ground.stack.sdk), url);
    let sent = queue.send(records).await.into_iter().collect::<Result<Vec<()>, _>>();
    sent.map(drop).map_err(Failure::call("a record was to be put into a queue"))
}
