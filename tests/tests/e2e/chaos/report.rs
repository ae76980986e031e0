//! The report of a run: its seed, what went wrong how often, and what came of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::samples::{Broadcast, Logged, Sample, logged};
use super::world::Sight;
use super::{CLIENTS, Outcome, ROOMS, plot};

/// The curves of the plot, by second.
pub(super) struct Seconds {
    pub(super) delivered: Vec<f64>,
    pub(super) undelivered: Vec<f64>,
    pub(super) depths: Vec<Vec<f64>>,
    pub(super) oldest: Vec<f64>,
    pub(super) queue_age: Vec<f64>,
}

/// Writes `REPORT.md` and `plot.svg`.
pub(super) async fn write(outcome: &Outcome, folder: &Path) {
    let logged = logged(&outcome.world).await;
    let faults = outcome.world.books(|books| books.faults.clone());
    let seconds = by_second(&outcome.samples, &logged, outcome.world.queues.len());
    fs::create_dir_all(folder).expect("a folder for the report");
    fs::write(folder.join("plot.svg"), plot::draw(&seconds, &faults)).expect("the plot");
    fs::write(folder.join("REPORT.md"), text(outcome, &logged.broadcasts)).expect("the report");
}

fn by_second(samples: &[Sample], logged: &Logged, queues: usize) -> Seconds {
    let end = samples.last().map_or(1, |sample| index(sample.at) + 1);
    let mut seconds = Seconds {
        delivered: vec![0.0; end],
        undelivered: vec![0.0; end],
        depths: vec![vec![0.0; end]; queues],
        oldest: vec![0.0; end],
        queue_age: vec![0.0; end],
    };
    for (at, age) in &logged.queue_ages {
        let second = &mut seconds.queue_age[index(*at).min(end - 1)];
        *second = second.max(age.as_secs_f64());
    }
    for broadcast in &logged.broadcasts {
        let second = index(broadcast.at).min(end - 1);
        seconds.delivered[second] += broadcast.delivered as f64;
        seconds.undelivered[second] += broadcast.undelivered as f64;
    }
    // A look that took longer than a second stands for all the seconds that it lasted.
    for (sample, next) in samples.iter().zip(samples.iter().skip(1).map(|next| index(next.at)).chain([end])) {
        for second in index(sample.at)..next.max(index(sample.at) + 1) {
            seconds.oldest[second] = sample.oldest.as_secs_f64();
            for (queue, depth) in sample.depths.iter().enumerate() {
                seconds.depths[queue][second] = *depth as f64;
            }
        }
    }
    seconds
}

fn index(at: Duration) -> usize {
    usize::try_from(at.as_secs()).expect("a run of less than an age")
}

fn text(outcome: &Outcome, broadcasts: &[Broadcast]) -> String {
    let Outcome { world, seed, lasted, calm_after, samples } = outcome;
    let sum = |part: fn(&Broadcast) -> u64| broadcasts.iter().map(part).sum::<u64>();
    let oldest = samples.iter().map(|sample| sample.oldest).max().unwrap_or_default();
    let accepted = samples.last().map_or(0, |sample| sample.accepted);
    let mut text = format!(
        "# A run of chaos\n\n\
         Made by `make chaos MINUTES={:.0}` on the local stack; another one writes this page anew. `ROOMCAST_SEED={seed}` makes the\n\
         same random choices again, though not at the same moments.\n\n\
         ![What was delivered, the queues, the wait and the faults, over time](plot.svg)\n\n\
         **The checker found nothing**: each accepted message has one number, each of the {CLIENTS} clients saw each message of\n\
         its rooms once and in the log's order, each sender's messages are in the order in which it sent them, the dead\n\
         letters are the poison, each once, and the queues are empty. After that, one more message in each room reached all\n\
         members without being asked for.\n\n",
        lasted.as_secs_f64() / 60.0
    );
    table(
        &mut text,
        "machine",
        [
            ("date".to_owned(), said("date", &["--utc", "+%Y-%m-%d %H:%M UTC"])),
            ("commit".to_owned(), said("git", &["rev-parse", "--short=12", "HEAD"])),
            ("machine".to_owned(), machine()),
            (
                "load when it was done".to_owned(),
                file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            ),
            ("seed".to_owned(), seed.to_string()),
        ],
    );
    table(
        &mut text,
        "what happened",
        [
            ("time with faults".to_owned(), format!("{:.0} s", lasted.as_secs_f64())),
            ("until all was well again".to_owned(), format!("{:.0} s", calm_after.as_secs_f64())),
            ("clients, rooms".to_owned(), format!("{CLIENTS}, {}", ROOMS.len())),
            ("messages accepted".to_owned(), accepted.to_string()),
            ("first sights of a message by a client".to_owned(), world.books(|books| books.sights.len()).to_string()),
            ("posts".to_owned(), sum(|broadcast| broadcast.posts).to_string()),
            (
                "deliveries: a broadcast's part for one connection".to_owned(),
                sum(|broadcast| broadcast.delivered).to_string(),
            ),
            (
                "of those undelivered, and recovered from the log".to_owned(),
                sum(|broadcast| broadcast.undelivered).to_string(),
            ),
            ("connections found gone".to_owned(), sum(|broadcast| broadcast.gone).to_string()),
            ("posts answered 429".to_owned(), sum(|broadcast| broadcast.throttled).to_string()),
            ("calls to other services that met with a fault".to_owned(), world.services.hit().to_string()),
            ("dead letters, all of them poison".to_owned(), world.books(|books| books.poison.len()).to_string()),
            ("oldest message that nobody had seen, at worst".to_owned(), format!("{:.1} s", oldest.as_secs_f64())),
        ],
    );
    let counts = world.books(|books| books.counts.clone());
    table(
        &mut text,
        "what the clients met with",
        counts.iter().map(|(what, count)| ((*what).to_owned(), count.to_string())),
    );
    let mut faults: BTreeMap<&str, u32> = BTreeMap::new();
    world.books(|books| books.faults.iter().for_each(|mark| *faults.entry(mark.kind).or_default() += 1));
    table(&mut text, "faults", faults.iter().map(|(kind, count)| ((*kind).to_owned(), count.to_string())));
    text.push_str(
        "From the first attempt to send a message until a client saw it, faults, retries and resumes included. The emulator is one\n\
         process on a machine that does other things: this says how long trouble lasts, not how fast Roomcast is. Events of a room that\n\
         has fallen behind wait in their queue until its cut opens ([docs/shares.md](../../docs/shares.md)), also when its\n\
         backlog is gone by then.\n\n\
         | came | count | p50 | p90 | p99 | longest |\n|---|---|---|---|---|---|\n",
    );
    let sights = world.books(|books| books.sights.clone());
    for (name, by_broadcast) in [("by broadcast", true), ("from the log, by join or sync", false)] {
        latencies(&mut text, name, sights.iter().filter(|sight| sight.by_broadcast == by_broadcast));
    }
    text
}

fn table(text: &mut String, title: &str, rows: impl IntoIterator<Item = (String, String)>) {
    let _ = writeln!(text, "| {title} | |\n|---|---|");
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text.push('\n');
}

fn latencies<'a>(text: &mut String, name: &str, sights: impl Iterator<Item = &'a Sight>) {
    let mut latencies: Vec<_> = sights.map(|sight| sight.latency).collect();
    latencies.sort_unstable();
    if latencies.is_empty() {
        return;
    }
    let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)].as_secs_f64();
    let (count, longest) = (latencies.len(), latencies[latencies.len() - 1].as_secs_f64());
    let _ =
        writeln!(text, "| {name} | {count} | {:.2} s | {:.2} s | {:.2} s | {longest:.2} s |", at(50), at(90), at(99));
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpus = file("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("?");
    format!("{}, {cores} cores, Linux {}", model.trim_start_matches(['\t', ' ', ':']), said("uname", &["-rm"]))
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| "?".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
