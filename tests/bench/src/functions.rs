//! The functions themselves: the cost of a message at the way in, the time of a cold start, and their size.

use std::process::Command;

use serde_json::json;
use testkit::dynamodb::{CONGESTION_TABLE, CONNECTIONS_TABLE, MESSAGES_TABLE};
use testkit::events::frame;
use testkit::programs::built;
use testkit::runtime_api::Function;
use testkit::secrets_manager::SECRET_ARN;

use crate::figures::Series;
use crate::machine::{Backing, ConnectionsServer};

/// All functions.
pub(crate) const FUNCTIONS: [&str; 6] = ["authorizer", "session", "message", "relay", "fanout", "ephemeral"];

/// Messages sent in one run.
const MESSAGES: usize = 1_000;

/// The figures of the way in, for each message.
#[derive(Default)]
pub(crate) struct Ingest {
    pub(crate) cpu_micros: Series,
    pub(crate) wall_micros: Series,
}

/// The figures of a function's start.
pub(crate) struct ColdStart {
    pub(crate) name: &'static str,
    pub(crate) init_milliseconds: Series,
    pub(crate) peak_mib: Series,
    pub(crate) zip_mb: f64,
}

/// Sends messages through the `message` function to the queue.
pub(crate) async fn measure_ingest(backing: &Backing, runs: usize) -> Ingest {
    let mut ingest = Ingest::default();
    for _ in 0..runs {
        let environment = message(backing).start().await.expect("message");
        let event = || {
            let id = format!("{:x}", fastrand::u64(..));
            let text = json!({ "action": "sendMessage", "roomId": "room", "id": id, "data": "x".repeat(100) });
            frame("connection=", "alice", &text.to_string())
        };
        // The first one opens the connection to the queue.
        environment.invoke(&event()).await.response();
        let before = environment.usage();
        let mut wall = 0.0;
        for _ in 0..MESSAGES {
            let invocation = environment.invoke(&event()).await;
            assert_eq!(invocation.response()["statusCode"], 200, "{:?}", invocation.response());
            wall += invocation.wall.as_secs_f64();
        }
        let cpu = environment.usage().since(&before).cpu().as_secs_f64();
        ingest.cpu_micros.push(cpu * 1e6 / MESSAGES as f64);
        ingest.wall_micros.push(wall * 1e6 / MESSAGES as f64);
    }
    ingest
}

/// Starts each function `runs` times, and zips it as it would be deployed.
pub(crate) async fn measure_starts(
    backing: &Backing,
    server: &ConnectionsServer,
    runs: usize,
) -> Result<Vec<ColdStart>, String> {
    let mut starts = Vec::new();
    for name in FUNCTIONS {
        let function = configured(name, backing, server);
        let (mut init_milliseconds, mut peak_mib) = (Series::default(), Series::default());
        for _ in 0..runs {
            let environment = function.start().await.map_err(|error| format!("{name}: {error}"))?;
            init_milliseconds.push(environment.init_time().as_secs_f64() * 1_000.0);
            peak_mib.push(environment.usage().peak_memory_kib as f64 / 1_024.0);
        }
        starts.push(ColdStart { name, init_milliseconds, peak_mib, zip_mb: zip_mb(name)? });
    }
    Ok(starts)
}

fn message(backing: &Backing) -> Function {
    Function::of_workspace("message")
        .env("AWS_ENDPOINT_URL", backing.aws.url())
        .env("INGEST_SINK", "sqs")
        .env("QUEUE_URL", backing.aws.queue_url("broadcasts.fifo"))
        .env("AWS_ENDPOINT_URL_DYNAMODB", backing.dynamodb.url())
        .env("CONGESTION_TABLE", CONGESTION_TABLE)
        // A single subject sends as fast as the function works.
        .env("SUBJECT_MESSAGES_PER_SECOND", 0)
        .env("ROOM_MESSAGES_PER_SECOND", 0)
        .env("SUBJECT_BYTES_PER_SECOND", 0)
        .env("ROOM_BYTES_PER_SECOND", 0)
        .env("CONNECTIONS_ENDPOINT", "http://127.0.0.1:9/production")
}

fn configured(name: &str, backing: &Backing, server: &ConnectionsServer) -> Function {
    match name {
        "fanout" => backing.fanout(server, 64),
        "message" => message(backing),
        "ephemeral" => backing.ephemeral(server),
        "authorizer" => Function::of_workspace(name)
            .env("AWS_ENDPOINT_URL", backing.secrets.url())
            .env("AUTH_SECRET_ARN", SECRET_ARN),
        _ => Function::of_workspace(name)
            .env("AWS_ENDPOINT_URL", backing.dynamodb.url())
            .env("CONNECTIONS_TABLE", CONNECTIONS_TABLE)
            .env("CONNECTIONS_ENDPOINT", "http://127.0.0.1:9/production")
            .env("MESSAGES_TABLE", MESSAGES_TABLE)
            .env("QUEUE_URL", backing.aws.queue_url("broadcasts.fifo"))
            .env("DLQ_URL", backing.aws.queue_url("dead-letters.fifo")),
    }
}

/// Megabytes (10^6 bytes) of a function's deployment package, compressed as well as zip can.
fn zip_mb(name: &str) -> Result<f64, String> {
    let output = Command::new("python3").arg("tests/bench/zip_size.py").arg(built(name)).output();
    let output = output.map_err(|error| format!("python3: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let bytes: f64 = said.trim().parse().map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(bytes / 1e6)
}
