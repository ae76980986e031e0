//! The line of an invocation's metrics, in CloudWatch's embedded metric format ("Specification: Embedded metric
//! format").
//!
//! By the specification a metric is a number or an array of at most 100 numbers. Distributions are written as
//! `{"Values": [...], "Counts": [...]}`, each value with how often it came, as in `PutMetricData`. AWS's own writers of
//! the format do the same (the OpenTelemetry Collector's `awsemf` exporter, the crate `metrique`). So a broadcast to
//! 100,000 connections is one value that came 100,000 times.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    Metrics,
    histogram::Histogram,
    names::{CODE, COUNT, FUNCTION, NAMESPACE, REFUSED, STACK},
};
use crate::frame::server::ErrorCode;

/// The environment variable that names the stack.
const STACK_NAME_VARIABLE: &str = "STACK_NAME";

/// The environment variable that names the function.
const FUNCTION_VARIABLE: &str = "FUNCTION";

/// The dimensions of all metrics. Rooms and connections are none: CloudWatch bills each value of a dimension as a
/// metric of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// The stack's name.
    pub stack: String,
    /// The function, by its name in the template.
    pub function: String,
}

impl Dimensions {
    /// The dimensions that `STACK_NAME` and `FUNCTION` say, which the template sets. Without them no line is written.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let text = |name| lookup(name).filter(|text| !text.is_empty());
        Some(Self { stack: text(STACK_NAME_VARIABLE)?, function: text(FUNCTION_VARIABLE)? })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata<'a> {
    timestamp: u64,
    cloud_watch_metrics: Vec<Directive<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive<'a> {
    namespace: &'static str,
    dimensions: [&'a [&'static str]; 1],
    metrics: Vec<Definition>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: &'static str,
    unit: &'static str,
}

/// A metric's values.
enum Values {
    Count(u64),
    Many(Histogram),
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Many(histogram) => {
                let (values, counts): (Vec<u64>, Vec<u64>) = histogram.iter().unzip();
                let mut many = serializer.serialize_map(Some(2))?;
                many.serialize_entry("Values", &values)?;
                many.serialize_entry("Counts", &counts)?;
                many.end()
            }
        }
    }
}

struct Line<'a> {
    metadata: Metadata<'a>,
    dimensions: &'a Dimensions,
    code: Option<&'static str>,
    values: Vec<(&'static str, Values)>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("_aws", &self.metadata)?;
        line.serialize_entry(STACK, &self.dimensions.stack)?;
        line.serialize_entry(FUNCTION, &self.dimensions.function)?;
        if let Some(code) = self.code {
            line.serialize_entry(CODE, code)?;
        }
        for (name, values) in &self.values {
            line.serialize_entry(name, values)?;
        }
        line.end()
    }
}

impl Metrics {
    /// The line, without an end of line; `None` when nothing was measured.
    #[must_use]
    pub fn to_line(&self, dimensions: &Dimensions, unix_millis: u64) -> Option<String> {
        let mut definitions = Vec::new();
        let mut values = Vec::new();
        let code = self.refused.get().map(ErrorCode::name);
        for (counter, count) in self.counts.borrow().iter() {
            definitions.push(Definition { name: counter.name, unit: COUNT });
            values.push((counter.name, Values::Count(*count)));
        }
        for (distribution, histogram) in self.histograms.borrow().iter() {
            definitions.push(Definition { name: distribution.name, unit: distribution.unit });
            values.push((distribution.name, Values::Many(histogram.clone())));
        }
        if values.is_empty() {
            return None;
        }
        let directive = |dimensions, metrics| Directive { namespace: NAMESPACE, dimensions: [dimensions], metrics };
        let mut directives = vec![directive(&[STACK, FUNCTION][..], definitions)];
        if code.is_some() {
            let by_code = vec![Definition { name: REFUSED.name, unit: COUNT }];
            directives.push(directive(&[STACK, FUNCTION, CODE][..], by_code));
        }
        let metadata = Metadata { timestamp: unix_millis, cloud_watch_metrics: directives };
        // Texts and integers always serialize.
        serde_json::to_string(&Line { metadata, dimensions, code, values }).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{
            histogram::MOST_VALUES,
            names::{BROADCAST_LATENCY, COUNTERS, DISTRIBUTIONS, POSTS},
        },
        *,
    };

    fn line(metrics: &Metrics) -> Option<Value> {
        let dimensions = Dimensions { stack: "s".to_owned(), function: "fanout".to_owned() };
        let line = metrics.to_line(&dimensions, 1_800_000_000_000)?;
        assert!(!line.contains('\n'));
        Some(serde_json::from_str(&line).unwrap())
    }

    #[test]
    fn nothing_measured_is_no_line() {
        let metrics = Metrics::default();
        metrics.add(POSTS, 0);
        metrics.record_times(BROADCAST_LATENCY, 7, 0);
        assert_eq!(line(&metrics), None);
    }

    #[test]
    fn a_line_has_the_shape_that_cloudwatch_reads() {
        let metrics = Metrics::default();
        metrics.add(POSTS, 2);
        metrics.add(POSTS, 3);
        metrics.record_times(BROADCAST_LATENCY, 1_234, 4);
        metrics.record(BROADCAST_LATENCY, 7);
        let metrics_written =
            json!([{"Name": "Posts", "Unit": "Count"}, {"Name": "BroadcastLatency", "Unit": "Milliseconds"}]);
        let directive =
            json!({"Namespace": "Roomcast", "Dimensions": [["Stack", "Function"]], "Metrics": metrics_written});
        let expected = json!({
            "_aws": {"Timestamp": 1_800_000_000_000_u64, "CloudWatchMetrics": [directive]},
            "Stack": "s", "Function": "fanout", "Posts": 5,
            "BroadcastLatency": {"Values": [7, 1_200], "Counts": [1, 4]},
        });
        assert_eq!(line(&metrics), Some(expected));
    }

    #[test]
    fn a_refusal_is_counted_with_its_code_and_without() {
        let metrics = Metrics::default();
        metrics.refuse(ErrorCode::TooLarge);
        let line = line(&metrics).unwrap();
        assert_eq!((&line["Refused"], &line["Code"]), (&json!(1), &json!("too_large")));
        let refused = json!([{"Name": "Refused", "Unit": "Count"}]);
        let directives: Vec<_> = line["_aws"]["CloudWatchMetrics"].as_array().unwrap().iter().collect();
        let sets = directives.iter().map(|directive| &directive["Dimensions"]);
        assert_eq!(
            sets.collect::<Vec<_>>(),
            [&json!([["Stack", "Function"]]), &json!([["Stack", "Function", "Code"]])]
        );
        assert!(directives.iter().all(|directive| directive["Metrics"] == refused));
    }

    #[test]
    fn the_largest_line_is_within_the_limits_of_the_format() {
        let metrics = Metrics::default();
        for counter in COUNTERS {
            metrics.add(*counter, u64::MAX / 2);
        }
        metrics.refuse(ErrorCode::UnknownAction);
        for distribution in DISTRIBUTIONS {
            for value in 0..10_000_000_000_u64.ilog2() {
                metrics.record_times(*distribution, 1 << value, 1 << 40);
            }
            (0..1_000).for_each(|value| metrics.record(*distribution, value * value));
        }
        let line = line(&metrics).unwrap();
        assert!(COUNTERS.len() + DISTRIBUTIONS.len() <= 100 && line.to_string().len() < 16 * 1024);
        for distribution in DISTRIBUTIONS {
            let values = line[distribution.name]["Values"].as_array().unwrap();
            assert!(values.len() <= MOST_VALUES);
            assert_eq!(values.len(), line[distribution.name]["Counts"].as_array().unwrap().len());
        }
    }

    #[test]
    fn without_a_stack_or_a_function_there_are_no_dimensions() {
        let read = |stack: &str, function: &str| {
            Dimensions::read(|name| Some(if name == "STACK_NAME" { stack } else { function }.to_owned()))
        };
        assert_eq!(read("s", "f"), Some(Dimensions { stack: "s".to_owned(), function: "f".to_owned() }));
        assert_eq!((read("", "f"), read("s", ""), Dimensions::read(|_| None)), (None, None, None));
    }
}
