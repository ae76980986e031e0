//! Posting as the function does, with one of its clients: calls side by side in one task, on a runtime of one thread.
//!
//! It is a process of its own, so that its time on the CPU is that of the posts alone.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanout::config::HttpVersion;
use fanout::connections_api::{ConnectionsApi, Outcome, SdkConnectionsApi, SignedConnectionsApi};
use fanout::frame::EncodedFrame;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;
use shared::{ConnectionId, aws};
use testkit::runtime_api::Usage;

use crate::arguments::Arguments;

/// Connections of the room that is posted to, over and over.
const ROOM: usize = 1_000;

/// Posts made before measuring: connections are opened, credentials fetched.
const WARM_UP: Duration = Duration::from_millis(300);

/// Time for an attempt; the default of the function.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) async fn run(arguments: &Arguments) -> Result<(), String> {
    let url = arguments.text("url")?;
    let in_flight = arguments.number("connections", 64)?;
    let time = Duration::from_secs_f64(arguments.number("seconds", 2.0)?);
    let sdk = aws::sdk_config().await;
    let version = match arguments.text("client")? {
        "sdk" => {
            measure(&SdkConnectionsApi::new(&sdk, url, TIMEOUT), in_flight, time).await;
            return Ok(());
        }
        "auto" => HttpVersion::Auto,
        "http1" => HttpVersion::Http1,
        "http2" => HttpVersion::Http2,
        other => return Err(format!("--client {other}: auto, http1, http2 or sdk")),
    };
    let api = SignedConnectionsApi::new(&sdk, "us-east-1", url, TIMEOUT, version).map_err(|error| error.to_string())?;
    measure(&api, in_flight, time).await;
    Ok(())
}

async fn measure(api: &impl ConnectionsApi, in_flight: usize, time: Duration) {
    post_for(api, in_flight, WARM_UP).await;
    let before = usage();
    let started = Instant::now();
    let posts = post_for(api, in_flight, time).await;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = usage().since(&before).cpu();
    println!("{}", json!({ "posts": posts, "seconds": seconds, "cpuSeconds": cpu.as_secs_f64() }));
}

fn usage() -> Usage {
    Usage::of_process(std::process::id()).expect("this process")
}

async fn post_for(api: &impl ConnectionsApi, in_flight: usize, time: Duration) -> usize {
    let frame = EncodedFrame::new(Bytes::from("x".repeat(200)));
    let ids: Vec<_> = (0..ROOM).map(|index| ConnectionId::new(&format!("00L{index:07}oAMFcg="))).collect();
    let (started, posts) = (Instant::now(), Cell::new(0));
    let calls: FuturesUnordered<_> = (0..in_flight)
        .map(async |_| {
            while started.elapsed() < time {
                let post = posts.replace(posts.get() + 1);
                let outcome = api.post(&ids[post % ROOM], &frame).await;
                assert_eq!(outcome, Outcome::Delivered);
            }
        })
        .collect();
    calls.collect::<()>().await;
    posts.get()
}
