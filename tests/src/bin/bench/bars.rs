//! What must be reached, each as a ratio within one run.

use crate::all::Measured;
use crate::clients::{self, Client, Posting};
use crate::figures::Series;

/// A figure and what it may be.
pub(crate) struct Bar {
    pub(crate) key: String,
    pub(crate) what: String,
    pub(crate) measured: Series,
    pub(crate) limit: Limit,
}

#[derive(Clone, Copy)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
    Below(f64),
    Exactly(f64),
}

impl Bar {
    pub(crate) fn is_reached(&self) -> bool {
        let median = self.measured.median();
        match self.limit {
            Limit::AtMost(most) => median <= most,
            Limit::AtLeast(least) => median >= least,
            Limit::Below(bound) => median < bound,
            Limit::Exactly(value) => (median - value).abs() < 1e-9,
        }
    }
}

pub(crate) fn of(measured: &Measured) -> Vec<Bar> {
    let bar = |key: &str, what: &str, measured: Series, limit| Bar {
        key: key.to_owned(),
        what: what.to_owned(),
        measured,
        limit,
    };
    let cpu = |client| &of_client(measured, client).cpu;
    let per_second = |client| &of_client(measured, client).per_second;
    let ours = cpu(Client::Signed);
    let rooms = &measured.broadcasts.rooms;
    let peak = |connections| {
        let room = rooms.iter().find(|room| room.connections == connections).expect("a room of this size");
        &room.peak_mib
    };
    let zips: Series = measured.starts.iter().map(|start| start.zip_mb).collect();
    let largest_zip = Series::from_iter([zips.max()]);
    let packing = &measured.broadcasts.packing;
    let mut bars = vec![
        bar(
            "cpu_vs_rust_sdk",
            "CPU for each post, against the AWS SDK for Rust",
            ours.over(cpu(Client::RustSdk)),
            Limit::AtMost(0.20),
        ),
        bar(
            "cpu_vs_node",
            "CPU for each post, against the AWS SDK for JavaScript v3",
            ours.over(cpu(Client::Node)),
            Limit::AtMost(1.0 / 30.0),
        ),
        bar(
            "cpu_vs_boto3",
            "CPU for each post, against boto3",
            ours.over(cpu(Client::Boto3)),
            Limit::AtMost(1.0 / 55.0),
        ),
        bar(
            "cpu_vs_wrk",
            "CPU for each post, signed, over HTTP/2, against `wrk` unsigned",
            cpu(Client::SignedHttp2).over(cpu(Client::Wrk)),
            Limit::AtMost(1.1),
        ),
        bar(
            "posts_vs_wrk",
            "posts a second, signed, against `wrk` unsigned",
            per_second(Client::Signed).over(per_second(Client::Wrk)),
            Limit::AtLeast(0.6),
        ),
        bar(
            "time_vs_ideal",
            "time at 10 ms latency, 128 at a time, 10,000 connections, against the ideal",
            measured.broadcasts.latency.cold.clone(),
            Limit::AtMost(1.1),
        ),
        bar(
            "rss_ratio",
            "peak memory, room of 100,000 against room of 1,000",
            peak(100_000).over(peak(1_000)),
            Limit::AtMost(1.15),
        ),
        bar("rss_mib", "peak memory, room of 100,000 (MiB)", peak(100_000).clone(), Limit::Below(64.0)),
        bar(
            "packed_posts_ratio",
            "posts for each connection, ten queued messages against one",
            packing.ten.over(&packing.one),
            Limit::Exactly(1.0),
        ),
        bar("zip_mb_max", "largest bootstrap, zipped (MB)", largest_zip, Limit::Below(6.0)),
    ];
    for rate in &measured.rates {
        let environments = rate.environments;
        let with = if environments == 1 { "1 environment".to_owned() } else { format!("{environments} environments") };
        bars.push(bar(
            &format!("goodput_{environments}"),
            &format!("goodput, as a share of the account's bucket, {with}"),
            rate.goodput.clone(),
            Limit::AtLeast(0.95),
        ));
        bars.push(bar(
            &format!("waste_{environments}"),
            &format!("share of posts answered 429, {with}"),
            rate.waste.clone(),
            Limit::Below(0.02),
        ));
    }
    bars
}

fn of_client(measured: &Measured, client: Client) -> &Posting {
    clients::of(&measured.clients, client)
}
