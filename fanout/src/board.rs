//! The board from which workers take deliveries: rooms side by side, in turns, so that a small room never waits behind
//! a big one. It holds little more than a page of each room, whatever the room's size.
//!
//! A board lives within one invocation and one task; nothing here is shared between threads.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    rc::Rc,
};

use shared::{RoomId, store::connections::Member};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{connections_api::Misconfiguration, encode::Frame, tally::Tally};

/// Members left at which a room's next page is put on the board.
const LOW_WATER: usize = 256;

/// Deliveries that wait for their retry at the most; a worker with one more waits in place.
const PARKED: usize = 4_096;

/// A room on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomKey(usize);

/// What a room's connections are to get.
#[derive(Debug)]
pub struct Broadcast {
    /// The room.
    pub room: RoomId,
    /// The encoded frames, in order.
    pub frames: Vec<Frame>,
}

/// A connection that is to get a broadcast, from one of its frames on.
#[derive(Debug)]
pub struct Delivery {
    /// The room's place on the board.
    pub room: RoomKey,
    /// What it is to get.
    pub broadcast: Rc<Broadcast>,
    /// The connection.
    pub member: Member,
    /// The frame that is next.
    pub frame: usize,
    /// Attempts made with it.
    pub attempts: u32,
}

/// Why a room's posts were not all made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct PostingFailed(#[from] pub Misconfiguration);

#[derive(Debug)]
struct Room {
    broadcast: Rc<Broadcast>,
    ready: VecDeque<Member>,
    all_read: bool,
    /// Deliveries that workers have taken and not settled, parked ones included.
    open: usize,
    tally: Tally,
    failure: Option<Misconfiguration>,
    changed: Rc<Notify>,
}

impl Room {
    fn is_done(&self) -> bool {
        self.failure.is_some() || (self.all_read && self.ready.is_empty() && self.open == 0)
    }
}

/// A delivery that waits for its retry; the earliest due comes first.
#[derive(Debug)]
struct Parked {
    due: Instant,
    /// Keeps the order of those that are due together.
    ticket: u64,
    delivery: Delivery,
}

impl PartialEq for Parked {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.ticket) == (other.due, other.ticket)
    }
}

impl Eq for Parked {}

impl PartialOrd for Parked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Parked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.ticket).cmp(&(other.due, other.ticket))
    }
}

#[derive(Debug, Default)]
struct State {
    rooms: Vec<Room>,
    /// Rooms that have members ready, in the order of their turns.
    turns: VecDeque<RoomKey>,
    parked: BinaryHeap<Reverse<Parked>>,
    tickets: u64,
    idle: usize,
    closed: bool,
}

/// What a worker finds on the board.
enum Found {
    Work(Delivery),
    Nothing { next_due: Option<Instant> },
    TheEnd,
}

/// The board.
#[derive(Debug, Default)]
pub struct Board {
    state: RefCell<State>,
    work: Notify,
    ended: Notify,
}

impl Board {
    /// Opens a room. Members are put on the board page by page.
    pub fn open(&self, broadcast: Broadcast) -> RoomKey {
        let rooms = &mut self.state.borrow_mut().rooms;
        rooms.push(Room {
            broadcast: Rc::new(broadcast),
            ready: VecDeque::new(),
            all_read: false,
            open: 0,
            tally: Tally::default(),
            failure: None,
            changed: Rc::default(),
        });
        RoomKey(rooms.len() - 1)
    }

    /// Waits until the room has few members left, and so takes the next page, or has failed.
    pub async fn wait_for_space(&self, key: RoomKey) {
        self.wait_until(key, |room| room.ready.len() <= LOW_WATER || room.failure.is_some()).await;
    }

    /// Puts members on the board. Says whether the room wants any: one that has failed does not.
    pub fn put(&self, key: RoomKey, members: Vec<Member>) -> bool {
        let mut state = self.state.borrow_mut();
        let room = &mut state.rooms[key.0];
        if room.failure.is_some() {
            return false;
        }
        let was_empty = room.ready.is_empty();
        let wanted = members.len();
        room.ready.extend(members);
        if was_empty && wanted > 0 {
            state.turns.push_back(key);
        }
        for _ in 0..wanted.min(state.idle) {
            self.work.notify_one();
        }
        true
    }

    /// Says that there are no more members, and waits until the last delivery is settled.
    ///
    /// # Errors
    /// When posting to the room has failed as a whole.
    pub async fn finish(&self, key: RoomKey) -> Result<Tally, PostingFailed> {
        self.state.borrow_mut().rooms[key.0].all_read = true;
        self.wait_until(key, Room::is_done).await;
        let room = &self.state.borrow().rooms[key.0];
        room.failure.map_or(Ok(room.tally), |failure| Err(failure.into()))
    }

    async fn wait_until(&self, key: RoomKey, condition: impl Fn(&Room) -> bool) {
        let changed = self.state.borrow().rooms[key.0].changed.clone();
        // One waiter for each room, in the same task as those that notify: nothing can change between looking and
        // waiting, and a notification with nobody waiting is kept.
        while !condition(&self.state.borrow().rooms[key.0]) {
            changed.notified().await;
        }
    }

    /// Ends the work: workers leave when nothing is left.
    pub fn close(&self) {
        self.state.borrow_mut().closed = true;
        self.work.notify_waiters();
        self.ended.notify_waiters();
    }

    /// Waits until the board is closed.
    pub async fn closed(&self) {
        while !self.state.borrow().closed {
            self.ended.notified().await;
        }
    }

    /// Takes the next delivery: retries that are due come first, then the rooms in turns. `None` when the board is
    /// closed and nothing is left.
    pub async fn next(&self) -> Option<Delivery> {
        loop {
            let next_due = match self.take() {
                Found::Work(delivery) => return Some(delivery),
                Found::TheEnd => return None,
                Found::Nothing { next_due } => next_due,
            };
            let _idle = Idle::new(&self.state);
            let woken = self.work.notified();
            match next_due {
                Some(due) => tokio::select! { () = woken => {}, () = sleep_until(due) => {} },
                None => woken.await,
            }
        }
    }

    fn take(&self) -> Found {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        loop {
            match state.parked.peek() {
                Some(Reverse(parked)) if parked.due <= Instant::now() => {}
                _ => break,
            }
            let Some(Reverse(parked)) = state.parked.pop() else { break };
            if state.rooms[parked.delivery.room.0].failure.is_none() {
                return Found::Work(parked.delivery);
            }
        }
        while let Some(key) = state.turns.pop_front() {
            let room = &mut state.rooms[key.0];
            let Some(member) = room.ready.pop_front() else { continue };
            room.open += 1;
            if !room.ready.is_empty() {
                state.turns.push_back(key);
            }
            if room.ready.len() == LOW_WATER {
                room.changed.notify_one();
            }
            let broadcast = room.broadcast.clone();
            if !state.parked.is_empty() {
                // This worker may be the one that watched for the next retry.
                self.work.notify_one();
            }
            return Found::Work(Delivery { room: key, broadcast, member, frame: 0, attempts: 0 });
        }
        let next_due = state.parked.peek().map(|Reverse(parked)| parked.due);
        if state.closed && next_due.is_none() { Found::TheEnd } else { Found::Nothing { next_due } }
    }

    /// Parks a delivery until its retry is due. Gives it back when too many are parked.
    ///
    /// # Errors
    /// When the board is full; the worker then waits itself.
    pub fn park(&self, delivery: Delivery, due: Instant) -> Result<(), Delivery> {
        let mut state = self.state.borrow_mut();
        if state.parked.len() >= PARKED {
            return Err(delivery);
        }
        let ticket = state.tickets;
        state.tickets += 1;
        state.parked.push(Reverse(Parked { due, ticket, delivery }));
        // Somebody must watch the new due time.
        self.work.notify_one();
        Ok(())
    }

    /// Settles a delivery: the connection got what it could get.
    pub fn settle(&self, key: RoomKey) {
        let room = &mut self.state.borrow_mut().rooms[key.0];
        room.open -= 1;
        if room.is_done() {
            room.changed.notify_one();
        }
    }

    /// Gives up a room: its deliveries are dropped, other rooms go on.
    pub fn fail(&self, key: RoomKey, failure: Misconfiguration) {
        let mut state = self.state.borrow_mut();
        // Nobody waits for retries that will not be made.
        state.parked.retain(|Reverse(parked)| parked.delivery.room != key);
        let room = &mut state.rooms[key.0];
        room.failure.get_or_insert(failure);
        room.ready.clear();
        room.changed.notify_one();
    }

    /// Counts something in a room's tally.
    pub fn count(&self, key: RoomKey, count: impl FnOnce(&mut Tally)) {
        count(&mut self.state.borrow_mut().rooms[key.0].tally);
    }

    /// Whether so many connections, of all rooms together, missed their broadcasts that it is no single one's fault.
    #[must_use]
    pub fn is_widely_missed(&self) -> bool {
        let mut sum = Tally::default();
        for room in &self.state.borrow().rooms {
            sum += room.tally;
        }
        sum.is_widely_missed()
    }
}

/// A worker that waits for work; counted, so that a page wakes no more workers than it has members.
struct Idle<'a>(&'a RefCell<State>);

impl<'a> Idle<'a> {
    fn new(state: &'a RefCell<State>) -> Self {
        state.borrow_mut().idle += 1;
        Self(state)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().idle -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use shared::ConnectionId;

    use super::*;

    fn members(prefix: &str, count: usize) -> Vec<Member> {
        let member = |n| Member { connection: ConnectionId::new(&format!("{prefix}{n}")), joined_at: 0, expires_at: 0 };
        (0..count).map(member).collect()
    }

    fn open(board: &Board) -> RoomKey {
        board.open(Broadcast { room: RoomId::parse("r").unwrap(), frames: Vec::new() })
    }

    fn next(board: &Board) -> Delivery {
        board.next().now_or_never().unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_small_room_does_not_wait_behind_a_big_one() {
        let board = Board::default();
        let (big, small) = (open(&board), open(&board));
        board.put(big, members("b", 100));
        board.put(small, members("s", 2));
        let order: Vec<_> = (0..5).map(|_| next(&board).member.connection.to_string()).collect();
        assert_eq!(order, ["b0", "s0", "b1", "s1", "b2"]);
    }

    #[tokio::test]
    async fn a_room_is_done_when_the_last_delivery_is_settled() {
        let board = Board::default();
        let room = open(&board);
        board.put(room, members("c", 2));
        let (_, second) = (next(&board), next(&board));
        board.settle(room);
        assert!(board.finish(room).now_or_never().is_none());
        board.count(room, |tally| tally.delivered = 2);
        board.settle(second.room);
        assert_eq!(board.finish(room).now_or_never().unwrap().unwrap().delivered, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_parked_delivery_comes_back_when_it_is_due_and_before_others() {
        let board = Board::default();
        let room = open(&board);
        board.put(room, members("c", 1));
        let mut delivery = next(&board);
        delivery.attempts = 3;
        board.park(delivery, Instant::now() + Duration::from_secs(1)).unwrap();
        assert!(board.next().now_or_never().is_none());
        tokio::time::advance(Duration::from_millis(1_001)).await;
        board.put(room, members("d", 1));
        assert_eq!(next(&board).attempts, 3);
        assert_eq!(next(&board).member.connection.as_str(), "d0");
    }

    #[tokio::test]
    async fn the_next_page_is_wanted_when_few_members_are_left() {
        let board = Board::default();
        let room = open(&board);
        board.put(room, members("c", LOW_WATER + 1));
        assert!(board.wait_for_space(room).now_or_never().is_none());
        next(&board);
        assert!(board.wait_for_space(room).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_failed_room_ends_and_others_go_on() {
        let board = Board::default();
        let (bad, good) = (open(&board), open(&board));
        board.put(bad, members("b", 9));
        board.put(good, members("g", 1));
        next(&board);
        board.fail(bad, Misconfiguration::Forbidden);
        assert!(!board.put(bad, members("b", 9)));
        assert_eq!(board.finish(bad).now_or_never().unwrap(), Err(Misconfiguration::Forbidden.into()));
        assert_eq!(next(&board).member.connection.as_str(), "g0");
    }

    #[tokio::test]
    async fn a_failed_rooms_retries_keep_nobody() {
        let board = Board::default();
        let room = open(&board);
        board.put(room, members("c", 2));
        let (waiting, _) = (next(&board), next(&board));
        board.park(waiting, Instant::now() + Duration::from_secs(9)).unwrap();
        board.fail(room, Misconfiguration::Forbidden);
        board.close();
        assert!(board.next().now_or_never().unwrap().is_none());
    }

    #[tokio::test]
    async fn workers_leave_a_closed_board_when_nothing_is_left() {
        let board = Board::default();
        let room = open(&board);
        board.put(room, members("c", 1));
        board.close();
        next(&board);
        assert!(board.next().now_or_never().unwrap().is_none());
    }
}
