//! A plot of time and memory against the room's size.

use std::fmt::Write;

use tests::svg::document;

use crate::broadcasts::RoomSize;
use crate::figures::{Series, short};

const SIZE: (f64, f64) = (760.0, 300.0);

/// Left, right, top and bottom of a panel's plot within the panel.
const MARGIN: (f64, f64, f64, f64) = (52.0, 14.0, 44.0, 44.0);

/// A panel: what it shows, and how a value is placed between its bottom (0) and its top (1).
struct Panel<'a> {
    left: f64,
    title: &'a str,
    ticks: &'a [f64],
    place: fn(f64, &[f64]) -> f64,
    points: Vec<(f64, &'a Series)>,
}

/// Time on the left, memory on the right, the room's size below.
pub(crate) fn rooms(rooms: &[RoomSize]) -> String {
    let points =
        |series: fn(&RoomSize) -> &Series| rooms.iter().map(|room| (room.connections as f64, series(room))).collect();
    let width = SIZE.0;
    let panels = [
        Panel {
            left: 0.0,
            title: "Time of one broadcast (ms)",
            ticks: &[1.0, 10.0, 100.0, 1_000.0, 10_000.0],
            place: on_decades,
            points: points(|room| &room.milliseconds),
        },
        Panel {
            left: width / 2.0,
            title: "Peak memory (MiB)",
            ticks: &[0.0, 8.0, 16.0, 24.0, 32.0],
            place: on_line,
            points: points(|room| &room.peak_mib),
        },
    ];
    let mut svg = String::new();
    for panel in &panels {
        panel.draw(&mut svg);
    }
    document(SIZE, "Time and peak memory of a broadcast against the number of connections in the room", &svg)
}

fn on_decades(value: f64, ticks: &[f64]) -> f64 {
    let (bottom, top) = (ticks[0].log10(), ticks[ticks.len() - 1].log10());
    (value.max(ticks[0]).log10() - bottom) / (top - bottom)
}

fn on_line(value: f64, ticks: &[f64]) -> f64 {
    value / ticks[ticks.len() - 1]
}

impl Panel<'_> {
    fn draw(&self, svg: &mut String) {
        let (left, right, top, bottom) = MARGIN;
        let (width, height) = (SIZE.0 / 2.0 - left - right, SIZE.1 - top - bottom);
        let (x0, y0) = (self.left + left, top + height);
        let sizes = [self.points[0].0, self.points[self.points.len() - 1].0];
        let x = |connections: f64| x0 + 12.0 + (width - 36.0) * on_decades(connections, &sizes);
        let y = |value: f64| y0 - height * (self.place)(value, self.ticks);

        let _ = writeln!(svg, "<text class=\"title\" x=\"{}\" y=\"20\">{}</text>", self.left + 12.0, self.title);
        for tick in self.ticks {
            let at = y(*tick);
            let label = if *tick < 100.0 { tick.to_string() } else { short(*tick) };
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x0:.1} {at:.1}h{width:.1}\"/>");
            let _ = writeln!(
                svg,
                "<text class=\"quiet\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                x0 - 6.0,
                at + 4.0
            );
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
                short(*size)
            );
        }
        let (middle, caption) = (x0 + width / 2.0, y0 + 36.0);
        let _ = writeln!(
            svg,
            "<text class=\"quiet\" x=\"{middle:.1}\" y=\"{caption:.1}\" text-anchor=\"middle\">connections in the room</text>"
        );
    }
}
