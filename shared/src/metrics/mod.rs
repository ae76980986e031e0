//! The metrics of an invocation: one line for CloudWatch in the embedded metric format, written when the invocation
//! ends.
//!
//! Each invocation has a line of its own; none sums up several. Lambda freezes an environment between two invocations
//! and may never wake it again, so a sum that is kept for later would be written late or lost.

mod emf;
mod histogram;
pub mod names;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

pub use self::emf::Dimensions;
use self::{
    histogram::Histogram,
    names::{Counter, Distribution, REFUSED},
};
use crate::frame::server::ErrorCode;

/// The measurements of one invocation.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: RefCell<BTreeMap<Counter, u64>>,
    histograms: RefCell<BTreeMap<Distribution, Histogram>>,
    refused: Cell<Option<ErrorCode>>,
}

impl Metrics {
    /// Adds to a counter.
    pub fn add(&self, counter: Counter, count: u64) {
        // A count of 0 is not written: CloudWatch bills a metric for the hours in which it has values.
        if count > 0 {
            *self.counts.borrow_mut().entry(counter).or_default() += count;
        }
    }

    /// Notes a value of a distribution.
    pub fn record(&self, distribution: Distribution, value: u64) {
        self.record_times(distribution, value, 1);
    }

    /// Notes a value of a distribution that came so many times.
    pub fn record_times(&self, distribution: Distribution, value: u64, times: u64) {
        if times > 0 {
            self.histograms.borrow_mut().entry(distribution).or_default().add(value, times);
        }
    }

    /// Counts the invocation's one request as refused.
    pub fn refuse(&self, code: ErrorCode) {
        self.add(REFUSED, 1);
        self.refused.set(Some(code));
    }

    /// The count so far.
    #[must_use]
    pub fn count(&self, counter: Counter) -> u64 {
        self.counts.borrow().get(&counter).copied().unwrap_or_default()
    }
}
