//! The event bus, and a consumer that folds lifecycle events.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ingest::presence::events::Bus;
use serde_json::Value;
use shared::queue::QueueError;
use shared::queue::eventbridge::BusEvent;
use testkit::steps::Steps;

use super::world::World;

/// A room as a backend knows it, which drops events older than what it has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Folded {
    pub(super) rev: u64,
    pub(super) count: u64,
    pub(super) members: BTreeSet<String>,
    pub(super) is_occupied: bool,
    /// The `rev`s that had an event.
    pub(super) revs: BTreeSet<u64>,
    /// The number of events about members.
    pub(super) of_members: u64,
}

/// The bus; clones are the same bus.
#[derive(Clone, Default)]
pub(super) struct Witness(Rc<RefCell<BTreeMap<String, Folded>>>);

impl Witness {
    pub(super) fn room(&self, room: &str) -> Folded {
        self.0.borrow().get(room).cloned().unwrap_or_default()
    }

    fn take(&self, event: &BusEvent) {
        let detail: Value = serde_json::from_str(&event.detail).unwrap();
        let (room, rev) = (detail["roomId"].as_str().unwrap(), detail["rev"].as_u64().unwrap());
        let mut rooms = self.0.borrow_mut();
        let room = rooms.entry(room.to_owned()).or_default();
        room.revs.insert(rev);
        if rev < room.rev {
            return;
        }
        (room.rev, room.count) = (rev, detail["count"].as_u64().unwrap_or_default());
        let members = detail["members"].as_array().into_iter().flatten();
        let ids: Vec<String> = members.map(|member| member["id"].as_str().unwrap().to_owned()).collect();
        room.of_members += ids.len() as u64;
        match event.detail_type {
            "roomcast.room.occupied" => room.is_occupied = true,
            "roomcast.room.vacated" => room.is_occupied = false,
            "roomcast.member.joined" => room.members.extend(ids),
            "roomcast.member.left" => room.members.retain(|id| !ids.contains(id)),
            other => panic!("{other}"),
        }
    }
}

/// The bus as an environment reaches it.
pub(super) struct SteppedBus {
    pub(super) bus: Witness,
    pub(super) steps: Steps,
    pub(super) world: Rc<World>,
}

impl Bus for SteppedBus {
    async fn put(&self, events: &[BusEvent]) -> Vec<Result<(), QueueError>> {
        self.steps.pass().await;
        let failing = self.world.faults.get().bus;
        let fails = {
            let mut random = self.world.random.borrow_mut();
            (random.f64() < failing).then(|| random.usize(..events.len()))
        };
        let mut results = Vec::with_capacity(events.len());
        for (place, event) in events.iter().enumerate() {
            if fails == Some(place) || failing >= 1.0 {
                let reason = "as the test says".to_owned();
                results.push(Err(QueueError::Unavailable { operation: "PutEvents", reason }));
            } else {
                self.bus.take(event);
                results.push(Ok(()));
            }
        }
        self.steps.pass().await;
        results
    }
}
