//! `connections-server [--port N] [--latency-ms N] [--rate N --burst N [--empty-ms N]] [--refused N] [--watched PREFIX]
//! [--certificate FILE]`: the benchmarks' `@connections` endpoint as a process of its own, over TLS too when there is
//! a file to write its certificate to. `GET /stats` gives its counts, `POST /stats/reset` sets them to zero.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to whoever started it")]

use std::process::ExitCode;
use std::time::Duration;

use testkit::fast_server::{FastServer, Options};

const USAGE: &str = "usage: connections-server [--port N] [--latency-ms N] [--rate N --burst N [--empty-ms N]] [--refused N] [--watched PREFIX] [--certificate FILE]";

fn main() -> ExitCode {
    let server = parse(std::env::args().skip(1)).and_then(|options| {
        let port = options.port;
        FastServer::start(options).map_err(|error| format!("cannot serve on port {port}: {error}"))
    });
    match server {
        Ok(server) => {
            println!("{}", server.url());
            server.run();
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    let (mut rate, mut burst) = (None, None);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match name.as_str() {
            "--certificate" => {
                options.certificate = Some(value.into());
                continue;
            }
            "--watched" => {
                options.watched = Some(value);
                continue;
            }
            _ => {}
        }
        let number: f64 = value.parse().map_err(|_| format!("{name} {value}: not a number\n{USAGE}"))?;
        match name.as_str() {
            "--port" => options.port = value.parse().map_err(|_| format!("--port {value}: not a port\n{USAGE}"))?,
            "--latency-ms" if number >= 0.0 => options.latency = Duration::from_secs_f64(number / 1_000.0),
            "--empty-ms" if number >= 0.0 => options.empty_for = Duration::from_secs_f64(number / 1_000.0),
            "--refused" if (0.0..=1.0).contains(&number) => options.refused_at_random = number,
            "--rate" => rate = Some(number),
            "--burst" => burst = Some(number),
            _ => return Err(USAGE.to_owned()),
        }
    }
    options.bucket = match (rate, burst) {
        (None, None) => None,
        (Some(rate), Some(burst)) => Some((rate, burst)),
        _ => return Err(format!("--rate and --burst go together\n{USAGE}")),
    };
    Ok(options)
}
