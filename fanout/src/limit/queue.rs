//! The queue of posts that may not start yet. Rooms take turns; within a room, first come is first served, except that
//! deliveries which have begun go ahead of those which have not.
//!
//! Only the head checks whether a post may start. Each change of the head, or of what it waits for, wakes the head: so
//! no wake-up is lost, and a waiter that is dropped leaves nothing behind.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Poll, Waker},
};

use futures::future::poll_fn;

/// The place of a post among the waiting posts of its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first post of a delivery.
    First,
    /// A post of a delivery that has begun: a further frame, or a retry. It goes ahead of deliveries of its room that
    /// have not begun, so that few deliveries are open at a time even at a slow rate, and end in the order in which
    /// they began.
    Next,
}

/// The rooms that have posts waiting.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The rooms in the order of their turns.
    rooms: RefCell<VecDeque<Rc<Room>>>,
    tickets: Cell<u64>,
}

/// The waiting posts of one room.
#[derive(Debug, Default)]
pub(super) struct Room {
    next: RefCell<VecDeque<Waiter>>,
    first: RefCell<VecDeque<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    /// The number by which waiters are found: later ones have greater numbers.
    ticket: u64,
    waker: Option<Waker>,
}

impl Room {
    fn waiters(&self, order: Order) -> &RefCell<VecDeque<Waiter>> {
        match order {
            Order::First => &self.first,
            Order::Next => &self.next,
        }
    }

    fn is_empty(&self) -> bool {
        self.next.borrow().is_empty() && self.first.borrow().is_empty()
    }

    /// The order and ticket of the post whose turn it is.
    fn head(&self) -> Option<(Order, u64)> {
        let ticket = |order| self.waiters(order).borrow().front().map(|waiter| (order, waiter.ticket));
        ticket(Order::Next).or_else(|| ticket(Order::First))
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.rooms.borrow().is_empty()
    }

    /// Takes the last place of a room.
    pub(super) fn join<'a>(&'a self, room: &'a Rc<Room>, order: Order) -> Place<'a> {
        let ticket = self.tickets.get();
        self.tickets.set(ticket + 1);
        if room.is_empty() {
            self.rooms.borrow_mut().push_back(room.clone());
        }
        room.waiters(order).borrow_mut().push_back(Waiter { ticket, waker: None });
        Place { queue: self, room, order, ticket, is_served: false }
    }

    /// Wakes the head, to check whether its post may start.
    pub(super) fn wake_head(&self) {
        // Waking runs no code of the woken task, but the borrows end before it all the same.
        let waker = self.rooms.borrow().front().and_then(|room| {
            let (order, _) = room.head()?;
            room.waiters(order).borrow_mut().front_mut()?.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A place in the queue. Dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Place<'a> {
    queue: &'a Queue,
    room: &'a Rc<Room>,
    order: Order,
    ticket: u64,
    is_served: bool,
}

impl Place<'_> {
    /// Whether this is the head of the queue.
    pub(super) fn is_head(&self) -> bool {
        let rooms = self.queue.rooms.borrow();
        let is_turn = rooms.front().is_some_and(|room| Rc::ptr_eq(room, self.room));
        is_turn && self.room.head() == Some((self.order, self.ticket))
    }

    /// Leaves the queue because the post may start: it is the next room's turn then.
    pub(super) fn serve(mut self) {
        self.is_served = true;
    }

    /// Waits until this may have become the head, or until there may be something new for the head.
    pub(super) async fn woken(&self) {
        let mut is_first_poll = true;
        poll_fn(|context| {
            let mut waiters = self.room.waiters(self.order).borrow_mut();
            let Ok(index) = waiters.binary_search_by_key(&self.ticket, |waiter| waiter.ticket) else {
                return Poll::Ready(());
            };
            let waker = &mut waiters[index].waker;
            if waker.is_none() && !is_first_poll {
                return Poll::Ready(());
            }
            is_first_poll = false;
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let was_head = self.is_head();
        {
            let mut waiters = self.room.waiters(self.order).borrow_mut();
            if let Ok(index) = waiters.binary_search_by_key(&self.ticket, |waiter| waiter.ticket) {
                waiters.remove(index);
            }
        }
        {
            let mut rooms = self.queue.rooms.borrow_mut();
            if self.room.is_empty() {
                rooms.retain(|room| !Rc::ptr_eq(room, self.room));
            } else if self.is_served {
                rooms.rotate_left(1);
            }
        }
        if was_head {
            self.queue.wake_head();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Serves head after head; returns the numbers of the places in the order in which they were served.
    fn serve_all(places: Vec<Place<'_>>) -> Vec<usize> {
        let mut places: Vec<Option<Place<'_>>> = places.into_iter().map(Some).collect();
        let mut order = Vec::new();
        while let Some(head) = places.iter().position(|place| place.as_ref().is_some_and(Place::is_head)) {
            places[head].take().unwrap().serve();
            order.push(head);
        }
        order
    }

    #[test]
    fn rooms_take_turns() {
        let (queue, big, small) = (Queue::default(), Rc::default(), Rc::default());
        let mut places: Vec<_> = (0..4).map(|_| queue.join(&big, Order::First)).collect();
        places.extend((0..2).map(|_| queue.join(&small, Order::First)));
        assert_eq!(serve_all(places), [0, 4, 1, 5, 2, 3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn deliveries_that_have_begun_go_first() {
        let (queue, room) = (Queue::default(), Rc::default());
        let orders = [Order::First, Order::First, Order::Next, Order::First, Order::Next];
        let places = orders.map(|order| queue.join(&room, order));
        assert_eq!(serve_all(places.into()), [2, 4, 0, 1, 3]);
    }

    #[test]
    fn whoever_goes_away_wakes_the_new_head() {
        let (queue, room, other) = (Queue::default(), Rc::default(), Rc::default());
        let head = queue.join(&room, Order::First);
        let gone = queue.join(&room, Order::First);
        let second = queue.join(&other, Order::First);
        let mut waits = Box::pin(second.woken());
        assert!(waits.as_mut().now_or_never().is_none());
        drop(gone);
        assert!(waits.as_mut().now_or_never().is_none(), "the head has not changed");
        drop(head);
        assert!(waits.as_mut().now_or_never().is_some());
        assert!(second.is_head());
    }

    #[test]
    fn a_room_whose_head_goes_away_keeps_its_turn() {
        let (queue, room, other) = (Queue::default(), Rc::default(), Rc::default());
        let head = queue.join(&room, Order::First);
        let heir = queue.join(&room, Order::First);
        let last = queue.join(&other, Order::First);
        drop(head);
        assert!(heir.is_head() && !last.is_head());
    }
}
