//! Sets of small numbers: numbers of a log, or slots.

use std::fmt;

/// A set of numbers below eight, one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Set(u8);

impl Set {
    /// The empty set.
    pub(crate) const NONE: Self = Self(0);

    /// The set of one number.
    pub(crate) fn one(number: u8) -> Self {
        Self(1 << number)
    }

    /// The numbers 1 to `last`.
    pub(crate) fn up_to(last: u8) -> Self {
        (1..=last).collect()
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The count of its numbers.
    pub(crate) fn len(self) -> u8 {
        u8::try_from(self.0.count_ones()).unwrap_or(u8::MAX)
    }

    /// Whether it has a number.
    pub(crate) fn has(self, number: u8) -> bool {
        self.0 & Self::one(number).0 != 0
    }

    /// The numbers that are in either set.
    #[must_use]
    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The numbers that are in both sets.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The numbers that are not in the other set.
    #[must_use]
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The lowest number.
    pub(crate) fn first(self) -> Option<u8> {
        self.iter().next()
    }

    /// The highest number.
    pub(crate) fn last(self) -> Option<u8> {
        self.iter().last()
    }

    /// The numbers, ascending.
    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |number| self.has(*number))
    }
}

impl FromIterator<u8> for Set {
    fn from_iter<I: IntoIterator<Item = u8>>(numbers: I) -> Self {
        numbers.into_iter().fold(Self::NONE, |set, number| set.with(Self::one(number)))
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}
