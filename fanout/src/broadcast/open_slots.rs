//! The slots that have got a broadcast, and those that lack it: this is written down when the time is up.
//!
//! Deliveries begin in the order of slots and end in any order. Everything below the slot that was reached has the
//! broadcast or is known to have missed it, except for the few deliveries that are still open: their slots are named
//! one by one. For example, with slot 40 reached and deliveries in slots 7 and 31 still open, the next invocation posts
//! to the members of slots 7 and 31, then to everybody from slot 40 on. A member that was left open gets one more
//! chance, so that no connection holds up its room for ever.

use std::collections::BTreeMap;

use shared::ConnectionId;

use crate::resume::Slots;

/// The most slots that are named one by one. Everybody above the last of them is posted to again.
const MOST_MISSING: usize = 32;

/// The deliveries that have not ended.
#[derive(Debug)]
pub struct OpenSlots {
    open: BTreeMap<Ticket, Open>,
    /// The slot of the member that came last, since more members of it may follow; the slot after it once there are no
    /// more members.
    reached: u16,
    /// At least one member came.
    has_begun: bool,
    /// The first slot is the very last one there is: its members were left open by an earlier invocation.
    is_last_slot: bool,
    tickets: u32,
}

/// A delivery's key: its slot, and a number that tells the deliveries of one slot apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    slot: u16,
    number: u32,
}

#[derive(Debug)]
struct Open {
    connection: ConnectionId,
    state: State,
    /// The delivery was open already when an earlier invocation ended.
    has_had_its_chance: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The delivery waits for its turn.
    Waiting,
    UnderWay,
    /// An attempt failed, perhaps by the connection's fault, and the delivery waits for another one.
    Failing,
}

impl OpenSlots {
    /// The state of a broadcast to the slots from `first` on, before its first delivery.
    #[must_use]
    pub fn new(first: u16) -> Self {
        let is_last_slot = first == u16::MAX;
        Self { open: BTreeMap::new(), reached: first, has_begun: false, is_last_slot, tickets: 0 }
    }

    /// Adds a member below the first slot whose delivery an earlier invocation left open.
    pub fn leave_open(&mut self, connection: &ConnectionId) -> Ticket {
        self.open(connection, connection.slot(), true)
    }

    /// Adds the member that comes next: all members of lower slots have been added.
    pub fn reach(&mut self, connection: &ConnectionId) -> Ticket {
        // The slot is a hash of the id: it is computed once for each member.
        self.reached = connection.slot();
        self.has_begun = true;
        self.open(connection, self.reached, self.is_last_slot)
    }

    /// Notes that there are no more members, so that the last member's slot, too, is named like the others and not
    /// posted to anew as "the slot that was reached": otherwise the last member would never count as having had its
    /// chance. There is no slot after the very last one (65,535), so it cannot be named; a broadcast that starts there
    /// knows that its members had their chance.
    pub fn reach_end(&mut self) {
        self.reached = self.reached.saturating_add(u16::from(self.has_begun));
    }

    /// Notes that a delivery's first post begins.
    pub fn begin(&mut self, ticket: Ticket) {
        self.set_failing(ticket, false);
    }

    /// Notes that an attempt of a delivery has failed, or that another attempt begins.
    pub fn set_failing(&mut self, ticket: Ticket, is_failing: bool) {
        if let Some(open) = self.open.get_mut(&ticket) {
            open.state = if is_failing { State::Failing } else { State::UnderWay };
        }
    }

    /// Removes a delivery that has ended: the connection has the broadcast or has missed it.
    pub fn settle(&mut self, ticket: Ticket) {
        self.open.remove(&ticket);
    }

    /// Gives up the deliveries that had their chance in an earlier invocation, and those that wait after an attempt that
    /// failed by itself. The latter are kept when `is_nobodys_fault` says that too much fails for a connection to be blamed.
    /// Returns the connections.
    pub fn give_up(&mut self, is_nobodys_fault: bool) -> Vec<ConnectionId> {
        let is_over = |open: &Open| match open.state {
            State::Waiting => false,
            State::UnderWay => open.has_had_its_chance,
            State::Failing => open.has_had_its_chance || !is_nobodys_fault,
        };
        let over: Vec<Ticket> = self.open.iter().filter(|(_, open)| is_over(open)).map(|(ticket, _)| *ticket).collect();
        over.iter().filter_map(|ticket| self.open.remove(ticket)).map(|open| open.connection).collect()
    }

    /// The slots that lack the broadcast.
    #[must_use]
    pub fn lacking(&self) -> Slots {
        let mut slots: Vec<u16> = self.open.keys().map(|ticket| ticket.slot).collect();
        slots.dedup();
        // From the first slot that cannot be named, everybody is posted to again.
        let from = slots.get(MOST_MISSING).copied().unwrap_or(self.reached).min(self.reached);
        slots.truncate(MOST_MISSING);
        slots.retain(|slot| *slot < from);
        Slots { from, missing: slots }
    }

    fn open(&mut self, connection: &ConnectionId, slot: u16, has_had_its_chance: bool) -> Ticket {
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket { slot, number: self.tickets };
        let open = Open { connection: connection.clone(), state: State::Waiting, has_had_its_chance };
        self.open.insert(ticket, open);
        ticket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections in the order of their slots, no two in one.
    fn connections(count: usize) -> Vec<ConnectionId> {
        let mut connections: Vec<_> = (0..2 * count).map(|n| ConnectionId::new(&format!("c{n}"))).collect();
        connections.sort_by_key(ConnectionId::slot);
        connections.dedup_by_key(|connection| connection.slot());
        connections.truncate(count);
        connections
    }

    fn begun(slots: &mut OpenSlots, connections: &[ConnectionId]) -> Vec<Ticket> {
        let begin = |connection| {
            let ticket = slots.reach(connection);
            slots.begin(ticket);
            ticket
        };
        connections.iter().map(begin).collect()
    }

    #[test]
    fn what_is_open_is_named_and_the_rest_goes_on_where_it_was() {
        let (mut slots, all) = (OpenSlots::new(7), connections(4));
        assert_eq!(slots.lacking(), Slots { from: 7, missing: vec![] });
        let tickets = begun(&mut slots, &all);
        slots.settle(tickets[1]);
        slots.settle(tickets[3]);
        let missing = vec![all[0].slot(), all[2].slot()];
        assert_eq!(slots.lacking(), Slots { from: all[3].slot(), missing });
        slots.settle(tickets[0]);
        slots.settle(tickets[2]);
        let from = all[3].slot();
        assert_eq!(slots.lacking(), Slots { from, missing: vec![] }, "members of the last slot may be missing");
    }

    #[test]
    fn the_last_member_is_named_once_nobody_follows() {
        let (mut slots, all) = (OpenSlots::new(0), connections(2));
        let tickets = begun(&mut slots, &all);
        slots.reach_end();
        let (missing, from) = (all.iter().map(ConnectionId::slot).collect(), all[1].slot() + 1);
        assert_eq!(slots.lacking(), Slots { from, missing });
        slots.settle(tickets[0]);
        slots.settle(tickets[1]);
        assert_eq!(slots.lacking(), Slots { from, missing: vec![] });

        let mut nobody = OpenSlots::new(from);
        nobody.reach_end();
        assert_eq!(nobody.lacking(), Slots { from, missing: vec![] }, "whoever goes on does not move on");
    }

    #[test]
    fn a_member_of_the_very_last_slot_is_given_up_as_well() {
        let mut slots = OpenSlots::new(u16::MAX);
        let connection = ConnectionId::new("c");
        let ticket = slots.reach(&connection);
        slots.begin(ticket);
        assert_eq!(slots.give_up(true), [connection]);
    }

    #[test]
    fn what_cannot_be_named_is_posted_to_again() {
        let (mut slots, all) = (OpenSlots::new(0), connections(100));
        begun(&mut slots, &all);
        let lacking = slots.lacking();
        assert_eq!((lacking.missing.len(), lacking.from), (MOST_MISSING, all[MOST_MISSING].slot()));
    }

    #[test]
    fn a_delivery_that_had_its_chance_before_is_given_up() {
        let (mut slots, all) = (OpenSlots::new(0), connections(3));
        let tickets: Vec<_> = all.iter().map(|connection| slots.leave_open(connection)).collect();
        slots.begin(tickets[0]);
        slots.begin(tickets[1]);
        slots.set_failing(tickets[1], true);
        assert_eq!(slots.give_up(true), all[..2], "and the third one has not had its turn");
        assert_eq!(slots.give_up(true), []);
    }

    #[test]
    fn failures_of_its_own_are_given_up_at_once() {
        let (mut slots, all) = (OpenSlots::new(0), connections(3));
        let tickets = begun(&mut slots, &all);
        slots.set_failing(tickets[0], true);
        slots.set_failing(tickets[1], true);
        slots.set_failing(tickets[1], false);
        assert_eq!(slots.give_up(true), [], "when much goes wrong it is nobody's fault");
        assert_eq!(slots.give_up(false), all[..1]);
    }
}
