//! The report of an estimate, as text and as JSON.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::{Value, json};

use super::{
    Estimate,
    bill::Bill,
    flow::Flow,
    packing::Packing,
    peers::{self, Peer},
    prices::Prices,
    usage::{Count, Part},
    workload::Workload,
};

/// A workload, and all that is reported of it.
#[derive(Debug)]
pub struct Report<'a> {
    workload: &'a Workload,
    prices: &'a Prices,
    estimate: Estimate,
    bill: Bill,
    packing: Packing,
    peers: Vec<Peer>,
}

impl<'a> Report<'a> {
    /// The report of a workload, at these prices.
    #[must_use]
    pub fn of(workload: &'a Workload, prices: &'a Prices) -> Self {
        let estimate = Estimate::of(workload);
        let bill = Bill::of(&estimate.usage, prices);
        let (packing, peers) = (Packing::of(workload, prices), peers::of(workload, prices));
        Self { workload, prices, estimate, bill, packing, peers }
    }

    /// The report for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let demand = &self.estimate.demand;
        let groups = self.workload.rooms.iter().zip(&demand.flows).map(|(group, flow)| {
            json!({
                "name": group.name, "messagesPerPost": flow.messages_per_post(), "shards": flow.shards,
                "broadcastSeconds": flow.posting,
            })
        });
        json!({
            "workload": self.workload.name,
            "prices": { "region": self.prices.region, "date": self.prices.date },
            "unconfirmed": self.prices.unconfirmed().collect::<Vec<_>>(),
            "rooms": groups.collect::<Vec<_>>(),
            "postsPerSecond": demand.posts,
            "unpackedPostsPerSecond": demand.unpacked,
            "otherPostsPerSecond": demand.besides,
            "requestsPerSecond": demand.requests(),
            "shareOfQuota": demand.requests() / self.workload.quota,
            "fits": self.fits(),
            "counts": self.estimate.usage.totals(),
            "countsByPart": self.estimate.usage.by_part(),
            "usd": self.bill.total(),
            "usdByPart": self.bill.by_part(),
            "usdByService": self.bill.by_service(),
            "packing": self.packing,
            "peers": self.peers,
        })
    }

    /// Whether the account has the requests, with everything packed that can be.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.estimate.demand.requests() <= self.workload.quota * 1.001
    }

    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{}: {} USD a month ({} days; {} list prices of {})",
            self.workload.name,
            short(self.bill.total()),
            self.workload.days,
            self.prices.region,
            self.prices.date
        );
        text.push('\n');
        self.rates(&mut text);
        self.bill(&mut text);
        self.counts(&mut text);
        self.packing(&mut text);
        self.peers(&mut text);
        let unconfirmed: Vec<_> = self.prices.unconfirmed().collect();
        let _ = writeln!(
            text,
            "\nA model, not a bill. Free tiers and taxes are left out. Unconfirmed prices: {}.",
            unconfirmed.join(", ")
        );
        text
    }

    fn rates(&self, text: &mut String) {
        let demand = &self.estimate.demand;
        let rows = self.workload.rooms.iter().zip(&demand.flows).map(|(group, flow): (_, &Flow)| {
            vec![
                group.name.clone(),
                short(group.count),
                short(group.members),
                short(group.messages_per_second),
                short(flow.messages_per_post()),
                if flow.shards > 0.0 { short(flow.shards) } else { "-".to_owned() },
                short(flow.posting),
            ]
        });
        let head = ["rooms", "count", "members", "messages/s", "messages a post", "shards", "posting (s)"];
        text.push_str(&table(&head, rows));
        let _ = writeln!(
            text,
            "\nWhen all are busy: {} posts/s ({} if nothing were packed) and {} frames/s, {}% of {} requests/s.",
            short(demand.posts),
            short(demand.unpacked),
            short(demand.frames),
            short(100.0 * demand.requests() / self.workload.quota),
            short(self.workload.quota)
        );
        if demand.besides > 0.0 {
            let _ = writeln!(text, "Of presence and of ephemeral messages {} posts/s besides.", short(demand.besides));
        }
        if !self.fits() {
            let _ = writeln!(
                text,
                "That is more than the account has: senders would be told `rate_limited`. Ask for a higher quota, or send less."
            );
        } else if demand.stretch > 1.0 {
            let _ = writeln!(
                text,
                "The account's rate is the limit: messages gather, and broadcasts take {} times as long.",
                short(demand.stretch)
            );
        }
    }

    fn bill(&self, text: &mut String) {
        let (parts, total) = (self.bill.by_part(), self.bill.total());
        let services = self.bill.by_service();
        let mut head = vec!["USD a month"];
        head.extend(services.keys().map(|service| service.name()));
        head.extend(["all", "share"]);
        let mut rows = Vec::new();
        for (part, dollars) in &parts {
            let mut row = vec![name_of(*part).to_owned()];
            row.extend(services.keys().map(|service| {
                self.bill.0.get(&(*part, *service)).map_or_else(|| "-".to_owned(), |dollars| short(*dollars))
            }));
            row.extend([short(*dollars), format!("{}%", short(100.0 * dollars / total))]);
            rows.push(row);
        }
        let mut last = vec!["all".to_owned()];
        last.extend(services.values().map(|dollars| short(*dollars)));
        last.extend([short(total), "100%".to_owned()]);
        rows.push(last);
        let _ = write!(text, "\n{}", table(&head, rows));
    }

    fn counts(&self, text: &mut String) {
        let usage = &self.estimate.usage;
        let count = |counts: &[Count]| counts.iter().map(|count| usage.total(*count)).sum::<f64>();
        let _ = writeln!(
            text,
            "\nA month: {} posts, {} frames in, {} replies; {} invocations, {} GB-s; {} write units, {} read units;\n\
             {} SQS requests, {} events; {} connection minutes; {} GB to clients, {} GB of logs.",
            short(count(&[Count::Posts])),
            short(count(&[Count::FramesIn])),
            short(count(&[Count::Replies])),
            short(usage.invocations()),
            short(count(&[Count::GbSeconds])),
            short(count(&[Count::WriteUnits])),
            short(count(&[Count::ReadUnits])),
            short(count(&[Count::FifoRequests, Count::StandardRequests])),
            short(count(&[Count::Events])),
            short(count(&[Count::ConnectionMinutes])),
            short(count(&[Count::EgressBytes]) / 1e9),
            short(count(&[Count::LogBytes]) / 1e9)
        );
    }

    fn packing(&self, text: &mut String) {
        let Packing { unpacked_usd, as_it_is_usd, tolerated_usd } = self.packing;
        let _ = writeln!(
            text,
            "\nPacking: {} USD if each message were a post of its own, {} as messages gather by themselves.",
            short(unpacked_usd),
            short(as_it_is_usd)
        );
        if tolerated_usd < as_it_is_usd * 0.99 {
            let _ = writeln!(
                text,
                "If producers held messages for as long as `toleratedDelaySeconds` says, and sent them as one: {}.",
                short(tolerated_usd)
            );
        }
    }

    fn peers(&self, text: &mut String) {
        let ours = self.bill.total();
        let row = |peer: &Peer| {
            vec![peer.name.to_owned(), short(peer.usd), format!("{}x", short(peer.usd / ours)), peer.why.to_owned()]
        };
        let mut rows: Vec<_> = self.peers.iter().map(|peer| (peer.usd, row(peer))).collect();
        let here = vec!["Roomcast".to_owned(), short(ours), "1x".to_owned(), "order, history, gap repair".to_owned()];
        rows.push((ours, here));
        rows.sort_by(|one, other| one.0.total_cmp(&other.0));
        let _ = write!(
            text,
            "\n{}",
            table(&["the same deliveries", "USD a month", "of ours", "mind"], rows.into_iter().map(|(_, row)| row))
        );
        let cheaper: Vec<_> = self.peers.iter().filter(|peer| peer.usd < ours).map(|peer| peer.name).collect();
        if !cheaper.is_empty() {
            let _ = writeln!(text, "\nCheaper than Roomcast for this workload: {}.", cheaper.join("; "));
        }
    }
}

fn name_of(part: Part) -> &'static str {
    match part {
        Part::Ingest => "messages in",
        Part::Looks => "looks at congestion",
        Part::Log => "log",
        Part::Posts => "posts",
        Part::Shards => "shard queue",
        Part::Beats => "beats",
        Part::Handshakes => "handshakes, joins",
        Part::Connections => "open connections",
        Part::State => "state",
        Part::Presence => "presence",
        Part::Ephemeral => "ephemeral messages",
        Part::Lifecycle => "lifecycle events",
        Part::Sweeps => "sweeps",
        Part::Fixed => "an empty stack",
    }
}

/// A table in Markdown with aligned columns.
pub fn table<H: AsRef<str>>(head: &[H], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut lines = vec![head.iter().map(|cell| cell.as_ref().to_owned()).collect::<Vec<_>>()];
    lines.extend(rows);
    let mut widths = BTreeMap::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width: &mut usize = widths.entry(column).or_default();
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells = line.iter().enumerate().map(|(column, cell)| format!("{cell:width$}", width = widths[&column]));
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if index == 0 {
            let rules = widths.values().map(|width| "-".repeat(*width));
            let _ = writeln!(text, "| {} |", rules.collect::<Vec<_>>().join(" | "));
        }
    }
    text
}

/// A number with three significant digits or more, and commas in large ones.
#[must_use]
pub fn short(number: f64) -> String {
    let decimals = match number.abs() {
        size if size == 0.0 || size >= 100.0 || number.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{number:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (index, digit) in whole.char_indices() {
        if (whole.len() - index) % 3 == 0 && index > 0 && whole.as_bytes()[index - 1] != b'-' {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or_else(|| grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::workload::read;

    #[test]
    fn the_report_says_where_others_are_cheaper() {
        let prices = Prices::read(None).unwrap();
        let chat = read(r#"{"rooms": [{"count": 100000, "members": 1, "messagesPerSecond": 0.0017}]}"#).unwrap();
        let report = Report::of(&chat, &prices);
        let text = report.text();
        assert!(
            text.contains("Cheaper than Roomcast for this workload: ") && text.contains("AppSync Events"),
            "{text}"
        );
        assert_eq!(report.json()["fits"], true);
    }

    #[test]
    fn what_does_not_fit_is_said_to() {
        let prices = Prices::read(None).unwrap();
        let text = r#"{"rooms": [{"count": 5000, "members": 5000, "messagesPerSecond": 1, "via": "events"}]}"#;
        let workload = read(text).unwrap();
        let report = Report::of(&workload, &prices);
        assert!(!report.fits() && report.text().contains("more than the account has"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.5, 12.34, 3.0, 1_234_567.8].map(short), ["0", "0.500", "12.3", "3", "1,234,568"]);
    }
}
