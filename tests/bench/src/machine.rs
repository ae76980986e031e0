//! The services that the measured function calls: the `@connections` endpoint in a process of its own, and the rest of
//! AWS in this one.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::aws_server::{AwsServer, QueuedMessage};
use testkit::dynamodb::{CONGESTION_TABLE, CONNECTIONS_TABLE, ConnectionRow, DynamoDb, MESSAGES_TABLE, ROOM_INDEX};
use testkit::events::QueueRecord;
use testkit::fast_server::Stats;
use testkit::programs::built;
use testkit::runtime_api::Function;
use testkit::secrets_manager::SecretsManager;

/// The name of the shard queue.
const SHARD_QUEUE: &str = "shards.fifo";

/// The posts that an account refuses, and the time of a post.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    /// Tokens a second and burst.
    pub(crate) bucket: Option<(f64, f64)>,
    /// The time after the first post in which it has no token; after that it has none saved up.
    pub(crate) empty_for: Duration,
    /// The share of posts that is refused at any rate.
    pub(crate) refused_at_random: f64,
    /// The time of a post, refused or not.
    pub(crate) latency: Duration,
}

impl Account {
    /// An account that refuses nothing and answers at once.
    pub(crate) const NONE: Self =
        Self { bucket: None, empty_for: Duration::ZERO, refused_at_random: 0.0, latency: Duration::ZERO };

    fn arguments(self) -> impl Iterator<Item = String> {
        let bucket = self.bucket.map(|(rate, burst)| [("--rate", rate), ("--burst", burst)]);
        let empty_ms = self.empty_for.as_secs_f64() * 1_000.0;
        let latency_ms = self.latency.as_secs_f64() * 1_000.0;
        let others = [("--empty-ms", empty_ms), ("--refused", self.refused_at_random), ("--latency-ms", latency_ms)];
        bucket.into_iter().flatten().chain(others).flat_map(|(name, value)| [name.to_owned(), value.to_string()])
    }
}

/// The running `connections-server`; dropping it ends it.
pub(crate) struct ConnectionsServer {
    child: Child,
    url: String,
}

impl ConnectionsServer {
    pub(crate) fn start(latency: Duration, bucket: Option<(f64, f64)>) -> Self {
        Self::of_account(&Account { bucket, latency, ..Account::NONE })
    }

    /// Starts a server that answers as an account does; the time of the account begins with the first post.
    pub(crate) fn of_account(account: &Account) -> Self {
        Self::start_with(account.arguments())
    }

    /// Starts a server that counts the posts to connections with a prefix apart from the others.
    pub(crate) fn watching(latency: Duration, prefix: &str) -> Self {
        let account = Account { latency, ..Account::NONE };
        Self::start_with(account.arguments().chain(["--watched".to_owned(), prefix.to_owned()]))
    }

    /// Starts a server that speaks TLS as well, and writes its certificate to a file.
    pub(crate) fn start_with_tls(certificate: &Path) -> Self {
        Self::start_with([Path::new("--certificate"), certificate])
    }

    fn start_with(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = Command::new(built("connections-server"));
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).spawn().expect("connections-server, built along with this");
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).expect("the server's address");
        Self { child, url: url.trim_end().to_owned() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The server's URL over TLS, by the name in its certificate.
    pub(crate) fn tls_url(&self) -> String {
        self.url.replace("http://127.0.0.1", "https://localhost")
    }

    pub(crate) fn stats(&self) -> Stats {
        serde_json::from_str(&self.request("GET /stats")).expect("the server's counts")
    }

    pub(crate) fn reset(&self) {
        self.request("POST /stats/reset");
    }

    fn request(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://")).expect("the server runs");
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }
}

impl Drop for ConnectionsServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The tables and queues, in this process.
pub(crate) struct Backing {
    pub(crate) dynamodb: DynamoDb,
    pub(crate) aws: AwsServer,
    pub(crate) secrets: SecretsManager,
}

impl Backing {
    pub(crate) fn start() -> Self {
        let secrets = SecretsManager::start("0123456789abcdef0123456789abcdef");
        Self { dynamodb: DynamoDb::start(), aws: AwsServer::start(), secrets }
    }

    /// Fills a room. The ids look like API Gateway's, with a character that has to be escaped in a URL, and begin with
    /// [`prefix`].
    pub(crate) fn seed_room(&self, room: &str, number: usize, connections: usize) {
        let prefix = prefix(number);
        let rows = (0..connections).map(|index| ConnectionRow::new(&format!("{prefix}{index:07}oAMFcg="), room));
        self.dynamodb.seed(rows);
    }

    /// The `fanout` function, posting to a server. It is not sharded, so that one environment makes all posts of a
    /// room.
    pub(crate) fn fanout(&self, server: &ConnectionsServer, concurrency: usize) -> Function {
        Function::of_workspace("fanout")
            .env("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.url())
            .env("AWS_ENDPOINT_URL_SQS", self.aws.url())
            .env("CONNECTIONS_TABLE", CONNECTIONS_TABLE)
            .env("ROOM_INDEX", ROOM_INDEX)
            .env("MESSAGES_TABLE", MESSAGES_TABLE)
            .env("CONGESTION_TABLE", CONGESTION_TABLE)
            .env("QUEUE_URL", self.aws.queue_url("broadcasts.fifo"))
            .env("SHARD_QUEUE_URL", self.aws.queue_url(SHARD_QUEUE))
            .env("DLQ_URL", self.aws.queue_url("dead-letters.fifo"))
            .env("CONNECTIONS_ENDPOINT", server.url())
            .env("FANOUT_CONCURRENCY", concurrency)
            .env("FANOUT_SHARD_SIZE", 0)
            .timeout(Duration::from_secs(120))
    }

    /// The `shards` function: the same program behind the shard queue.
    pub(crate) fn shards(&self, server: &ConnectionsServer, concurrency: usize) -> Function {
        self.fanout(server, concurrency).env("QUEUE_URL", self.aws.queue_url(SHARD_QUEUE))
    }

    /// The `ephemeral` function, posting to a server.
    pub(crate) fn ephemeral(&self, server: &ConnectionsServer) -> Function {
        Function::of_workspace("ephemeral")
            .env("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.url())
            .env("CONNECTIONS_TABLE", CONNECTIONS_TABLE)
            .env("ROOM_INDEX", ROOM_INDEX)
            .env("CONNECTIONS_ENDPOINT", server.url())
            .timeout(Duration::from_secs(120))
    }

    /// The jobs that the shard queue has taken, from a position on, as the queue hands them to `shards`.
    pub(crate) fn shard_jobs_from(&self, position: usize) -> Vec<QueueRecord> {
        let jobs = self.aws.messages(SHARD_QUEUE);
        let record = |job: &QueuedMessage| {
            QueueRecord::new(&job.message_id, job.group_id.as_deref().unwrap_or_default(), &job.body)
        };
        jobs.get(position..).unwrap_or_default().iter().map(record).collect()
    }
}

/// The prefix of the ids of a room's connections, by the number that the room was filled with.
pub(crate) fn prefix(number: usize) -> String {
    format!("{number:02}L")
}
