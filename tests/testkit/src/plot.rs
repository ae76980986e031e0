//! Plots of figures: curves side by side, and lines over time, legible on a light and on a dark page.

use std::error::Error;

use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::coord::combinators::{BindKeyPoints, IntoLogRange};
use plotters::coord::ranged1d::{AsRangedCoord, SegmentValue, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The colour of texts.
const INK: RGBColor = RGBColor(0x57, 0x60, 0x6a);
/// The colour of axes and of the grid's lines.
const GRID: RGBColor = RGBColor(0xd0, 0xd7, 0xde);
/// The colours of the first, second and third line of a panel.
const LINES: [RGBColor; 3] = [RGBColor(0x09, 0x69, 0xda), RGBColor(0xcf, 0x22, 0x2e), RGBColor(0x9a, 0x67, 0x00)];

/// The same colours on a dark page.
const STYLE: &str = "<style>
  text { font-family: system-ui, sans-serif }
  @media (prefers-color-scheme: dark) {
    [fill=\"#57606A\"] { fill: #9198a1 }
    [stroke=\"#D0D7DE\"] { stroke: #3d444d }
    [stroke=\"#0969DA\"] { stroke: #58a6ff }
    [fill=\"#0969DA\"] { fill: #58a6ff }
    [stroke=\"#CF222E\"] { stroke: #ff7b72 }
    [fill=\"#CF222E\"] { fill: #ff7b72 }
    [stroke=\"#9A6700\"] { stroke: #d29922 }
    [fill=\"#9A6700\"] { fill: #d29922 }
  }
</style>";

/// Width and height of a curve's panel.
const PANEL: (u32, u32) = (430, 300);
/// Width of the timelines, and height of each.
const TIMELINE: (u32, u32) = (960, 120);
/// The width of the names and numbers on the left of timelines.
const NAMES: i32 = 300;
/// The height of a row of spans.
const ROW: u32 = 15;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// The measurements at one position of the horizontal axis, which is logarithmic.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// The position.
    pub at: f64,
    /// The least, the median and the greatest value.
    pub values: [f64; 3],
}

/// A panel that shows measured values against the varied setting.
#[derive(Debug)]
pub struct Curve<'a> {
    /// The title above.
    pub title: &'a str,
    /// The name of the varied setting.
    pub below: &'a str,
    /// The points, ascending.
    pub points: Vec<Point>,
    /// The ideal values.
    pub ideal: Vec<(f64, f64)>,
    /// Whether the axis of the values has steps of ten times; otherwise it begins at zero.
    pub decades: bool,
}

/// Curves side by side, with a text for readers who cannot see them. `number` formats the numbers.
pub fn curves(label: &str, curves: &[Curve], number: fn(f64) -> String) -> String {
    let width = PANEL.0 * u32::try_from(curves.len()).unwrap();
    draw((width, PANEL.1), label, |area| {
        let panels = area.split_evenly((1, curves.len()));
        panels.iter().zip(curves).try_for_each(|(panel, curve)| curve.draw(panel, number))
    })
}

/// A panel with lines over time: a value for each second.
#[derive(Debug)]
pub struct Timeline<'a> {
    /// The title above.
    pub title: &'a str,
    /// The lines' names and values.
    pub lines: Vec<(&'a str, &'a [f64])>,
}

/// The spans of one kind, in seconds.
#[derive(Debug)]
pub struct Spans<'a> {
    /// The kind.
    pub kind: &'a str,
    /// Beginnings and ends.
    pub spans: Vec<(f64, f64)>,
}

/// Lines over time below one another, and below those the spans, with a text for readers who cannot see them.
pub fn timelines(label: &str, timelines: &[Timeline], title: &str, spans: &[Spans]) -> String {
    let seconds = timelines.iter().flat_map(|timeline| &timeline.lines).map(|(_, values)| values.len()).max();
    let end = f64::from(u32::try_from(seconds.unwrap_or_default()).unwrap().max(2) - 1);
    let lines = TIMELINE.1 * u32::try_from(timelines.len()).unwrap();
    let height = lines + ROW * u32::try_from(spans.len()).unwrap() + 60;
    draw((TIMELINE.0, height), label, |area| {
        let (above, below) = area.split_vertically(lines);
        for (area, timeline) in above.split_evenly((timelines.len(), 1)).iter().zip(timelines) {
            timeline.draw(area, end)?;
        }
        draw_spans(&below, title, spans, end)
    })
}

/// A picture with a text for readers who cannot see it.
fn draw(size: (u32, u32), label: &str, draw: impl FnOnce(&Area) -> Drawn) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    draw(&area).and_then(|()| Ok(area.present()?)).expect("numbers that can be drawn");
    drop(area);
    let (head, drawing) = svg.split_once(">\n").expect("the head of a picture");
    format!("{head} role=\"img\" aria-label=\"{label}\">\n{STYLE}\n{drawing}")
}

fn text() -> TextStyle<'static> {
    ("sans-serif", 15).into_font().color(&INK)
}

fn title() -> TextStyle<'static> {
    ("sans-serif", 16).into_font().style(FontStyle::Bold).color(&INK)
}

/// A grid of horizontal lines, in the colours of all panels.
fn grid<'m, 'a, 'b, X: Ranged, Y: Ranged, D: DrawingBackend>(
    mesh: &'m mut MeshStyle<'a, 'b, X, Y, D>,
) -> &'m mut MeshStyle<'a, 'b, X, Y, D> {
    mesh.disable_x_mesh().light_line_style(TRANSPARENT).bold_line_style(GRID).axis_style(GRID).label_style(text())
}

impl Curve<'_> {
    fn draw(&self, area: &Area, number: fn(f64) -> String) -> Drawn {
        let places: Vec<_> = self.points.iter().map(|point| point.at).collect();
        let x = (places[0] / 1.3..places[places.len() - 1] * 1.3).log_scale().with_key_points(places);
        let values =
            self.points.iter().flat_map(|point| point.values).chain(self.ideal.iter().map(|(_, value)| *value));
        let (least, most) = values.fold((f64::MAX, 0_f64), |(least, most), value| (least.min(value), most.max(value)));
        if self.decades {
            // A value on the uppermost line would have no room for its number.
            let (bottom, top) = (least.log10().floor(), (most * 1.2).log10().ceil());
            self.draw_on(area, x, (10_f64.powf(bottom)..10_f64.powf(top)).log_scale(), number)
        } else {
            self.draw_on(area, x, 0.0..most.max(1.0) * 1.2, number)
        }
    }

    fn draw_on<X, Y>(&self, area: &Area, x: X, y: Y, number: fn(f64) -> String) -> Drawn
    where
        X: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
        Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_top(42)
            .x_label_area_size(40)
            .y_label_area_size(50)
            .build_cartesian_2d(x, y)?;
        grid(&mut chart.configure_mesh())
            .x_desc(self.below)
            .x_label_formatter(&|value| number(*value))
            .y_labels(5)
            .y_label_formatter(&|value| number(*value))
            .draw()?;
        chart.draw_series(LineSeries::new(self.ideal.iter().copied(), LINES[1].stroke_width(2)))?;
        area.draw(&Text::new(self.title, (8, 8), title()))?;
        let medians = self.points.iter().map(|point| (point.at, point.values[1]));
        chart.draw_series(LineSeries::new(medians, LINES[0].filled().stroke_width(2)).point_size(3))?;
        let above = text().pos(Pos::new(HPos::Center, VPos::Bottom));
        for Point { at, values: [least, median, most] } in &self.points {
            chart.draw_series([PathElement::new([(*at, *least), (*at, *most)], LINES[0])])?;
            chart.draw_series([EmptyElement::at((*at, *most)) + Text::new(number(*median), (0, -7), above.clone())])?;
        }
        Ok(())
    }
}

impl Timeline<'_> {
    fn draw(&self, area: &Area, end: f64) -> Drawn {
        let most = self.lines.iter().flat_map(|(_, values)| *values).fold(1.0_f64, |most, value| most.max(*value));
        let mut chart = ChartBuilder::on(area)
            .margin_top(10)
            .margin_right(20)
            .margin_bottom(10)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(0.0..end, 0.0..most)?;
        grid(&mut chart.configure_mesh()).y_labels(4).y_label_formatter(&ToString::to_string).draw()?;
        area.draw(&Text::new(self.title, (8, 8), title()))?;
        for (row, ((name, values), colour)) in (1..).zip(self.lines.iter().zip(LINES)) {
            let points = (0_u32..).map(f64::from).zip(values.iter().copied());
            chart.draw_series(LineSeries::new(points, colour))?;
            area.draw(&Text::new(*name, (8, 8 + 20 * row), text().color(&colour)))?;
        }
        Ok(())
    }
}

fn draw_spans(area: &Area, above: &str, spans: &[Spans], end: f64) -> Drawn {
    let rows = i32::try_from(spans.len()).unwrap();
    let mut chart = ChartBuilder::on(area)
        .margin_top(30)
        .margin_right(20)
        .x_label_area_size(30)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(0.0..end, (0..rows - 1).into_segmented())?;
    let kind = |row: &SegmentValue<i32>| match row {
        SegmentValue::CenterOf(row) => {
            usize::try_from(*row).ok().and_then(|row| spans.get(row)).map_or("", |row| row.kind)
        }
        _ => "",
    };
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(GRID)
        .label_style(text())
        .x_label_formatter(&|second| format!("{second} s"))
        .y_labels(spans.len() + 1)
        .y_label_formatter(&|row| kind(row).to_owned())
        .draw()?;
    area.draw(&Text::new(above, (8, 8), title()))?;
    for (row, kind) in (0..).zip(spans) {
        chart.draw_series(kind.spans.iter().map(|(from, until)| {
            // A span without any length is widened, to be visible.
            let from = from.min(end * 0.998);
            let corners =
                [(from, SegmentValue::Exact(row)), (until.max(from + end * 0.002), SegmentValue::Exact(row + 1))];
            let mut bar = Rectangle::new(corners, LINES[1].filled());
            bar.set_margin(2, 2, 0, 0);
            bar
        }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of an attribute, as numbers.
    fn numbers(svg: &str, name: &str) -> Vec<f64> {
        svg.split(&format!(" {name}=\"")).skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
    }

    #[test]
    fn every_point_is_drawn_within_its_panel() {
        let points =
            vec![Point { at: 8.0, values: [3.0, 4.0, 5.0] }, Point { at: 512.0, values: [180.0, 210.0, 240.0] }];
        let ideal = vec![(8.0, 2.0), (512.0, 100.0)];
        let decades = Curve { title: "time", below: "workers", points: points.clone(), ideal, decades: true };
        let line = Curve { title: "posts", below: "workers", points, ideal: Vec::new(), decades: false };
        let svg = curves("a drawing", &[decades, line], |number| number.to_string());
        let (x, y) = (numbers(&svg, "cx"), numbers(&svg, "cy"));
        assert_eq!(x.len(), 4, "{svg}");
        assert!(x[..2].iter().all(|x| (50.0..430.0).contains(x)) && x[2..].iter().all(|x| (480.0..860.0).contains(x)));
        assert!(y.iter().all(|y| (20.0..250.0).contains(y)) && y[0] > y[1] && y[2] > y[3], "{y:?}");
        assert!(svg.contains("aria-label=\"a drawing\"") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn lines_and_spans_share_the_axis_of_time() {
        let values = [0.0, 5.0, 10.0].repeat(201);
        let timeline = Timeline { title: "depth", lines: vec![("queue", &values)] };
        let spans = ["outage", "burst"].map(|kind| Spans { kind, spans: vec![(0.0, 301.0), (602.0, 602.0)] });
        let svg = timelines("a run", &[timeline], "faults", &spans);
        let bars = svg.lines().filter(|line| line.starts_with("<rect"));
        let bars: Vec<_> = bars.map(|bar| (numbers(bar, "x")[0], numbers(bar, "width")[0])).collect();
        assert_eq!(bars[..2], [(300.0, 319.0), (937.0, 2.0)], "half of the time, and a moment at its end");
        assert_eq!(bars[..2], bars[2..]);
        assert!(svg.contains("outage") && svg.contains("queue") && svg.contains("faults"), "{svg}");
    }
}
