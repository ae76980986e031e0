//! Admission: the messages that get into the queue. Each must be within the shares of its sender and of its room; a
//! room that is behind gets as many as its broadcasts can keep up with.

use std::{cell::RefCell, fmt};

use fastrand::Rng;
use shared::{Message, RoomId, clock::Clock};

use crate::{
    congestion::{CongestionMonitor, CongestionSource},
    response::RouteError,
    shares::{MessageRates, MessageShares},
};

/// The state of congestion, and the rest of the shares.
pub struct Admission<L> {
    congestion: CongestionMonitor<L>,
    shares: RefCell<MessageShares>,
}

impl<L: fmt::Debug> fmt::Debug for Admission<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("congestion", &self.congestion).finish_non_exhaustive()
    }
}

impl<L: CongestionSource> Admission<L> {
    /// An admission that knows nothing yet, with full shares. With `depth_limit` messages in the queue nothing is
    /// admitted; 0 is no limit.
    pub fn new(source: L, rates: MessageRates, depth_limit: u64, random: Rng) -> Self {
        Self {
            congestion: CongestionMonitor::new(source, depth_limit, random),
            shares: RefCell::new(MessageShares::new(rates)),
        }
    }

    /// Admits a message that came in a frame of so many bytes, and takes it from the shares. A message that is refused
    /// takes nothing.
    ///
    /// # Errors
    /// When it may not be sent now.
    pub async fn admit(&self, message: &Message, bytes: u64, clock: &impl Clock) -> Result<(), RouteError> {
        let (subject, room, now) = (message.from.as_str(), message.room.as_str(), clock.unix_micros());
        self.shares.borrow().require(subject, room, bytes, now)?;
        let is_quiet = self.shares.borrow_mut().note_message(subject, now);
        if self.require_no_congestion(&message.room, is_quiet, now / 1_000).is_err() {
            // A message that would be refused can wait for a look that is due: what is known may be old.
            self.congestion.look(now / 1_000).await;
            self.require_no_congestion(&message.room, is_quiet, clock.unix_millis())?;
        }
        self.shares.borrow_mut().take(subject, room, bytes, now);
        Ok(())
    }

    fn require_no_congestion(&self, room: &RoomId, is_quiet: bool, now: u64) -> Result<(), RouteError> {
        let admitted = self.congestion.admits(room, is_quiet, now);
        admitted.map_err(|until| RouteError::NotNow { what: "the room is behind", until })
    }

    /// Puts a message, and looks at congestion at the same time if a look is due. The message does not wait for the
    /// look.
    pub async fn beside_a_look<T>(&self, put: impl Future<Output = T>, clock: &impl Clock) -> T {
        self.congestion.beside_a_look(put, clock).await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{cell::Cell, future::pending, rc::Rc};

    use serde_json::value::RawValue;
    use shared::{congestion::Cut, queue::QueueError, store::StoreError};
    use tokio::{sync::Semaphore, task::yield_now};

    use super::*;

    const RATES: MessageRates = MessageRates { subject_messages: 0, subject_bytes: 0, room_messages: 0, room_bytes: 0 };

    const NOW: u64 = 1_800_000_000_000;

    /// Answers each look with these values, as soon as it is allowed to.
    #[derive(Clone)]
    struct Scripted(Rc<Script>);

    struct Script {
        looks: Cell<usize>,
        allowed: Semaphore,
        fraction: Cell<f64>,
        depth: Cell<Option<u64>>,
    }

    impl CongestionSource for Scripted {
        async fn cuts(&self) -> Result<Vec<(String, Cut)>, StoreError> {
            self.0.looks.set(self.0.looks.get() + 1);
            self.0.allowed.acquire().await.unwrap().forget();
            let cut = Cut { fraction: self.0.fraction.get(), since: 0, hold: u64::MAX };
            Ok(vec![("r/3".to_owned(), cut)])
        }

        async fn depth(&self) -> Result<u64, QueueError> {
            self.0.depth.get().ok_or(QueueError::NotSent)
        }
    }

    impl Scripted {
        fn of(looks_allowed: usize, fraction: f64, depth: u64) -> (Self, Admission<Self>) {
            let script = Script {
                looks: Cell::new(0),
                allowed: Semaphore::new(looks_allowed),
                fraction: Cell::new(fraction),
                depth: Cell::new(Some(depth)),
            };
            let source = Self(Rc::new(script));
            let admission = Admission::new(source.clone(), RATES, 1_000, Rng::with_seed(1));
            (source, admission)
        }
    }

    /// An admission that never learns anything.
    pub(crate) fn blind() -> Admission<impl CongestionSource> {
        #[derive(Clone)]
        struct Blind;
        impl CongestionSource for Blind {
            async fn cuts(&self) -> Result<Vec<(String, Cut)>, StoreError> {
                pending().await
            }
            async fn depth(&self) -> Result<u64, QueueError> {
                pending().await
            }
        }
        Admission::new(Blind, RATES, 0, Rng::with_seed(1))
    }

    /// A clock that shows so many milliseconds.
    struct At(u64);

    impl Clock for At {
        fn unix_micros(&self) -> u64 {
            self.0 * 1_000
        }
    }

    async fn admit(admission: &Admission<Scripted>, at: u64) -> Result<(), u64> {
        let message =
            Message::new(RoomId::parse("r").unwrap(), "m", "alice", at, RawValue::from_string("1".to_owned()).unwrap());
        match admission.admit(&message, 10, &At(at)).await {
            Ok(()) => Ok(()),
            Err(RouteError::NotNow { until, .. }) => Err(until.retry_after_ms),
            Err(error) => panic!("{error}"),
        }
    }

    async fn put(admission: &Admission<Scripted>, at: u64) {
        admission.beside_a_look(yield_now(), &At(at)).await;
    }

    #[tokio::test]
    async fn a_look_every_three_seconds_beside_a_put() {
        let (source, admission) = Scripted::of(9, 1.0, 0);
        for at in [0, 10, 2_999, 3_000, 3_001, 9_000] {
            assert!(admit(&admission, NOW + at).await.is_ok());
            put(&admission, NOW + at).await;
        }
        assert_eq!(source.0.looks.get(), 3);
    }

    #[tokio::test]
    async fn a_put_does_not_wait_for_a_look_and_the_next_one_has_its_answer() {
        let (source, admission) = Scripted::of(0, 0.000_001, 0);
        put(&admission, NOW).await;
        assert!(admit(&admission, NOW).await.is_ok(), "nothing is known yet");
        source.0.allowed.add_permits(1);
        put(&admission, NOW + 10).await;
        assert_eq!(source.0.looks.get(), 1, "it is the same look");
        assert!(admit(&admission, NOW + 10).await.is_err());
    }

    #[tokio::test]
    async fn nothing_is_admitted_to_a_queue_that_is_too_deep_until_it_is_not() {
        let (source, admission) = Scripted::of(9, 1.0, 1_000);
        put(&admission, NOW).await;
        let retry_after = admit(&admission, NOW + 10).await.unwrap_err();
        assert!((10_000..=15_000).contains(&retry_after), "{retry_after}");
        source.0.depth.set(Some(999));
        assert!(admit(&admission, NOW + 2_990).await.is_err(), "as far as is known");
        assert!(admit(&admission, NOW + 3_000).await.is_ok(), "whoever would be refused looks first");
        assert_eq!(source.0.looks.get(), 2);
    }

    #[tokio::test]
    async fn a_depth_that_cannot_be_read_any_more_keeps_nobody_out_for_long() {
        let (source, admission) = Scripted::of(9, 1.0, 1_000);
        put(&admission, NOW).await;
        source.0.depth.set(None);
        for (at, is_admitted) in [(3_000, false), (14_900, false), (15_000, true)] {
            assert_eq!(admit(&admission, NOW + at).await.is_ok(), is_admitted, "{at}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_refused_does_not_wait_for_ever_for_a_look() {
        let (source, admission) = Scripted::of(1, 0.000_001, 0);
        put(&admission, NOW).await;
        let retry_after = admit(&admission, NOW + 3_000).await.unwrap_err();
        assert_eq!((retry_after, source.0.looks.get()), (30_000, 2));
    }

    #[tokio::test]
    async fn what_is_refused_takes_nothing() {
        let rates = MessageRates { subject_messages: 1, ..RATES };
        let (source, _) = Scripted::of(9, 0.000_001, 0);
        let admission = Admission::new(source.clone(), rates, 0, Rng::with_seed(1));
        put(&admission, NOW).await;
        for _ in 0..20 {
            assert!(admit(&admission, NOW).await.is_err());
        }
        source.0.fraction.set(1.0);
        for _ in 0..5 {
            assert_eq!(admit(&admission, NOW + 3_000).await, Ok(()));
        }
        assert_eq!(admit(&admission, NOW + 3_000).await, Err(1_000));
    }
}
