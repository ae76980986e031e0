//! The computed curves of docs/tuning.md: what the model says when one setting is turned.

use std::fs;
use std::path::Path;

use roomcast::cost::Estimate;
use roomcast::cost::calls::LOGGING;
use roomcast::cost::flow::demand;
use roomcast::cost::prices::Prices;
use roomcast::cost::report::short;
use roomcast::cost::workload::{Workload, read};
use testkit::plot::{Curve, Point, curves};

/// A setting and its effect, as one curve.
struct Setting {
    /// The file's name, without its extension.
    name: &'static str,
    title: &'static str,
    below: &'static str,
    points: Vec<(f64, f64)>,
}

fn all() -> Vec<Setting> {
    vec![concurrency(), shards(), cap(), delay(), beats()]
}

fn workload(rooms: &str, setting: &str) -> Option<Workload> {
    read(&format!(r#"{{"rooms": [{rooms}], "sweepsPerDay": 0, "fixed": false {setting}}}"#)).ok()
}

/// Milliseconds until a message has been posted to everybody in a room, in an account whose rate is no limit.
fn broadcast(members: f64, setting: &str) -> f64 {
    let rooms = format!(r#"{{"members": {members}, "messagesPerSecond": 0.001, "via": "events"}}"#);
    workload(&rooms, setting).map_or(f64::NAN, |workload| {
        1_000.0 * (LOGGING + demand(&workload).flows.first().map_or(f64::NAN, |flow| flow.posting))
    })
}

fn concurrency() -> Setting {
    let point = |posts: f64| (posts, broadcast(10_000.0, &format!(r#", "fanoutConcurrency": {posts}"#)));
    Setting {
        name: "concurrency",
        title: "Time of a broadcast to 10,000 (ms)",
        below: "FANOUT_CONCURRENCY, posts of 10 ms",
        points: [16.0, 32.0, 64.0, 128.0, 256.0, 512.0].map(point).into(),
    }
}

fn shards() -> Setting {
    let setting = |shards: f64| format!(r#", "requestsPerSecond": 1e6, "fanoutShards": {shards}"#);
    let point = |shards: f64| (shards, broadcast(100_000.0, &setting(shards)));
    Setting {
        name: "shards",
        title: "Time of a broadcast to 100,000 (ms)",
        below: "FANOUT_SHARDS, 64 posts of 10 ms in each",
        points: [2.0, 4.0, 8.0, 16.0, 32.0, 64.0].map(point).into(),
    }
}

/// The effect of a cap, or of a share of a throttled account, on a busy room: more messages gather in each post, and
/// no more posts go out.
fn cap() -> Setting {
    let rooms = r#"{"members": 1000, "messagesPerSecond": 5, "via": "events"}"#;
    let point = |posts: f64| {
        let workload = workload(rooms, &format!(r#", "requestsPerSecond": {posts}"#));
        (posts, workload.map_or(f64::NAN, |workload| demand(&workload).flows[0].messages_per_post()))
    };
    Setting {
        name: "rate",
        title: "Messages in a post, 1,000 members, 5 messages/s",
        below: "posts a second that the room may have",
        points: [100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0].map(point).into(),
    }
}

/// The savings of waiting for more messages.
fn delay() -> Setting {
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
    Setting {
        name: "delay",
        title: "USD a month, 1,000 members, 5 messages/s, 8 h a day",
        below: "seconds that a message waits for others",
        points: [0.2, 0.5, 1.0, 2.0, 5.0, 10.0].map(point).into(),
    }
}

/// The savings of syncing silent rooms later.
fn beats() -> Setting {
    let prices = Prices::read(None).ok();
    let rooms = r#"{"count": 1000, "members": 1, "messagesPerSecond": 0.0016667, "via": "queue"}"#;
    let point = |seconds: f64| {
        let workload = workload(rooms, &format!(r#", "syncMinSeconds": {seconds}"#));
        let usd = workload.zip(prices.as_ref()).map(|(workload, prices)| Estimate::of(&workload).usd(prices));
        (seconds, usd.unwrap_or(f64::NAN))
    };
    Setting {
        name: "sync",
        title: "USD a month, 1,000 rooms of one, a message in 10 min",
        below: "SYNC_MIN_SECONDS",
        points: [30.0, 60.0, 120.0, 270.0, 540.0].map(point).into(),
    }
}

impl Setting {
    fn svg(&self) -> String {
        let points = self.points.iter().map(|(at, value)| Point { at: *at, values: [*value; 3] }).collect();
        let curve = Curve { title: self.title, below: self.below, points, ideal: Vec::new(), decades: true };
        curves(self.title, &[curve], short)
    }
}

/// With `ROOMCAST_DRAW=1` the plots are drawn anew.
#[test]
fn the_documents_plots_are_what_the_model_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plots");
    for setting in all() {
        let (file, svg) = (folder.join(format!("{}.svg", setting.name)), setting.svg());
        if std::env::var_os("ROOMCAST_DRAW").is_some() {
            fs::write(&file, &svg).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), svg, "{}", file.display());
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
