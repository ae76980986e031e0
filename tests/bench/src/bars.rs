//! The bars: what must be reached, each as a ratio within one run.

use crate::all::Measured;
use crate::broadcasts::LARGEST;
use crate::clients::{self, Client, Posting};
use crate::figures::Series;

/// A figure and its bar.
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
    let cpu = |client| &of_client(measured, client).cpu;
    let per_second = |client| &of_client(measured, client).per_second;
    let ours = cpu(Client::Signed);
    let rooms = &measured.broadcasts.rooms;
    let room = |connections| rooms.iter().find(|room| room.connections == connections).expect("a room of this size");
    let peak = |connections| &room(connections).peak_mib;
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
            "room_100k_vs_wrk",
            "time of a broadcast to 100,000, against `wrk`'s for as many posts",
            room(LARGEST).milliseconds.over(&measured.broadcasts.wrk_milliseconds),
            Limit::AtMost(2.2),
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
        bar("rss_mib", "peak memory, room of 100,000 (MiB)", peak(100_000).clone(), Limit::AtMost(32.0)),
        bar(
            "packed_posts_ratio",
            "posts for each connection, ten queued messages against one",
            packing.ten.over(&packing.one),
            Limit::Exactly(1.0),
        ),
        bar("zip_mb_max", "largest bootstrap, zipped (MB)", largest_zip, Limit::Below(6.0)),
    ];
    bars.extend(of_scarcity(measured));
    bars
}

/// The bars for an account whose rate runs short.
fn of_scarcity(measured: &Measured) -> Vec<Bar> {
    let Measured { throttled, simulated, rooms, ephemerals, .. } = measured;
    let mut bars = vec![bar(
        "empty_account_vs_ideal",
        "time when the account is empty for 60 ms, against the ideal, the worst of 64, 128 and 512 workers",
        throttled.worst_after_empty(),
        Limit::AtMost(1.5),
    )];
    let random = [("random_429_s", "1,000", 0.5), ("random_429_10k_s", "10,000", 3.0)];
    bars.extend(throttled.random.iter().zip(random).map(|(refused, (key, connections, most))| {
        let what = format!("a tenth answered 429 at random, {connections} connections (s)");
        bar(key, &what, refused.seconds.clone(), Limit::AtMost(most))
    }));
    for rate in &measured.rates {
        let environments = rate.environments;
        let with = if environments == 1 { "1 environment".to_owned() } else { format!("{environments} environments") };
        let goodput = format!("goodput, as a share of the account's bucket, {with}");
        bars.push(bar(&format!("goodput_{environments}"), &goodput, rate.goodput.clone(), Limit::AtLeast(0.95)));
        let most_waste = if environments == 32 { 0.04 } else { 0.03 };
        let waste = format!("share of posts answered 429, {with}");
        bars.push(bar(&format!("waste_{environments}"), &waste, rate.waste.clone(), Limit::AtMost(most_waste)));
    }
    let simulation = "100 simulated environments on 2,500/s";
    bars.extend([
        bar("goodput_100_sim", &format!("goodput, {simulation}"), simulated.goodput.clone(), Limit::AtLeast(0.90)),
        bar(
            "waste_100_sim",
            &format!("share of posts answered 429, {simulation}"),
            simulated.waste.clone(),
            Limit::AtMost(0.12),
        ),
        bar(
            "undelivered",
            &format!("connections that missed a message, {simulation}"),
            simulated.undelivered.clone(),
            Limit::Exactly(0.0),
        ),
        bar(
            "broadcast_beside_ephemerals_sim",
            "time of broadcasts of a full account, simulated, with ephemeral messages beside against without",
            simulated.beside_ephemerals.clone(),
            Limit::AtMost(1.05),
        ),
        bar(
            "broadcast_beside_ephemerals",
            "the same of the real functions on 2,500/s",
            ephemerals.with.over(&ephemerals.without),
            Limit::AtMost(1.05),
        ),
        bar(
            "messages_beside_presence_sim",
            "time of other rooms' messages, simulated, with presence of 10,000 members of whom 100 come and go a second against without",
            simulated.beside_presence.clone(),
            Limit::AtMost(1.10),
        ),
        bar(
            "posts_repeated",
            "posts delivered for each connection, by a broadcast that needs five invocations",
            throttled.interrupted.delivered.all_or_nothing(),
            Limit::AtMost(1.02),
        ),
        bar(
            "small_beside_big",
            "time until a room of 10 has its message, behind one of 100,000, against alone",
            rooms.beside.over(&rooms.alone),
            Limit::AtMost(2.0),
        ),
        bar(
            "state_vs_none",
            "time of a broadcast of keys to 1,000, with state against without",
            measured.state.with.over(&measured.state.without),
            Limit::AtMost(1.1),
        ),
        bar(
            "hot_room_posts",
            "posts for each connection, 1,000 messages that wait for a room of 1,000",
            rooms.hot_posts.clone(),
            Limit::AtMost(20.0),
        ),
    ]);
    bars
}

fn bar(key: &str, what: &str, measured: Series, limit: Limit) -> Bar {
    Bar { key: key.to_owned(), what: what.to_owned(), measured, limit }
}

fn of_client(measured: &Measured, client: Client) -> &Posting {
    clients::of(&measured.clients, client)
}
