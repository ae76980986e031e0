//! The computed curves of docs/tuning.md: what the model says when one setting is turned.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use roomcast::cost::Estimate;
use roomcast::cost::calls::LOGGING;
use roomcast::cost::flow::demand;
use roomcast::cost::prices::Prices;
use roomcast::cost::report::short;
use roomcast::cost::workload::{Workload, read};
use testkit::svg::document;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;

/// Left, right, top and bottom of the plot within the picture.
const MARGIN: (f64, f64, f64, f64) = (56.0, 20.0, 40.0, 46.0);

/// A curve of one setting.
struct Curve {
    /// The file's name, without its end.
    name: &'static str,
    title: &'static str,
    below: &'static str,
    points: Vec<(f64, f64)>,
}

/// All curves.
fn all() -> Vec<Curve> {
    vec![concurrency(), shards(), cap(), delay(), beats()]
}

fn workload(rooms: &str, setting: &str) -> Option<Workload> {
    read(&format!(r#"{{"rooms": [{rooms}], "sweepsPerDay": 0, "fixed": false {setting}}}"#)).ok()
}

/// Milliseconds until a message has been posted to everybody in a room, in an account that has enough.
fn broadcast(members: f64, setting: &str) -> f64 {
    let rooms = format!(r#"{{"members": {members}, "messagesPerSecond": 0.001, "via": "events"}}"#);
    workload(&rooms, setting).map_or(f64::NAN, |workload| {
        1_000.0 * (LOGGING + demand(&workload).flows.first().map_or(f64::NAN, |flow| flow.posting))
    })
}

fn concurrency() -> Curve {
    let point = |posts: f64| (posts, broadcast(10_000.0, &format!(r#", "fanoutConcurrency": {posts}"#)));
    Curve {
        name: "concurrency",
        title: "Time of a broadcast to 10,000 (ms)",
        below: "FANOUT_CONCURRENCY, posts of 10 ms",
        points: [16.0, 32.0, 64.0, 128.0, 256.0, 512.0].map(point).into(),
    }
}

fn shards() -> Curve {
    let setting = |shards: f64| format!(r#", "requestsPerSecond": 1e6, "fanoutShards": {shards}"#);
    let point = |shards: f64| (shards, broadcast(100_000.0, &setting(shards)));
    Curve {
        name: "shards",
        title: "Time of a broadcast to 100,000 (ms)",
        below: "FANOUT_SHARDS, 64 posts of 10 ms in each",
        points: [2.0, 4.0, 8.0, 16.0, 32.0, 64.0].map(point).into(),
    }
}

/// What a cap, or a share of a throttled account, does to a busy room: more gathers, and no more goes out.
fn cap() -> Curve {
    let rooms = r#"{"members": 1000, "messagesPerSecond": 5, "via": "events"}"#;
    let point = |posts: f64| {
        let workload = workload(rooms, &format!(r#", "requestsPerSecond": {posts}"#));
        (posts, workload.map_or(f64::NAN, |workload| demand(&workload).flows[0].messages_per_post()))
    };
    Curve {
        name: "rate",
        title: "Messages in a post, 1,000 members, 5 messages/s",
        below: "posts a second that the room may have",
        points: [100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0].map(point).into(),
    }
}

/// What it saves to wait for more.
fn delay() -> Curve {
    let (rate, prices) = (5.0, Prices::read(None).ok());
    let point = |seconds: f64| {
        let messages: f64 = (rate * seconds).max(1.0);
        let rooms = format!(
            r#"{{"members": 1000, "messagesPerSecond": {rate}, "hoursPerDay": 8, "via": "events", "messagesPerPost": {messages}}}"#
        );
        let usd =
            workload(&rooms, "").zip(prices.as_ref()).map(|(workload, prices)| Estimate::of(&workload).usd(prices));
        (seconds, usd.unwrap_or(f64::NAN))
    };
    Curve {
        name: "delay",
        title: "USD a month, 1,000 members, 5 messages/s, 8 h a day",
        below: "seconds that a message waits for others",
        points: [0.2, 0.5, 1.0, 2.0, 5.0, 10.0].map(point).into(),
    }
}

/// What it saves to look at a silent room later.
fn beats() -> Curve {
    let prices = Prices::read(None).ok();
    let rooms = r#"{"count": 1000, "members": 1, "messagesPerSecond": 0.0016667, "via": "queue"}"#;
    let point = |seconds: f64| {
        let workload = workload(rooms, &format!(r#", "syncMinSeconds": {seconds}"#));
        let usd = workload.zip(prices.as_ref()).map(|(workload, prices)| Estimate::of(&workload).usd(prices));
        (seconds, usd.unwrap_or(f64::NAN))
    };
    Curve {
        name: "sync",
        title: "USD a month, 1,000 rooms of one, a message in 10 min",
        below: "SYNC_MIN_SECONDS",
        points: [30.0, 60.0, 120.0, 270.0, 540.0].map(point).into(),
    }
}

impl Curve {
    /// The picture.
    fn svg(&self) -> String {
        let (left, right, top, bottom) = MARGIN;
        let (width, height) = (WIDTH - left - right, HEIGHT - top - bottom);
        let ends = |values: Vec<f64>| {
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            (least.log10(), values.iter().copied().fold(0.0, f64::max).log10())
        };
        let (x_least, x_most) = ends(self.points.iter().map(|point| point.0).collect());
        let (y_least, y_most) = ends(self.points.iter().map(|point| point.1).collect());
        let (y_least, y_most) = (y_least.floor(), y_most.ceil().max(y_least.floor() + 1.0));
        let x = |value: f64| left + 14.0 + (width - 28.0) * (value.log10() - x_least) / (x_most - x_least);
        let y = |value: f64| top + height * (1.0 - (value.log10() - y_least) / (y_most - y_least));
        let mut svg = format!("<text class=\"title\" x=\"12\" y=\"20\">{}</text>\n", self.title);
        let mut decade = y_least;
        while decade <= y_most {
            let (at, value) = (y(10_f64.powf(decade)), 10_f64.powf(decade));
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M{left:.1} {at:.1}h{width:.1}\"/>");
            let label = short(value);
            let _ = writeln!(
                svg,
                "<text class=\"quiet\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 6.0,
                at + 4.0
            );
            decade += 1.0;
        }
        let path: Vec<_> = self.points.iter().map(|(at, value)| format!("{:.1} {:.1}", x(*at), y(*value))).collect();
        let _ = writeln!(svg, "<path class=\"line\" d=\"M{}\"/>", path.join("L"));
        for (at, value) in &self.points {
            let (x, y, label) = (x(*at), y(*value), short(*value));
            let _ = writeln!(svg, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>");
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>", y - 9.0);
            let (below, label) = (top + height + 18.0, short(*at));
            let _ = writeln!(
                svg,
                "<text class=\"quiet\" x=\"{x:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{label}</text>"
            );
        }
        let (middle, caption) = (left + width / 2.0, top + height + 36.0);
        let _ = writeln!(
            svg,
            "<text class=\"quiet\" x=\"{middle:.1}\" y=\"{caption:.1}\" text-anchor=\"middle\">{}</text>",
            self.below
        );
        document((WIDTH, HEIGHT), self.title, &svg)
    }
}

/// `ROOMCAST_DRAW=1` draws them anew.
#[test]
fn the_documents_plots_are_what_the_model_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plots");
    for curve in all() {
        let (file, svg) = (folder.join(format!("{}.svg", curve.name)), curve.svg());
        if std::env::var_os("ROOMCAST_DRAW").is_some() {
            fs::write(&file, &svg).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), svg, "{}", file.display());
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
