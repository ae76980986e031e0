//! Measured figures: medians, spreads, and how they are printed.

use std::fmt;

/// The values of a figure, one for each run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    pub(crate) fn min(&self) -> f64 {
        self.sorted().first().copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn max(&self) -> f64 {
        self.sorted().last().copied().unwrap_or(f64::NAN)
    }

    /// Each run's value divided by that of another series in the same run: a disturbance of both has the least effect
    /// on that.
    pub(crate) fn over(&self, other: &Self) -> Self {
        self.0.iter().zip(&other.0).map(|(one, other)| one / other).collect()
    }

    /// The same series, unless one run failed (not a number): then that is the result of all.
    pub(crate) fn all_or_nothing(&self) -> Self {
        let failed = self.0.iter().find(|value| value.is_nan());
        failed.map_or_else(|| self.clone(), |nothing| Self::from_iter([*nothing]))
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// The median, and the least and the greatest value where they differ from it.
impl fmt::Display for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = self.sorted();
        let Some((least, greatest)) = sorted.first().zip(sorted.last()) else { return formatter.write_str("-") };
        let [median, least, greatest] = [self.median(), *least, *greatest].map(short);
        if least == median && greatest == median {
            return formatter.write_str(&median);
        }
        write!(formatter, "{median} ({least} to {greatest})")
    }
}

/// A number with three significant digits or more, and commas in large ones.
pub(crate) fn short(number: f64) -> String {
    let decimals = match number.abs() {
        size if size == 0.0 || size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        _ => 4,
    };
    let text = format!("{number:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (index, digit) in whole.char_indices() {
        let is_group = (whole.len() - index) % 3 == 0 && index > 0 && whole.as_bytes()[index - 1] != b'-';
        grouped.extend(is_group.then_some(','));
        grouped.push(digit);
    }
    fraction.map_or_else(|| grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_shows_its_median_and_its_spread() {
        let series: Series = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!(series.to_string(), "2.00 (1.00 to 3.00)");
        assert_eq!([5.0, 5.0].into_iter().collect::<Series>().to_string(), "5.00");
        assert_eq!(series.over(&series).to_string(), "1.00");
    }

    #[test]
    fn one_run_that_came_to_nothing_is_enough() {
        let all: Series = [1.0, 1.0, 1.0].into_iter().collect();
        assert!((all.all_or_nothing().median() - 1.0).abs() < 1e-9);
        let one_failed: Series = [1.0, f64::NAN, 1.0].into_iter().collect();
        assert!(one_failed.all_or_nothing().median().is_nan());
    }

    #[test]
    fn numbers_are_short() {
        let shorts = [0.0, 0.01234, 0.5, 12.345, 999.6, 45_678.9, 1_234_567.0].map(short);
        assert_eq!(shorts, ["0", "0.0123", "0.500", "12.3", "1,000", "45,679", "1,234,567"]);
    }
}
