//! The measured part of docs/tuning.md and its plots.

use std::fmt::Write;
use std::fs;

use testkit::plot::Curve;

use crate::figures::short;
use crate::plot::{curve, draw, points};
use crate::report::table;
use crate::tuning::{
    BROADCASTS, CAPPED, CONCURRENCY, ENVIRONMENTS_POSTS, Interval, LATENCY, PACKED_ROOM, SHORT, Shared, Tuning,
    WORKERS_ROOM, Workers,
};

const PAGE: &str = "docs/tuning.md";
const PLOTS: &str = "docs/plots";

/// The comments around the measured part.
const BEGIN: &str = "<!-- Written by \"bench tuning\", to the next comment. -->\n";
const END: &str = "<!-- Written by people again. -->\n";

/// Draws the plots, and writes the measured part of the page anew.
pub(crate) fn write(tuning: &Tuning, provenance: &[String]) -> Result<(), String> {
    for (name, svg) in plots(tuning) {
        put(&format!("{PLOTS}/{name}.svg"), &svg)?;
    }
    let page = fs::read_to_string(PAGE).map_err(|error| format!("{PAGE}: {error}"))?;
    let measured = measured(tuning, provenance);
    println!("{measured}");
    put(PAGE, &replaced(&page, &measured)?)
}

fn put(path: &str, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{path}: {error}"))
}

/// The page with another measured part.
fn replaced(page: &str, measured: &str) -> Result<String, String> {
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("{PAGE}: not both {BEGIN}and {END}"))?;
    Ok(format!("{before}{BEGIN}{measured}{END}{after}"))
}

fn plots(tuning: &Tuning) -> [(&'static str, String); 4] {
    [
        ("measured-concurrency", workers_plot(&tuning.workers)),
        ("measured-environments", {
            let of = |shared: &Shared| shared.environments as f64;
            shared_plot(&tuning.environments, "environments side by side", of)
        }),
        ("measured-cap", {
            let of = |shared: &Shared| f64::from(shared.cap);
            shared_plot(&tuning.caps, "FANOUT_MAX_POSTS_PER_SECOND of each of 4", of)
        }),
        ("measured-packing", intervals_plot(&tuning.intervals)),
    ]
}

fn workers_plot(workers: &[Workers]) -> String {
    let at = |workers: &Workers| workers.concurrency as f64;
    let below = "FANOUT_CONCURRENCY (red: the ideal)";
    let ideal = workers.iter().map(|one| (at(one), one.ideal_milliseconds.median()));
    let most = workers.iter().map(|one| (at(one), WORKERS_ROOM as f64 / one.ideal_milliseconds.median() * 1_000.0));
    let time = points(workers, at, |one| &one.milliseconds);
    let rate = points(workers, at, |one| &one.posts_per_second);
    let (time, rate) = (curve("Time of a broadcast to 2,000 (ms)", below, time), curve("Posts a second", below, rate));
    let panels = [
        Curve { ideal: ideal.collect(), decades: true, ..time },
        Curve { ideal: most.collect(), decades: true, ..rate },
    ];
    draw("Time of a broadcast and posts a second against FANOUT_CONCURRENCY, measured", &panels)
}

fn shared_plot(all: &[Shared], below: &str, at: fn(&Shared) -> f64) -> String {
    let panels = [
        curve("Used of what the account had (%)", below, points(all, at, |one| &one.goodput)),
        curve("Posts answered 429 (%)", below, points(all, at, |one| &one.waste)),
    ];
    draw(&format!("Used of an account, and posts answered 429, against {below}, measured"), &panels)
}

fn intervals_plot(intervals: &[Interval]) -> String {
    let at = |interval: &Interval| interval.milliseconds as f64;
    let below = "milliseconds between messages";
    let panels = [
        curve("Messages in a post", below, points(intervals, at, |one| &one.messages_per_post)),
        curve("Time until a message is posted (ms)", below, points(intervals, at, |one| &one.latency)),
    ];
    draw("Messages in a post and their latency against the time between messages, measured", &panels)
}

/// The part of the page, from its provenance to its last table.
fn measured(tuning: &Tuning, provenance: &[String]) -> String {
    let latency = LATENCY.as_millis();
    let mut page = format!(
        "\nOne run of `make bench-tuning`: the real function behind the Lambda Runtime API, the tables in the measuring process, and \
         an `@connections` server on the same machine that takes {latency} ms for a post. Each dot is a median, its line \
         goes from the least to the greatest.\n\n"
    );
    for line in provenance {
        let _ = writeln!(page, "- {line}");
    }
    workers(&mut page, &tuning.workers);
    shared(&mut page, tuning);
    intervals(&mut page, &tuning.intervals);
    page.push('\n');
    page
}

fn workers(page: &mut String, workers: &[Workers]) {
    let room = short(WORKERS_ROOM as f64);
    let _ = write!(
        page,
        "\n### Workers\n\n![Time of a broadcast and posts a second against FANOUT_CONCURRENCY](plots/measured-concurrency.svg)\n\n\
         {BROADCASTS} whole invocations with one message to a room of {room} each, in an environment whose connections are open; \
         nothing is refused. The ideal is connections × the latency that the server measured ÷ `FANOUT_CONCURRENCY`.\n\n"
    );
    let rows = workers.iter().map(|one| {
        [
            one.concurrency.to_string(),
            one.milliseconds.to_string(),
            one.posts_per_second.to_string(),
            short(one.milliseconds.over(&one.ideal_milliseconds).median()),
        ]
    });
    table(page, ["`FANOUT_CONCURRENCY`", "time (ms)", "posts/s", "time / ideal"], rows);
}

fn shared(page: &mut String, tuning: &Tuning) {
    let (rate, burst) = (short(SHORT.0), short(SHORT.1));
    let (environments, posts) = (CAPPED.0, short(CAPPED.1 as f64));
    let all_posts = short(ENVIRONMENTS_POSTS as f64);
    let _ = write!(
        page,
        "\n### An account that is short\n\n\
         ![Used of an account, and posts answered 429, against environments](plots/measured-environments.svg)\n\n\
         An account of {rate} requests a second with a burst of {burst}, and environments side by side from a cold start, which know \
         nothing of each other: a room and a message for each, {all_posts} posts in all, `FANOUT_CONCURRENCY={CONCURRENCY}`. \
         “Used” is what was delivered, as a share of what the account had from the first post to the last; “side by side” counts until the first environment was done.\n\n"
    );
    let head = ["used (%)", "used side by side (%)", "answered 429 (%)", "time (s)", "undelivered"];
    let row = |first: String, one: &Shared| {
        let [used, side_by_side, waste, time] =
            [&one.goodput, &one.side_by_side, &one.waste, &one.seconds].map(ToString::to_string);
        [first, used, side_by_side, waste, time, one.undelivered.to_string()]
    };
    let with = |first| [first, head[0], head[1], head[2], head[3], head[4]];
    table(page, with("environments"), tuning.environments.iter().map(|one| row(one.environments.to_string(), one)));
    let _ = write!(
        page,
        "\n### The cap\n\n![Used of an account, and posts answered 429, against the cap](plots/measured-cap.svg)\n\n\
         The same account, {environments} environments that are capped, {posts} posts in all.\n\n"
    );
    let caps = tuning.caps.iter().map(|one| row(short(f64::from(one.cap)), one));
    table(page, with("`FANOUT_MAX_POSTS_PER_SECOND`"), caps);
}

fn intervals(page: &mut String, intervals: &[Interval]) {
    let room = short(PACKED_ROOM as f64);
    let _ = write!(
        page,
        "\n### Packing by itself\n\n![Messages in a post, and latency, against the time between messages](plots/measured-packing.svg)\n\n\
         Messages to a room of {room}, handed to an environment behind each queue as SQS FIFO does: one batch at a time, of up to ten that wait. \
         `FANOUT_CONCURRENCY={CONCURRENCY}`. The time is from a message's being in the queue to the end of the invocation that posted it.\n\n"
    );
    let rows = intervals.iter().map(|one| {
        [
            one.milliseconds.to_string(),
            one.messages.to_string(),
            one.messages_per_post.to_string(),
            one.latency.to_string(),
        ]
    });
    table(page, ["ms between messages", "messages", "messages in a post", "time until posted (ms)"], rows);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::figures::Series;

    fn made_up() -> Tuning {
        let series = |value: f64| Series::from_iter([value]);
        let workers = |concurrency| Workers {
            concurrency,
            milliseconds: series(420.0),
            posts_per_second: series(4_800.0),
            ideal_milliseconds: series(400.0),
        };
        let shared = |environments, cap| Shared {
            environments,
            cap,
            goodput: series(98.7),
            side_by_side: series(99.5),
            waste: series(1.5),
            seconds: series(4.0),
            undelivered: 3,
        };
        let interval = |milliseconds| Interval {
            milliseconds,
            messages: 30,
            messages_per_post: series(2.25),
            latency: [180.0, 240.0, 310.0].into_iter().collect(),
        };
        Tuning {
            workers: [8, 512].map(workers).into(),
            environments: [1, 16].map(|environments| shared(environments, 0)).into(),
            caps: [250, 2_000].map(|cap| shared(4, cap)).into(),
            intervals: [10, 500].map(interval).into(),
        }
    }

    #[test]
    fn every_point_has_a_row() {
        let page = measured(&made_up(), &["machine: a fast one".to_owned()]);
        let rows = [
            "- machine: a fast one",
            "| 512 | 420 | 4,800 | 1.05 |",
            "| 16 | 98.7 | 99.5 | 1.50 | 4.00 | 3 |",
            "| 2,000 | 98.7 | 99.5 | 1.50 | 4.00 | 3 |",
            "| 10 | 30 | 2.25 | 240 (180 to 310) |",
        ];
        for row in rows {
            assert!(page.lines().any(|line| line == row), "{row} is not in {page}");
        }
    }

    #[test]
    fn what_people_wrote_around_the_measured_part_stays() {
        let page = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(replaced(&page, "new\n"), Ok(format!("before\n{BEGIN}new\n{END}after\n")));
        assert!(replaced(&format!("before\n{END}after\n{BEGIN}"), "new\n").is_err());
    }

    #[test]
    fn the_page_has_a_measured_part_with_every_plot() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let page = fs::read_to_string(root.join(PAGE)).unwrap();
        let emptied = replaced(&page, "").unwrap();
        for (name, _) in plots(&made_up()) {
            let plot = format!("(plots/{name}.svg)");
            assert!(page.contains(&plot) && !emptied.contains(&plot), "{plot} stands in the measured part alone");
            assert!(root.join(PLOTS).join(format!("{name}.svg")).is_file(), "{name}");
        }
    }
}
