//! Plots of measured values against the varied setting: the spread of each point, and the median.

use testkit::plot::{Curve, Point, curves};

use crate::broadcasts::RoomSize;
use crate::figures::{Series, short};

/// Plots of time (left) and memory (right) against the room's size.
pub(crate) fn rooms(rooms: &[RoomSize]) -> String {
    let at = |room: &RoomSize| room.connections as f64;
    let below = "connections in the room";
    let time = curve("Time of one broadcast (ms)", below, points(rooms, at, |room| &room.milliseconds));
    let memory = curve("Peak memory (MiB)", below, points(rooms, at, |room| &room.peak_mib));
    let label = "Time and peak memory of a broadcast against the number of connections in the room";
    draw(label, &[Curve { decades: true, ..time }, memory])
}

/// A curve of values from zero up.
pub(crate) fn curve<'a>(title: &'a str, below: &'a str, points: Vec<Point>) -> Curve<'a> {
    Curve { title, below, points, ideal: Vec::new(), decades: false }
}

/// A point for each result, in the order given.
pub(crate) fn points<T>(all: &[T], at: impl Fn(&T) -> f64, series: impl Fn(&T) -> &Series) -> Vec<Point> {
    let point = |one| {
        let measured = series(one);
        Point { at: at(one), values: [measured.min(), measured.median(), measured.max()] }
    };
    all.iter().map(point).collect()
}

/// Curves side by side, with a text for readers who cannot see them.
pub(crate) fn draw(label: &str, panels: &[Curve]) -> String {
    curves(
        label,
        panels,
        |number| if number.fract() == 0.0 && number < 100.0 { number.to_string() } else { short(number) },
    )
}
