//! Plots of what was measured against what was varied: panels side by side, with the spread of each point.

use std::fmt::Write;

// The crate, not the module below.
use testkit::svg::document;

use crate::broadcasts::RoomSize;
use crate::figures::{Series, short};

const SIZE: (f64, f64) = (760.0, 300.0);

/// Left, right, top and bottom of a panel's plot within the panel.
const MARGIN: (f64, f64, f64, f64) = (52.0, 14.0, 44.0, 44.0);

/// A panel: what it shows, and how a value is placed between its bottom (0) and its top (1).
pub(crate) struct Panel<'a> {
    title: &'a str,
    below: &'a str,
    ticks: Vec<f64>,
    place: fn(f64, &[f64]) -> f64,
    points: Points<'a>,
    ideal: Vec<(f64, f64)>,
}

/// What was varied, ascending, and what was measured.
pub(crate) type Points<'a> = Vec<(f64, &'a Series)>;

/// Time on the left, memory on the right, the room's size below.
pub(crate) fn rooms(rooms: &[RoomSize]) -> String {
    let points =
        |series: fn(&RoomSize) -> &Series| rooms.iter().map(|room| (room.connections as f64, series(room))).collect();
    let below = "connections in the room";
    let time = Panel {
        title: "Time of one broadcast (ms)",
        below,
        ticks: vec![1.0, 10.0, 100.0, 1_000.0, 10_000.0],
        place: on_decades,
        points: points(|room| &room.milliseconds),
        ideal: Vec::new(),
    };
    let memory = Panel {
        title: "Peak memory (MiB)",
        below,
        ticks: vec![0.0, 8.0, 16.0, 24.0, 32.0],
        place: on_line,
        points: points(|room| &room.peak_mib),
        ideal: Vec::new(),
    };
    pair("Time and peak memory of a broadcast against the number of connections in the room", &[time, memory])
}

/// Two panels side by side, with a text for those who cannot see them.
pub(crate) fn pair(label: &str, panels: &[Panel; 2]) -> String {
    let mut svg = String::new();
    for (left, panel) in [0.0, SIZE.0 / 2.0].into_iter().zip(panels) {
        panel.draw(left, &mut svg);
    }
    document(SIZE, label, &svg)
}

/// The powers of ten around all of the values, which are above zero.
fn decades_around(values: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let bottom = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
    let top = values.fold(0.0, f64::max).log10().ceil().max(bottom + 1.0);
    let powers = std::iter::successors(Some(bottom), |power| Some(power + 1.0)).take_while(|power| *power <= top);
    powers.map(|power| 10_f64.powf(power)).collect()
}

/// Zero and four steps of a round number, to the greatest value or beyond it.
fn steps_to(greatest: f64) -> Vec<f64> {
    let rounds = std::iter::successors(Some(0.5), |decade| Some(decade * 10.0))
        .flat_map(|decade| [1.0, 2.0, 5.0].map(|round| decade * round));
    let step = rounds.take(30).find(|step| step * 4.0 >= greatest).unwrap_or(greatest);
    (0..5).map(|count| f64::from(count) * step).collect()
}

/// A number on an axis.
fn on_axis(number: f64) -> String {
    if number < 100.0 { number.to_string() } else { short(number) }
}

fn on_decades(value: f64, ticks: &[f64]) -> f64 {
    let (bottom, top) = (ticks[0].log10(), ticks[ticks.len() - 1].log10());
    (value.max(ticks[0]).log10() - bottom) / (top - bottom)
}

fn on_line(value: f64, ticks: &[f64]) -> f64 {
    value / ticks[ticks.len() - 1]
}

impl<'a> Panel<'a> {
    /// Values of several powers of ten, with what they would be at best.
    pub(crate) fn on_decades(title: &'a str, below: &'a str, points: Points<'a>, ideal: Vec<(f64, f64)>) -> Self {
        let spreads = points.iter().flat_map(|(_, series)| [series.min(), series.max()]);
        let ticks = decades_around(spreads.chain(ideal.iter().map(|(_, value)| *value)));
        Self { title, below, ticks, place: on_decades, points, ideal }
    }

    /// Values from zero up.
    pub(crate) fn on_line(title: &'a str, below: &'a str, points: Points<'a>) -> Self {
        let ticks = steps_to(points.iter().map(|(_, series)| series.max()).fold(0.0, f64::max));
        Self { title, below, ticks, place: on_line, points, ideal: Vec::new() }
    }

    fn draw(&self, panel_left: f64, svg: &mut String) {
        let (left, right, top, bottom) = MARGIN;
        let (width, height) = (SIZE.0 / 2.0 - left - right, SIZE.1 - top - bottom);
        let (x0, y0) = (panel_left + left, top + height);
        let sizes = [self.points[0].0, self.points[self.points.len() - 1].0];
        let x = |size: f64| x0 + 12.0 + (width - 36.0) * on_decades(size, &sizes);
        let y = |value: f64| y0 - height * (self.place)(value, &self.ticks);

        let _ = writeln!(svg, "<text class=\"title\" x=\"{}\" y=\"20\">{}</text>", panel_left + 12.0, self.title);
        for tick in &self.ticks {
            let at = y(*tick);
            let label = on_axis(*tick);
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x0:.1} {at:.1}h{width:.1}\"/>");
            let _ = writeln!(
                svg,
                "<text class=\"quiet\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                x0 - 6.0,
                at + 4.0
            );
        }
        if !self.ideal.is_empty() {
            let path: Vec<_> = self.ideal.iter().map(|(at, value)| format!("{:.1} {:.1}", x(*at), y(*value))).collect();
            let _ = writeln!(svg, "<path class=\"second line\" d=\"M{}\"/>", path.join("L"));
        }
        let path: Vec<_> =
            self.points.iter().map(|(size, series)| format!("{:.1} {:.1}", x(*size), y(series.median()))).collect();
        let _ = writeln!(svg, "<path class=\"line\" d=\"M{}\"/>", path.join("L"));
        for (size, series) in &self.points {
            let (x, median) = (x(*size), series.median());
            let (least, greatest) = (y(series.min()), y(series.max()));
            let _ = writeln!(svg, "<path class=\"spread\" d=\"M{x:.1} {least:.1}V{greatest:.1}\"/>");
            let _ = writeln!(svg, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3.5\"/>", y(median));
            let above = greatest - 9.0;
            let _ =
                writeln!(svg, "<text x=\"{x:.1}\" y=\"{above:.1}\" text-anchor=\"middle\">{}</text>", short(median));
            let below = y0 + 18.0;
            let _ = writeln!(
                svg,
                "<text class=\"quiet\" x=\"{x:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{}</text>",
                on_axis(*size)
            );
        }
        let (middle, caption) = (x0 + width / 2.0, y0 + 36.0);
        let _ = writeln!(
            svg,
            "<text class=\"quiet\" x=\"{middle:.1}\" y=\"{caption:.1}\" text-anchor=\"middle\">{}</text>",
            self.below
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_all_of_the_values() {
        assert_eq!(decades_around([40.0, 2_500.0].into_iter()), [10.0, 100.0, 1_000.0, 10_000.0]);
        assert_eq!(decades_around([100.0, 100.0].into_iter()), [100.0, 1_000.0]);
        assert_eq!(steps_to(97.0), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(steps_to(7.3), [0.0, 2.5, 5.0, 7.5, 10.0]);
        assert_eq!(steps_to(0.0), [0.0, 0.5, 1.0, 1.5, 2.0]);
    }

    #[test]
    fn every_point_is_drawn_within_its_panel() {
        let (low, high): (Series, Series) = ([3.0, 5.0].into_iter().collect(), [180.0, 240.0].into_iter().collect());
        let points = || vec![(8.0, &low), (512.0, &high)];
        let decades = Panel::on_decades("time", "workers", points(), vec![(8.0, 2.0), (512.0, 100.0)]);
        let svg = pair("a drawing", &[decades, Panel::on_line("posts", "workers", points())]);
        assert_eq!(svg.matches("<circle").count(), 4);
        assert_eq!(svg.matches("second line").count(), 1);
        let heights = svg.split("cy=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok());
        assert!(heights.clone().all(|y| (MARGIN.2..=SIZE.1 - MARGIN.3).contains(&y)), "{svg}");
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
