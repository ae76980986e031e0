//! Posting as the function does, with one of its posters: workers in one task, on a runtime of one thread.
//!
//! A process of its own, so that its time on the CPU is that of the posts alone.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanout::config::HttpVersion;
use fanout::encode::Frame;
use fanout::outcome::Outcome;
use fanout::poster::direct::DirectPoster;
use fanout::poster::sdk::SdkPoster;
use fanout::poster::{Lane, Poster};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;
use shared::{ConnectionId, aws};
use tests::runtime_api::Usage;

use crate::arguments::Arguments;

/// Connections of the room that is posted to, over and over.
const ROOM: usize = 1_000;

/// Posts made before measuring: connections are opened, credentials fetched.
const WARM_UP: Duration = Duration::from_millis(300);

/// Time for an attempt; the default of the function.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) async fn run(arguments: &Arguments) -> Result<(), String> {
    let url = arguments.text("url")?;
    let lanes = arguments.number("connections", 64)?;
    let time = Duration::from_secs_f64(arguments.number("seconds", 2.0)?);
    let sdk = aws::sdk_config().await;
    let direct =
        |version| DirectPoster::new(&sdk, "us-east-1", url, TIMEOUT, version).map_err(|error| error.to_string());
    match arguments.text("poster")? {
        "http1" => measure(&direct(HttpVersion::Http1)?, lanes, time).await,
        "http2" => measure(&direct(HttpVersion::Http2)?, lanes, time).await,
        "sdk" => measure(&SdkPoster::new(&sdk, url, TIMEOUT), lanes, time).await,
        other => return Err(format!("--poster {other}: http1, http2 or sdk")),
    }
    Ok(())
}

async fn measure(poster: &impl Poster, lanes: usize, time: Duration) {
    post_for(poster, lanes, WARM_UP).await;
    let before = usage();
    let started = Instant::now();
    let posts = post_for(poster, lanes, time).await;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = usage().since(&before).cpu();
    println!("{}", json!({ "posts": posts, "seconds": seconds, "cpuSeconds": cpu.as_secs_f64() }));
}

fn usage() -> Usage {
    Usage::of_process(std::process::id()).expect("this process")
}

async fn post_for(poster: &impl Poster, lanes: usize, time: Duration) -> usize {
    let frame = Frame::new(Bytes::from("x".repeat(200)));
    let ids: Vec<_> = (0..ROOM).map(|index| ConnectionId::new(&format!("00L{index:07}oAMFcg="))).collect();
    let (started, posts) = (Instant::now(), Cell::new(0));
    let workers: FuturesUnordered<_> = (0..lanes)
        .map(async |_| {
            let mut lane = poster.lane();
            while started.elapsed() < time {
                let post = posts.replace(posts.get() + 1);
                let outcome = lane.post(&ids[post % ROOM], &frame).await;
                assert_eq!(outcome, Outcome::Delivered);
            }
            poster.put_back(lane);
        })
        .collect();
    workers.collect::<()>().await;
    posts.get()
}
