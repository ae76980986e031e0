//! The price of the same deliveries elsewhere. Not all services do the same: `why` says what is missing.

use serde::Serialize;

use super::{
    prices::Prices,
    sessions,
    sizes::{MessageSize, steps},
    workload::Workload,
};

/// The bytes that AWS bills as one message in its other services.
const FIVE_KB: f64 = 5_120.0;

/// The bytes that Azure bills as one message.
const TWO_KB: f64 = 2_048.0;

/// The connections, and the messages a day, of one unit of Azure's service.
const AZURE_UNIT: (f64, f64) = (1_000.0, 1e6);

/// The connections, and the deliveries a second, of a Centrifugo server: its authors report a million connections and
/// 500,000 messages a second on 20 pods. Half of that is taken, since a server must be able to take over for one that
/// fails.
const SERVER: (f64, f64) = (25_000.0, 12_500.0);

/// The fewest servers: one may fail.
const SERVERS: f64 = 2.0;

/// The same workload elsewhere.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// The service's name.
    pub name: &'static str,
    /// USD a month.
    pub usd: f64,
    /// The features that it lacks, and the costs that are not counted.
    pub why: &'static str,
}

/// The traffic that peers bill by.
struct Traffic {
    /// Messages to connections, in steps of a size.
    deliveries: fn(&Workload, f64) -> f64,
    published: f64,
    connection_minutes: f64,
    channel_minutes: f64,
    connections: f64,
    per_second: f64,
    egress: f64,
}

fn deliveries(workload: &Workload, step: f64) -> f64 {
    let of_group = |group: &super::workload::RoomGroup| {
        let size = MessageSize::of(group, &workload.setting);
        group.messages(workload.days) * group.members * steps(size.entry, step)
    };
    workload.rooms.iter().map(of_group).sum()
}

impl Traffic {
    fn of(workload: &Workload) -> Self {
        let days = workload.days;
        let mut traffic = Self {
            deliveries,
            published: 0.0,
            connection_minutes: 0.0,
            channel_minutes: 0.0,
            connections: 0.0,
            per_second: 0.0,
            egress: 0.0,
        };
        for group in &workload.rooms {
            let messages = group.messages(days);
            let minutes = group.connected_seconds(days) / 60.0;
            traffic.published += messages;
            traffic.connection_minutes += group.connections() * minutes;
            traffic.channel_minutes += group.count * minutes;
            traffic.connections +=
                if sessions::sessions(group.hours_per_day) > 0.0 { group.connections() } else { 0.0 };
            traffic.per_second += group.count * group.members * group.messages_per_second;
            let size = MessageSize::of(group, &workload.setting);
            traffic.egress += messages * group.members * size.entry;
        }
        traffic
    }
}

/// The same workload elsewhere, the cheapest first.
#[must_use]
pub fn of(workload: &Workload, prices: &Prices) -> Vec<Peer> {
    let traffic = Traffic::of(workload);
    let usd = |name, number: f64| prices.usd(name, number);
    let of_five_kb = traffic.published + (traffic.deliveries)(workload, FIVE_KB);
    let egress = usd("egressBytes", traffic.egress);
    let units = (traffic.connections / AZURE_UNIT.0).ceil();
    let of_two_kb = (traffic.deliveries)(workload, TWO_KB);
    let servers =
        SERVERS.max((traffic.connections / SERVER.0).ceil() + 1.0).max((traffic.per_second / SERVER.1).ceil() + 1.0);
    let mut peers = vec![
        Peer {
            name: "AppSync Events",
            usd: usd("appSyncOperations", of_five_kb)
                + usd("appSyncConnectionMinutes", traffic.connection_minutes)
                + egress,
            why: "no order, no history, no gap repair",
        },
        Peer {
            name: "IoT Core (MQTT)",
            usd: usd("iotMessages", of_five_kb) + usd("iotConnectionMinutes", traffic.connection_minutes) + egress,
            why: "no history, rights by IoT policies",
        },
        Peer {
            name: "Ably",
            usd: usd("ablyMessages", traffic.published + (traffic.deliveries)(workload, FIVE_KB * 10.0))
                + usd("ablyConnectionMinutes", traffic.connection_minutes)
                + usd("ablyChannelMinutes", traffic.channel_minutes),
            why: "order and history included; another company has the data",
        },
        Peer {
            name: "Azure Web PubSub",
            usd: usd("azureUnitDays", units * workload.days)
                + usd("azureMessages", (of_two_kb - units * workload.days * AZURE_UNIT.1).max(0.0))
                + egress,
            why: "no history; another cloud",
        },
        Peer {
            name: "Centrifugo, on your own servers",
            usd: usd("serverMonths", servers * workload.days / 30.0) + egress,
            why: "order and history included; servers, a broker and their nights are yours",
        },
    ];
    peers.sort_by(|one, other| one.usd.total_cmp(&other.usd));
    peers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::workload::read;

    #[test]
    fn peers_bill_each_delivery() {
        let text = r#"{"rooms": [{"count": 100, "members": 100, "messagesPerSecond": 1, "hoursPerDay": 8}]}"#;
        let peers = of(&read(text).unwrap(), &Prices::read(None).unwrap());
        let usd = |name: &str| peers.iter().find(|peer| peer.name.starts_with(name)).unwrap().usd;
        assert!((usd("AppSync") / 9_150.0 - 1.0).abs() < 0.02, "{peers:?}");
        assert!((usd("Ably") / 22_000.0 - 1.0).abs() < 0.05, "{peers:?}");
        assert_eq!(peers[0].name, "Centrifugo, on your own servers");
    }
}
