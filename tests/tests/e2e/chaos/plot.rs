//! A plot of a run: what was delivered and what not, the queues, the wait, and the faults below, over time.

use std::fmt::Write;

use testkit::svg::document;

use super::report::Seconds;
use super::world::Mark;

const WIDTH: f64 = 960.0;

/// Left and right of the plots.
const SIDES: (f64, f64) = (220.0, 20.0);

/// Of a panel: its title above, the plot, the room below.
const PANEL: (f64, f64, f64) = (30.0, 110.0, 16.0);

/// The height of a kind of faults in the strip below.
const ROW: f64 = 15.0;

/// Lines of one panel: their names, classes and values by second.
struct Panel<'a> {
    title: &'a str,
    lines: Vec<(&'a str, &'a str, Vec<f64>)>,
}

pub(super) fn draw(seconds: &Seconds, faults: &[Mark]) -> String {
    let panels = [
        Panel {
            title: "deliveries a second",
            lines: vec![
                ("delivered", "line", seconds.delivered.clone()),
                ("undelivered (recovered from the log)", "line second", seconds.undelivered.clone()),
            ],
        },
        Panel {
            title: "records in the queues",
            lines: vec![
                ("broadcasts", "line", seconds.depths[0].clone()),
                ("shards", "line second", seconds.depths[1].clone()),
                ("events", "line third", seconds.depths[2].clone()),
            ],
        },
        Panel {
            title: "the longest wait (s)",
            lines: vec![
                ("of a message that nobody has seen yet", "line", seconds.oldest.clone()),
                ("of records that fan-out took (QueueAge)", "line third", seconds.queue_age.clone()),
            ],
        },
    ];
    let mut kinds: Vec<_> = faults.iter().map(|mark| mark.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let panel_height = PANEL.0 + PANEL.1 + PANEL.2;
    let strip = panel_height * panels.len() as f64 + 24.0;
    let height = strip + ROW * kinds.len() as f64 + 40.0;
    let end = seconds.delivered.len().max(2) as f64 - 1.0;
    let x = |second: f64| SIDES.0 + (WIDTH - SIDES.0 - SIDES.1) * (second / end).min(1.0);
    let mut svg = String::new();
    for (place, panel) in panels.iter().enumerate() {
        panel.draw(&mut svg, panel_height * place as f64, x);
    }
    let _ = writeln!(svg, "<text class=\"title\" x=\"12\" y=\"{:.0}\">faults</text>", strip - 8.0);
    for (row, kind) in kinds.iter().enumerate() {
        let y = strip + ROW * row as f64;
        for mark in faults.iter().filter(|mark| mark.kind == *kind) {
            let (from, until) = (x(mark.from.as_secs_f64()), x(mark.until.as_secs_f64()));
            let width = (until - from).max(2.0);
            let _ = writeln!(
                svg,
                "<rect class=\"dot second\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
                y + 2.0,
                ROW - 5.0
            );
        }
        let _ = writeln!(svg, "<text class=\"quiet\" x=\"12\" y=\"{:.1}\">{kind}</text>", y + 11.0);
    }
    let step = if end > 180.0 { 60.0 } else { 10.0 };
    let mut second = 0.0;
    while second <= end {
        let _ = writeln!(
            svg,
            "<text class=\"quiet\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second} s</text>",
            x(second),
            height - 18.0
        );
        second += step;
    }
    document((WIDTH, height), "Deliveries, queues, the longest wait and the faults of a run, over time", &svg)
}

impl Panel<'_> {
    fn draw(&self, svg: &mut String, top: f64, x: impl Fn(f64) -> f64) {
        let (bottom, plot) = (top + PANEL.0 + PANEL.1, PANEL.1);
        let greatest =
            self.lines.iter().flat_map(|(_, _, values)| values).fold(1.0_f64, |most, value| most.max(*value));
        let scale = nice(greatest);
        let _ = write!(svg, "<text class=\"title\" x=\"12\" y=\"{:.0}\">{}", top + 18.0, self.title);
        svg.push_str("</text>\n");
        for part in [0.0, 0.5, 1.0] {
            let y = bottom - plot * part;
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{:.1} {y:.1}H{:.1}\"/>", SIDES.0, WIDTH - SIDES.1);
            let _ = writeln!(
                svg,
                "<text class=\"quiet\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                SIDES.0 - 6.0,
                y + 4.0,
                scale * part
            );
        }
        let mut legend = WIDTH - SIDES.1;
        for (name, class, values) in self.lines.iter().rev() {
            let points: Vec<_> = values
                .iter()
                .enumerate()
                .map(|(second, value)| format!("{:.1} {:.1}", x(second as f64), bottom - plot * value / scale))
                .collect();
            let _ = writeln!(svg, "<path class=\"{class}\" style=\"stroke-width:1.2\" d=\"M{}\"/>", points.join("L"));
            let _ = writeln!(
                svg,
                "<text class=\"quiet\" x=\"{legend:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                top + 18.0
            );
            legend -= 7.0 * name.len() as f64 + 26.0;
            let _ = writeln!(svg, "<path class=\"{class}\" d=\"M{legend:.1} {:.1}h16\"/>", top + 14.0);
            legend -= 14.0;
        }
    }
}

/// The next number above that is easy to read: 1, 2, 4 or 10 times a power of ten.
fn nice(value: f64) -> f64 {
    let power = 10.0_f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 10.0].into_iter().map(|digit| digit * power).find(|nice| *nice >= value).unwrap_or(value)
}
