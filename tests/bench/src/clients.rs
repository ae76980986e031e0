//! Clients compared: ours, the ones that users have today, and the fastest there is.
//!
//! Each is a process of its own and posts to the same server. They take turns, so that other work of the machine
//! disturbs all of them alike.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::programs::built;

use crate::figures::Series;
use crate::machine::ConnectionsServer;

/// Connections that each client opens. boto3's loop needs only one, and HTTP/2 carries as many requests on one.
pub(crate) const CONNECTIONS: usize = 64;

/// The clients. Those over TLS come last: they are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Signed,
    SignedHttp2,
    RustSdk,
    Node,
    Boto3,
    Wrk,
    TlsSigned,
    TlsSignedHttp1,
    TlsRustSdk,
    TlsWrk,
}

pub(crate) const CLIENTS: [Client; 10] = [
    Client::Signed,
    Client::SignedHttp2,
    Client::RustSdk,
    Client::Node,
    Client::Boto3,
    Client::Wrk,
    Client::TlsSigned,
    Client::TlsSignedHttp1,
    Client::TlsRustSdk,
    Client::TlsWrk,
];

/// The file to which the server writes its certificate, and from which clients read it.
const CERTIFICATE: &str = "target/bench/certificate.pem";

/// The results of one client in all of its runs.
pub(crate) struct Posting {
    pub(crate) per_second: Series,
    /// Microseconds on the CPU for each post.
    pub(crate) cpu: Series,
}

impl Client {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Signed => "Roomcast, signed",
            Self::SignedHttp2 => "Roomcast, signed, `FANOUT_HTTP_VERSION=2`",
            Self::RustSdk => "AWS SDK for Rust, same calls",
            Self::Node => "AWS SDK for JavaScript v3, `Promise.all`",
            Self::Boto3 => "boto3, one after the other",
            Self::Wrk => "`wrk`, unsigned",
            Self::TlsSigned => "Roomcast, signed, TLS (HTTP/2 by ALPN)",
            Self::TlsSignedHttp1 => "Roomcast, signed, TLS, `FANOUT_HTTP_VERSION=1.1`",
            Self::TlsRustSdk => "AWS SDK for Rust, same calls, TLS",
            Self::TlsWrk => "`wrk`, unsigned, TLS",
        }
    }

    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::TlsSigned | Self::TlsSignedHttp1 | Self::TlsRustSdk | Self::TlsWrk)
    }

    fn command(self, url: &str, time: Duration) -> Command {
        let (connections, seconds) = (CONNECTIONS.to_string(), time.as_secs_f64().to_string());
        let whole_seconds = time.as_secs().to_string();
        let bench = |client| {
            let mut command = Command::new(built("bench"));
            command.args(["post", "--client", client, "--url", url, "--connections", &connections]);
            command.args(["--seconds", &seconds]);
            command
        };
        match self {
            Self::Signed | Self::TlsSigned => bench("auto"),
            Self::SignedHttp2 => bench("http2"),
            Self::TlsSignedHttp1 => bench("http1"),
            Self::RustSdk | Self::TlsRustSdk => bench("sdk"),
            Self::Node => {
                let mut command = Command::new("node");
                command.args(["--no-warnings", "tests/bench/node/promise_all.mjs", url, &connections, &seconds]);
                command
            }
            Self::Boto3 => {
                let mut command = Command::new("target/venv/bench/bin/python");
                command.args(["tests/bench/boto3_loop.py", url, &seconds]);
                command
            }
            Self::Wrk | Self::TlsWrk => {
                let mut command = Command::new("tests/bench/wrk_post");
                command.args([url, &connections, &whole_seconds]);
                command
            }
        }
    }

    /// Runs the client once; returns posts a second, and microseconds on the CPU for each post.
    pub(crate) fn run(self, server: &ConnectionsServer, time: Duration) -> Result<(f64, f64), String> {
        server.reset();
        let url = if self.is_tls() { server.tls_url() } else { server.url().to_owned() };
        let mut command = self.command(&url, time);
        command.env("SSL_CERT_FILE", CERTIFICATE);
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

/// Runs all clients `runs` times; returns their results in the order of [`CLIENTS`].
pub(crate) fn measure(runs: usize, time: Duration) -> Result<Vec<Posting>, String> {
    fs::create_dir_all("target/bench").map_err(|error| format!("target/bench: {error}"))?;
    let server = ConnectionsServer::start_with_tls(Path::new(CERTIFICATE));
    let mut postings: Vec<_> =
        CLIENTS.iter().map(|_| Posting { per_second: Series::default(), cpu: Series::default() }).collect();
    for run in 0..runs {
        for turn in 0..CLIENTS.len() {
            // The order changes, so that no client always comes after the same other one.
            let client = (turn + run) % CLIENTS.len();
            let (per_second, cpu) = CLIENTS[client].run(&server, time)?;
            postings[client].per_second.push(per_second);
            postings[client].cpu.push(cpu);
        }
        eprintln!("clients: run {} of {runs}", run + 1);
    }
    Ok(postings)
}

/// The results of one client.
pub(crate) fn of(postings: &[Posting], client: Client) -> &Posting {
    let index = CLIENTS.iter().position(|one| *one == client).expect("one of the clients");
    &postings[index]
}
