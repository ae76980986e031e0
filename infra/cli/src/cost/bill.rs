//! The bill for a usage.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    prices::Prices,
    usage::{Count, Part, Usage},
};

/// Messages a month at the first price.
const FIRST_MESSAGES: f64 = 1e9;

/// The service that charges for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Service {
    /// Messages and connection minutes.
    ApiGateway,
    /// Invocations and GB-seconds.
    Lambda,
    /// Units and storage.
    DynamoDb,
    /// Requests.
    Sqs,
    /// Events.
    EventBridge,
    /// Logs, metrics, alarms.
    CloudWatch,
    /// Bytes to clients.
    Egress,
}

impl Service {
    /// Its name as AWS writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiGateway => "API Gateway",
            Self::Lambda => "Lambda",
            Self::DynamoDb => "DynamoDB",
            Self::Sqs => "SQS",
            Self::EventBridge => "EventBridge",
            Self::CloudWatch => "CloudWatch",
            Self::Egress => "egress",
        }
    }
}

/// USD a month, by purpose and by service.
#[derive(Clone, Debug, Default)]
pub struct Bill(pub BTreeMap<(Part, Service), f64>);

impl Bill {
    /// The bill for a usage, at these prices.
    #[must_use]
    pub fn of(usage: &Usage, prices: &Prices) -> Self {
        let messages = messages(usage);
        let blended = blended(messages, prices);
        let mut bill = Self::default();
        for part in usage.parts() {
            let part_usage = usage.part(part);
            let count = |count| part_usage.total(count);
            let usd = |name, counted| prices.usd(name, count(counted));
            let mut add = |service, dollars: f64| *bill.0.entry((part, service)).or_default() += dollars;
            add(Service::ApiGateway, self::messages(&part_usage) * blended);
            add(Service::ApiGateway, usd("connectionMinutes", Count::ConnectionMinutes));
            add(Service::Lambda, prices.usd("invocations", part_usage.invocations()));
            add(Service::Lambda, usd("gbSeconds", Count::GbSeconds));
            add(Service::DynamoDb, usd("writeUnits", Count::WriteUnits));
            add(Service::DynamoDb, usd("readUnits", Count::ReadUnits));
            add(Service::DynamoDb, usd("storedBytes", Count::StoredBytes));
            add(Service::Sqs, usd("fifoRequests", Count::FifoRequests));
            add(Service::Sqs, usd("standardRequests", Count::StandardRequests));
            add(Service::EventBridge, usd("events", Count::Events));
            add(Service::CloudWatch, usd("logBytes", Count::LogBytes));
            add(Service::CloudWatch, usd("metrics", Count::Metrics));
            add(Service::CloudWatch, usd("alarms", Count::Alarms));
            add(Service::Egress, usd("egressBytes", Count::EgressBytes));
        }
        bill.0.retain(|_, dollars| *dollars > 0.0);
        bill
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.0.values().sum()
    }

    /// The sums by purpose.
    #[must_use]
    pub fn by_part(&self) -> BTreeMap<Part, f64> {
        let mut parts = BTreeMap::new();
        for ((part, _), dollars) in &self.0 {
            *parts.entry(*part).or_default() += dollars;
        }
        parts
    }

    /// The sums by service.
    #[must_use]
    pub fn by_service(&self) -> BTreeMap<Service, f64> {
        let mut services = BTreeMap::new();
        for ((_, service), dollars) in &self.0 {
            *services.entry(*service).or_default() += dollars;
        }
        services
    }
}

/// The number of messages that API Gateway bills.
fn messages(usage: &Usage) -> f64 {
    [Count::FramesIn, Count::Replies, Count::Posts, Count::Closes, Count::Looks]
        .map(|count| usage.total(count))
        .iter()
        .sum()
}

/// The average price of a message in USD, given so many.
fn blended(messages: f64, prices: &Prices) -> f64 {
    if messages <= 0.0 {
        return 0.0;
    }
    let first = messages.min(FIRST_MESSAGES);
    let usd = prices.usd("webSocketMessages", first) + prices.usd("webSocketMessagesAboveBillion", messages - first);
    usd / messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_above_a_billion_are_cheaper_and_nothing_is_billed_twice() {
        let prices = Prices::read(None).unwrap();
        let mut usage = Usage::default();
        usage.add(Part::Posts, Count::Posts, 1.5e9);
        usage.add(Part::Beats, Count::FramesIn, 0.5e9);
        usage.add(Part::Log, Count::PutItem, 1e9);
        let bill = Bill::of(&usage, &prices);
        assert!((bill.total() - 1_800.0).abs() < 1e-6, "{bill:?}");
        assert!((bill.by_part()[&Part::Posts] - 1_350.0).abs() < 1e-6);
        assert_eq!(bill.by_service().len(), 1);
    }

    #[test]
    fn the_sweepers_invocations_are_billed_like_those_of_others() {
        let prices = Prices::read(None).unwrap();
        let of = |function| {
            let mut usage = Usage::default();
            usage.add(Part::Sweeps, function, 1e6);
            Bill::of(&usage, &prices).total()
        };
        assert!(of(Count::Sweeper) > 0.0);
        assert!((of(Count::Sweeper) - of(Count::Session)).abs() < 1e-9);
    }
}
