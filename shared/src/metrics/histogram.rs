//! The values of a distribution, rounded so that few are told apart.

use std::collections::BTreeMap;

/// The most values that are told apart: as many as the embedded metric format takes for one metric.
pub(super) const MOST_VALUES: usize = 100;

/// The largest value: in milliseconds almost three years. Up to here there are a hundred numbers of one significant
/// digit.
const LARGEST: u64 = 90_000_000_000;

/// Values, and how often each came. They are rounded to two significant digits, by 5% at the most, and to one digit
/// when there are too many all the same: memory is bounded however many values come.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: BTreeMap<u64, u64>,
    digits: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), digits: 2 }
    }
}

impl Histogram {
    /// Adds a value that came so many times.
    pub(super) fn add(&mut self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        *self.counts.entry(rounded(value.min(LARGEST), self.digits)).or_default() += times;
        if self.counts.len() > MOST_VALUES && self.digits > 1 {
            self.digits = 1;
            for (value, times) in std::mem::take(&mut self.counts) {
                *self.counts.entry(rounded(value, self.digits)).or_default() += times;
            }
        }
    }

    /// The values, ascending, with how often each came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts.iter().map(|(value, times)| (*value, *times))
    }
}

fn rounded(value: u64, digits: u32) -> u64 {
    let mut scale = 1;
    while value / scale >= 10_u64.pow(digits) {
        scale *= 10;
    }
    (value + scale / 2) / scale * scale
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_values_are_exact_and_large_ones_have_two_digits() {
        let rounded: Vec<u64> = [0, 7, 99, 104, 105, 1_249, 994, 995].map(|value| rounded(value, 2)).into();
        assert_eq!(rounded, [0, 7, 99, 100, 110, 1_200, 990, 1_000]);
    }

    #[test]
    fn equal_values_are_counted_together() {
        let mut histogram = Histogram::default();
        for (value, times) in [(1_201, 2), (5, 1), (1_199, 3), (9, 0)] {
            histogram.add(value, times);
        }
        assert_eq!(histogram.iter().collect::<Vec<_>>(), [(5, 1), (1_200, 5)]);
    }

    proptest! {
        #[test]
        fn there_are_never_too_many_values_and_none_is_lost(
            values in prop::collection::vec((0..64_u32, any::<u64>(), 1..1_000_u64), 0..2_000),
        ) {
            let mut histogram = Histogram::default();
            let mut times = 0;
            for (shift, value, count) in values {
                histogram.add(value >> shift, count);
                times += count;
            }
            prop_assert!(histogram.iter().count() <= MOST_VALUES);
            prop_assert_eq!(histogram.iter().map(|(_, times)| times).sum::<u64>(), times);
        }
    }

    #[test]
    fn a_histogram_of_everything_has_as_many_values_as_a_line_takes() {
        let mut histogram = Histogram::default();
        for digit in 0..10 {
            for scale in 0..12 {
                histogram.add(digit * 10_u64.pow(scale) + digit, 1);
            }
        }
        (0..1_000).for_each(|value| histogram.add(value, 1));
        histogram.add(u64::MAX, 1);
        assert_eq!(histogram.iter().count(), MOST_VALUES);
    }
}
