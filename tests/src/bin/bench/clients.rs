//! Clients side by side: ours, the ones that users have today, and the fastest there is.
//!
//! Each is a process of its own and posts to the same server. They take turns, so that what else the machine does
//! disturbs all of them alike.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::figures::Series;
use crate::machine::{ConnectionsServer, program};

/// Connections that each client opens; boto3's loop needs but one, and HTTP/2 carries as many requests on one.
pub(crate) const CONNECTIONS: usize = 64;

/// The clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Direct,
    DirectHttp2,
    RustSdk,
    Node,
    Boto3,
    Wrk,
}

pub(crate) const CLIENTS: [Client; 6] =
    [Client::Direct, Client::DirectHttp2, Client::RustSdk, Client::Node, Client::Boto3, Client::Wrk];

/// What one client did in all of its runs.
pub(crate) struct Posting {
    pub(crate) per_second: Series,
    /// Microseconds on the CPU for each post.
    pub(crate) cpu: Series,
}

impl Client {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "Roomcast, signed",
            Self::DirectHttp2 => "Roomcast, signed, `FANOUT_HTTP_VERSION=2`",
            Self::RustSdk => "AWS SDK for Rust, same workers",
            Self::Node => "AWS SDK for JavaScript v3, `Promise.all`",
            Self::Boto3 => "boto3, one after the other",
            Self::Wrk => "`wrk`, unsigned",
        }
    }

    fn command(self, url: &str, time: Duration) -> Command {
        let (connections, seconds) = (CONNECTIONS.to_string(), time.as_secs_f64().to_string());
        let whole_seconds = time.as_secs().to_string();
        let bench = |client| {
            let mut command = Command::new(program("bench"));
            command.args(["post", "--client", client, "--url", url, "--connections", &connections]);
            command.args(["--seconds", &seconds]);
            command
        };
        match self {
            Self::Direct => bench("http1"),
            Self::DirectHttp2 => bench("http2"),
            Self::RustSdk => bench("sdk"),
            Self::Node => {
                let mut command = Command::new("node");
                command.args(["--no-warnings", "tests/benches/node/promise_all.mjs", url, &connections, &seconds]);
                command
            }
            Self::Boto3 => {
                let mut command = Command::new("target/venv/bench/bin/python");
                command.args(["tests/benches/boto3_loop.py", url, &seconds]);
                command
            }
            Self::Wrk => {
                let mut command = Command::new("tests/benches/wrk_post");
                command.args([url, &connections, &whole_seconds]);
                command
            }
        }
    }

    /// Runs it once: posts a second, and microseconds on the CPU for each.
    fn run(self, server: &ConnectionsServer, time: Duration) -> Result<(f64, f64), String> {
        server.reset();
        let mut command = self.command(server.url(), time);
        command.env("AWS_ACCESS_KEY_ID", "AKIDTEST").env("AWS_SECRET_ACCESS_KEY", "test-secret");
        command.env("AWS_SESSION_TOKEN", "test-session").env("AWS_REGION", "us-east-1");
        let output = command.output().map_err(|error| format!("{}: {error}", self.name()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let result = said.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
        let figure = |name: &str| result.as_ref().and_then(|result| result[name].as_f64());
        let (Some(posts), Some(seconds), Some(cpu)) = (figure("posts"), figure("seconds"), figure("cpuSeconds")) else {
            return Err(format!("{}: {said}{}", self.name(), String::from_utf8_lossy(&output.stderr)));
        };
        // The server has counted the warm-up as well.
        if (server.stats().delivered as f64) < posts {
            return Err(format!("{}: {posts} posts, but {} arrived", self.name(), server.stats().delivered));
        }
        Ok((posts / seconds, cpu * 1e6 / posts))
    }
}

/// Runs all clients `runs` times; in the order of [`CLIENTS`].
pub(crate) fn measure(runs: usize, time: Duration) -> Result<Vec<Posting>, String> {
    let server = ConnectionsServer::start(Duration::ZERO, None);
    let mut postings: Vec<_> =
        CLIENTS.iter().map(|_| Posting { per_second: Series::default(), cpu: Series::default() }).collect();
    for run in 0..runs {
        for turn in 0..CLIENTS.len() {
            // Nobody is always the one after the same other.
            let client = (turn + run) % CLIENTS.len();
            let (per_second, cpu) = CLIENTS[client].run(&server, time)?;
            postings[client].per_second.push(per_second);
            postings[client].cpu.push(cpu);
        }
        eprintln!("clients: run {} of {runs}", run + 1);
    }
    Ok(postings)
}

/// A client's posting among all.
pub(crate) fn of(postings: &[Posting], client: Client) -> &Posting {
    let index = CLIENTS.iter().position(|one| *one == client).expect("one of the clients");
    &postings[index]
}
