//! An environment's knowledge of congestion: which rooms are behind, and how full the queue is. It looks every few
//! seconds, at the same time as it does other work, if there is any.

use std::{
    cell::{Cell, RefCell},
    fmt,
    pin::Pin,
    time::Duration,
};

use fastrand::Rng;
use futures::{
    FutureExt,
    future::{Either, join, select},
};
use shared::{
    RoomId,
    clock::Clock,
    congestion::{
        Cut,
        view::{Congestion, NotNow},
    },
    queue::{Queue, QueueError},
    store::{StoreError, congestion::CongestionTable},
};
use tokio::time::timeout;

/// The time for which a message that would be refused waits for a look that is due.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);

/// The place where congestion is looked up.
pub trait CongestionSource: Clone + 'static {
    /// The cuts of all FIFO groups that are behind.
    fn cuts(&self) -> impl Future<Output = Result<Vec<(String, Cut)>, StoreError>>;

    /// About how many messages the queue has.
    fn depth(&self) -> impl Future<Output = Result<u64, QueueError>>;
}

/// The congestion table and the queue.
#[derive(Clone, Debug)]
pub struct TableAndQueue<Q> {
    /// The table.
    pub table: CongestionTable,
    /// The queue.
    pub queue: Q,
}

impl<Q: Queue + Clone + 'static> CongestionSource for TableAndQueue<Q> {
    async fn cuts(&self) -> Result<Vec<(String, Cut)>, StoreError> {
        Box::pin(self.table.cuts()).await
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        Box::pin(self.queue.depth()).await
    }
}

/// The result of a look: the cuts and the queue's depth.
type Seen = (Result<Vec<(String, Cut)>, StoreError>, Result<u64, QueueError>);

/// A look that has begun, and when.
struct Looking {
    begun: u64,
    look: Pin<Box<dyn Future<Output = Seen>>>,
}

/// The state of congestion, and the look that is under way.
pub struct CongestionMonitor<L> {
    source: L,
    congestion: RefCell<Congestion>,
    looking: Cell<Option<Looking>>,
    random: RefCell<Rng>,
}

impl<L: fmt::Debug> fmt::Debug for CongestionMonitor<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CongestionMonitor").field("source", &self.source).finish_non_exhaustive()
    }
}

impl<L: CongestionSource> CongestionMonitor<L> {
    /// A monitor that knows nothing yet. With `depth_limit` messages in the queue nothing is admitted; 0 is no limit.
    pub fn new(source: L, depth_limit: u64, random: Rng) -> Self {
        Self {
            source,
            congestion: RefCell::new(Congestion::new(depth_limit)),
            looking: Cell::new(None),
            random: RefCell::new(random),
        }
    }

    /// Admits a message for a room or refuses it, by what is known. `is_quiet` says that the subject has hardly sent
    /// anything lately.
    ///
    /// # Errors
    /// When it is refused.
    pub fn admits(&self, room: &RoomId, is_quiet: bool, now: u64) -> Result<(), NotNow> {
        self.congestion.borrow().admits(room, is_quiet, now, &mut self.random.borrow_mut())
    }

    /// Puts a message, and looks at the same time if a look is due. A look that has no answer when the put is done goes
    /// on beside the next put.
    pub async fn beside_a_look<T>(&self, put: impl Future<Output = T>, clock: &impl Clock) -> T {
        let Some(mut looking) = self.due_look(clock.unix_millis()) else { return Box::pin(put).await };
        // Boxed: the SDK's futures are nested as deeply as the compiler allows.
        match select(Box::pin(put), &mut looking.look).await {
            Either::Left((done, _)) => {
                // The look may have its answer by now, too.
                match (&mut looking.look).now_or_never() {
                    Some(seen) => self.learn(looking.begun, seen),
                    None => self.looking.set(Some(looking)),
                }
                done
            }
            Either::Right((seen, put)) => {
                self.learn(looking.begun, seen);
                put.await
            }
        }
    }

    /// Looks if a look is due; waits for it for a second at the most.
    pub async fn look(&self, now: u64) {
        let Some(mut looking) = self.due_look(now) else { return };
        match timeout(LOOK_PATIENCE, &mut looking.look).await {
            Ok(seen) => self.learn(looking.begun, seen),
            Err(_) => self.looking.set(Some(looking)),
        }
    }

    /// The look that is under way, or one that is due.
    fn due_look(&self, now: u64) -> Option<Looking> {
        self.looking.take().or_else(|| {
            self.congestion.borrow_mut().begin_look(now).then(|| {
                let source = self.source.clone();
                Looking { begun: now, look: Box::pin(async move { join(source.cuts(), source.depth()).await }) }
            })
        })
    }

    fn learn(&self, begun: u64, (cuts, depth): Seen) {
        let mut congestion = self.congestion.borrow_mut();
        match cuts {
            Ok(cuts) => congestion.learn_cuts(cuts),
            Err(error) => tracing::warn!(%error, "the cuts of rooms that are behind could not be read"),
        }
        match depth {
            Ok(depth) => congestion.learn_depth(depth, begun),
            Err(error) => tracing::warn!(%error, "the depth of the queue could not be read"),
        }
    }
}
