//! The price list: built in, and replaceable.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::fields::Fields;

/// The list that is built in.
const BUILT_IN: &str = include_str!("../../prices/us-east-1-2026-11.json");

/// The names of the prices that the model needs.
const NAMES: [&str; 25] = [
    "webSocketMessages",
    "webSocketMessagesAboveBillion",
    "connectionMinutes",
    "invocations",
    "gbSeconds",
    "writeUnits",
    "readUnits",
    "storedBytes",
    "fifoRequests",
    "standardRequests",
    "events",
    "egressBytes",
    "logBytes",
    "metrics",
    "alarms",
    "appSyncOperations",
    "appSyncConnectionMinutes",
    "iotMessages",
    "iotConnectionMinutes",
    "ablyMessages",
    "ablyConnectionMinutes",
    "ablyChannelMinutes",
    "azureUnitDays",
    "azureMessages",
    "serverMonths",
];

/// A price.
#[derive(Clone, Debug, Serialize)]
pub struct Price {
    /// USD for `per` of them.
    pub usd: f64,
    /// The number of units that cost this.
    pub per: f64,
    /// The unit.
    pub unit: String,
    /// The source of the price.
    pub source: String,
    /// Whether it was read on the source's own page.
    pub confirmed: bool,
}

/// A price list.
#[derive(Clone, Debug, Serialize)]
pub struct Prices {
    /// The region that it is for.
    pub region: String,
    /// The month that it is of.
    pub date: String,
    by_name: BTreeMap<String, Price>,
}

impl Prices {
    /// Reads a list; `None` stands for the one that is built in.
    ///
    /// # Errors
    /// The errors list everything that is wrong.
    pub fn read(text: Option<&str>) -> Result<Self, Vec<String>> {
        let value: Value =
            serde_json::from_str(text.unwrap_or(BUILT_IN)).map_err(|error| vec![format!("no JSON: {error}")])?;
        let mut problems = Vec::new();
        let mut fields = Fields::of(&value, "", &mut problems);
        let (region, date) = (fields.text("region", None), fields.text("date", None));
        let prices: BTreeMap<_, _> = fields.list("prices", read_price).into_iter().collect();
        fields.end();
        let unknown = prices.keys().filter(|name| !NAMES.contains(&name.as_str()));
        problems.extend(unknown.map(|name| format!("prices: nobody asks for {name}")));
        let missing = NAMES.iter().filter(|name| !prices.contains_key(**name));
        problems.extend(missing.map(|name| format!("prices: {name} is missing")));
        if problems.is_empty() { Ok(Self { region, date, by_name: prices }) } else { Err(problems) }
    }

    /// USD for so many.
    #[must_use]
    pub fn usd(&self, name: &str, number: f64) -> f64 {
        self.by_name.get(name).map_or(f64::NAN, |price| number * price.usd / price.per)
    }

    /// The names of prices that were not confirmed.
    pub fn unconfirmed(&self) -> impl Iterator<Item = &str> {
        self.by_name.iter().filter(|(_, price)| !price.confirmed).map(|(name, _)| name.as_str())
    }
}

fn read_price(fields: &mut Fields<'_>) -> (String, Price) {
    let price = Price {
        usd: fields.number("usd", 0.0..=1e6, None),
        per: fields.number("per", 1.0..=1e12, None),
        unit: fields.text("unit", None),
        source: fields.text("source", None),
        confirmed: fields.flag("confirmed", false),
    };
    (fields.text("name", None), price)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_list_has_every_price_with_its_source() {
        let prices = Prices::read(None).unwrap();
        assert!(prices.by_name.values().all(|price| !price.source.is_empty() && price.usd > 0.0));
        assert!((prices.usd("webSocketMessages", 2e6) - 2.0).abs() < 1e-9);
        assert!(prices.unconfirmed().any(|name| name == "fifoRequests"));
    }

    #[test]
    fn a_list_says_what_it_lacks() {
        let text = BUILT_IN.replace("\"readUnits\"", "\"reedUnits\"").replace("\"usd\": 0.625", "\"usd\": \"x\"");
        let problems = Prices::read(Some(&text)).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].starts_with("prices[5].usd") && problems[2].contains("readUnits is missing"));
    }
}
