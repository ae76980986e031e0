//! The law: from where a group's head was and is to what share of its messages is admitted.
//!
//! Fan-out knows of a full batch when its first record was queued. Between two such sights of one group
//!
//! ```text
//! time     ---- seen_at ------------------- seen_at' ---->    the head moved on by what was drained meanwhile,
//! queue    ---- queued_at - queued_at' ------------------>    which came in meanwhile: nothing has to be counted
//! ```
//!
//! the quotient of the two stretches is arrivals divided by drain: the *growth*. At 30, messages come in 30 times as fast as
//! they go out, and a thirtieth of them should be admitted; a little less, so that the backlog drains too.
//!
//! What must not shed anybody:
//! - *A burst.* Its head moves as slowly as a flood's, but the queue as a whole becomes shorter meanwhile. Then nothing
//!   threatens other rooms, whatever this one does.
//! - *An outage*, in which nothing is drained. A record that comes again starts the measuring anew.
//! - *A slow broadcast* of a room in which little is said. A batch that is not full has emptied its groups.

use super::{Cut, LEARNT_AFTER};

/// Fan-out does nothing about a group whose head has waited no longer than this.
pub const PATIENCE: u64 = 2_000;

/// The least time between two sights that are compared: several batches of a group that drains slowly.
const LEAST_APART: u64 = 3_000;

/// Sights further apart say more of what was than of what is; a new comparison begins.
const RENEWED_AFTER: u64 = 20_000;

/// Sights further apart than this are of two different times of being behind.
const MOST_APART: u64 = 90_000;

/// In what time a backlog should be gone, where that is possible with at least a tenth of the drain left for new messages.
const DRAINED_IN: f64 = 60_000.0;

/// What of the drain is given to new messages, at least and at most.
const MARGIN: (f64, f64) = (0.1, 0.9);

/// The head of a group that is behind, as a full batch shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// When it was seen.
    pub seen_at: u64,
    /// When the head was queued.
    pub queued_at: u64,
    /// How many messages the queue had in all, about.
    pub depth: u64,
}

impl Sight {
    /// How long the head has waited.
    #[must_use]
    pub fn waited(&self) -> u64 {
        self.seen_at.saturating_sub(self.queued_at)
    }
}

/// What is written down about a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupRow {
    /// The sight with which the next one is compared.
    pub sight: Sight,
    /// The latest cut.
    pub cut: Option<Cut>,
}

impl GroupRow {
    /// When the row means nothing any more.
    #[must_use]
    pub fn ends_at(&self) -> u64 {
        let compared_until = self.sight.seen_at.saturating_add(MOST_APART);
        self.cut.map_or(compared_until, |cut| cut.ends_at().max(compared_until))
    }
}

/// What is to be written down about a group whose head has waited longer than [`PATIENCE`]; `None`: it stays as it is.
/// `row` is what is written down, `is_first` whether the head is delivered for the first time.
#[must_use]
pub fn judge(row: Option<&GroupRow>, now: Sight, is_first: bool) -> Option<GroupRow> {
    let anew = |cut| Some(GroupRow { sight: now, cut });
    let Some(&GroupRow { sight, cut }) = row else { return anew(None) };
    // What was sent before a cut was known to all says nothing of the cut.
    let is_of_cut = |sight: Sight| cut.is_none_or(|cut| sight.queued_at >= cut.since + LEARNT_AFTER);
    if !is_of_cut(now) {
        return None;
    }
    let apart = now.seen_at.saturating_sub(sight.seen_at);
    if !is_first || !is_of_cut(sight) || now.queued_at < sight.queued_at || apart > MOST_APART {
        return anew(cut);
    }
    if apart < LEAST_APART {
        return None;
    }
    let drained = (now.queued_at - sight.queued_at).max(1);
    if apart <= drained || now.depth <= sight.depth {
        return if apart > RENEWED_AFTER { anew(cut) } else { None };
    }
    let growth = millis(apart) / millis(drained);
    // What was queued behind the head, and what will be until the cut is known, takes this long to drain.
    let backlog = growth * millis(now.waited() + LEARNT_AFTER);
    let margin = (1.0 - backlog / DRAINED_IN).clamp(MARGIN.0, MARGIN.1);
    let in_force = cut.map_or(1.0, |cut| cut.fraction_at(now.queued_at));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 0; saturates")]
    let hold = backlog as u64;
    anew(Some(Cut { fraction: in_force / growth * margin, since: now.seen_at, hold }))
}

#[expect(clippy::cast_precision_loss, reason = "times of milliseconds, far below 2^53")]
fn millis(time: u64) -> f64 {
    time as f64
}
