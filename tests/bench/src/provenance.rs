//! The provenance of a measurement: date, code, machine and tools.

use std::fs;
use std::process::Command;

/// The lines of the form `name: value`.
pub(crate) fn lines() -> Vec<String> {
    let versions = format!(
        "versions: {}, Node.js {}, {}, wrk {}",
        said("rustc", &["--version"]),
        said("node", &["--version"]),
        said("target/venv/bench/bin/python", &["--version"]),
        // `wrk` prints its version and then exits with an error.
        said("wrk", &["--version"]).split_whitespace().nth(1).unwrap_or("?"),
    );
    let load = format!("load of the machine when it was done: {}", load());
    machine().into_iter().chain([versions, load]).collect()
}

/// The lines about the date, the code and the machine.
pub(crate) fn machine() -> [String; 4] {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let changed = if said("git", &["status", "--porcelain", "--", "*.rs", "*.toml", "*.lock"]).is_empty() {
        ""
    } else {
        ", with changes that are not committed"
    };
    [
        format!("date: {}", said("date", &["--utc", "+%Y-%m-%d %H:%M UTC"])),
        format!("commit: {}{changed}", said("git", &["rev-parse", "--short=12", "HEAD"])),
        format!("machine: {}, {cores} cores, {}", of_file("/proc/cpuinfo", "model name"), memory()),
        format!("system: Linux {}", said("uname", &["-rm"])),
    ]
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| "?".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn of_file(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name));
    value.map_or("?", |(_, value)| value.trim()).to_owned()
}

fn memory() -> String {
    let kib: f64 = of_file("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    format!("{:.0} GiB of memory", kib / 1_048_576.0)
}

/// The processes that ran or could have run, on average over one, five and fifteen minutes.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
