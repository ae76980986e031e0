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
    /// The last attempt came to nothing, and the delivery waits for another one.
    WaitsAgain(Setback),
}

/// The outcome of an attempt after which a delivery waits for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// A failure, perhaps by the connection's fault.
    Failed,
    /// A first 410, which proves nothing.
    MayBeGone,
    /// Nobody was found at the endpoint, which is no connection's fault.
    Unreachable,
}

/// A connection that gets no more of a broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Its id.
    pub connection: ConnectionId,
    /// Whether it is at fault itself.
    pub is_at_fault: bool,
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

    /// Notes that an attempt of a delivery begins.
    pub fn begin(&mut self, ticket: Ticket) {
        self.set(ticket, State::UnderWay);
    }

    /// Notes that a delivery waits for another attempt.
    pub fn wait_again(&mut self, ticket: Ticket, after: Setback) {
        self.set(ticket, State::WaitsAgain(after));
    }

    fn set(&mut self, ticket: Ticket, state: State) {
        if let Some(open) = self.open.get_mut(&ticket) {
            open.state = state;
        }
    }

    /// Removes a delivery that has ended: the connection has the broadcast or has missed it.
    pub fn settle(&mut self, ticket: Ticket) {
        self.open.remove(&ticket);
    }

    /// Gives up the deliveries that had their chance in an earlier invocation, and those that wait after a failure. The
    /// latter are kept when `is_nobodys_fault` says that too much fails for a connection to be blamed. Of those that
    /// may be gone as many are kept as can be named: for more of them everybody above would be posted to again, and
    /// the next broadcast finds them gone as well.
    pub fn give_up(&mut self, is_nobodys_fault: bool) -> Vec<GivenUp> {
        let mut kept = 0;
        let mut is_over = |open: &Open| match open.state {
            State::Waiting | State::WaitsAgain(Setback::Unreachable) => false,
            State::UnderWay | State::WaitsAgain(_) if open.has_had_its_chance => true,
            State::UnderWay => false,
            State::WaitsAgain(Setback::Failed) => !is_nobodys_fault,
            State::WaitsAgain(Setback::MayBeGone) => {
                kept += 1;
                kept > MOST_MISSING
            }
        };
        let over: Vec<Ticket> = self.open.iter().filter(|(_, open)| is_over(open)).map(|(ticket, _)| *ticket).collect();
        let given_up = over.iter().filter_map(|ticket| self.open.remove(ticket)).map(|open| GivenUp {
            connection: open.connection,
            is_at_fault: !is_nobodys_fault && open.state != State::WaitsAgain(Setback::MayBeGone),
        });
        given_up.collect()
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
        assert_eq!(slots.give_up(true), [GivenUp { connection, is_at_fault: false }]);
    }

    #[test]
    fn what_cannot_be_named_is_posted_to_again() {
        let (mut slots, all) = (OpenSlots::new(0), connections(100));
        begun(&mut slots, &all);
        let lacking = slots.lacking();
        assert_eq!((lacking.missing.len(), lacking.from), (MOST_MISSING, all[MOST_MISSING].slot()));
    }

    fn given_up(connections: &[ConnectionId], is_at_fault: bool) -> Vec<GivenUp> {
        connections.iter().map(|connection| GivenUp { connection: connection.clone(), is_at_fault }).collect()
    }

    #[test]
    fn a_delivery_that_had_its_chance_before_is_given_up() {
        let (mut slots, all) = (OpenSlots::new(0), connections(5));
        let tickets: Vec<_> = all.iter().map(|connection| slots.leave_open(connection)).collect();
        slots.begin(tickets[0]);
        slots.wait_again(tickets[1], Setback::Failed);
        slots.wait_again(tickets[2], Setback::MayBeGone);
        slots.wait_again(tickets[3], Setback::Unreachable);
        assert_eq!(slots.give_up(true), given_up(&all[..3], false), "and the others have not had their turn");
        assert_eq!(slots.give_up(true), []);
    }

    #[test]
    fn failures_of_its_own_are_given_up_at_once() {
        let (mut slots, all) = (OpenSlots::new(0), connections(4));
        let tickets = begun(&mut slots, &all);
        slots.wait_again(tickets[0], Setback::Failed);
        slots.wait_again(tickets[1], Setback::Failed);
        slots.begin(tickets[1]);
        slots.wait_again(tickets[2], Setback::MayBeGone);
        slots.wait_again(tickets[3], Setback::Unreachable);
        assert_eq!(slots.give_up(true), [], "when much goes wrong it is nobody's fault");
        assert_eq!(slots.give_up(false), given_up(&all[..1], true));
        assert_eq!(slots.lacking().missing.len(), 2, "the last one's slot was reached only");
    }

    #[test]
    fn of_those_that_may_be_gone_as_many_are_kept_as_can_be_named() {
        let (mut slots, all) = (OpenSlots::new(0), connections(120));
        let (earlier, all) = all.split_at(20);
        let mut tickets: Vec<_> = earlier.iter().map(|connection| slots.leave_open(connection)).collect();
        tickets.extend(begun(&mut slots, all));
        for ticket in tickets {
            slots.wait_again(ticket, Setback::MayBeGone);
        }
        let over = [earlier, &all[MOST_MISSING..]].concat();
        assert_eq!(slots.give_up(false), given_up(&over, false), "those who had their chance take nobody's place");
        let missing = all[..MOST_MISSING].iter().map(ConnectionId::slot).collect();
        assert_eq!(slots.lacking(), Slots { from: all[99].slot(), missing });
    }
}
