//! Metrics as CloudWatch takes them from a function's log: lines in the embedded metric format, checked against its
//! specification.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::runtime_api::Environment;

/// The most values of a metric in a line, and the most metrics of a directive ("Specification: Embedded metric
/// format").
const MOST: usize = 100;

/// A line.
#[derive(Clone, Debug)]
pub struct Line(Value);

impl Line {
    /// Reads a line of a log; `None` when it has no metrics.
    ///
    /// # Panics
    /// When it has metrics that CloudWatch would not take.
    pub fn read(line: &Value) -> Option<Self> {
        let metadata = line.get("_aws")?;
        assert!(metadata["Timestamp"].is_u64(), "{line}");
        let directives = metadata["CloudWatchMetrics"].as_array().expect("directives");
        for directive in directives {
            assert_eq!(directive["Namespace"], "Roomcast", "{line}");
            for set in directive["Dimensions"].as_array().expect("dimension sets") {
                let names: Vec<_> = set.as_array().expect("a set").iter().map(|name| name.as_str().unwrap()).collect();
                assert!(names.iter().all(|name| ["Stack", "Function", "Code"].contains(name)), "{line}");
                assert!(names.iter().all(|name| line[name].as_str().is_some_and(|text| !text.is_empty())), "{line}");
            }
            let metrics = directive["Metrics"].as_array().expect("metrics");
            assert!((1..=MOST).contains(&metrics.len()), "{line}");
            for metric in metrics {
                assert!(metric["Unit"].is_string(), "{line}");
                let values = values(&line[metric["Name"].as_str().expect("a name")]);
                assert!((1..=MOST).contains(&values.len()), "{metric} in {line}");
            }
        }
        Some(Self(line.clone()))
    }

    /// A counter's count; 0 when it is not there.
    pub fn count(&self, name: &str) -> u64 {
        if self.names().contains(name) { self.0[name].as_u64().expect("a count") } else { 0 }
    }

    /// A distribution's values, each with its count; empty when the metric is not there.
    pub fn values(&self, name: &str) -> Vec<(u64, u64)> {
        if self.names().contains(name) { values(&self.0[name]) } else { Vec::new() }
    }

    /// The number of values in a distribution.
    pub fn samples(&self, name: &str) -> u64 {
        self.values(name).iter().map(|(_, count)| count).sum()
    }

    /// The names of all metrics.
    pub fn names(&self) -> BTreeSet<&str> {
        let directives = self.0["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        let metrics = directives.iter().flat_map(|directive| directive["Metrics"].as_array().unwrap());
        metrics.map(|metric| metric["Name"].as_str().unwrap()).collect()
    }

    /// The values of a metric's dimensions, for each set of dimensions.
    pub fn dimensions(&self, name: &str) -> Vec<Vec<&str>> {
        let directives = self.0["_aws"]["CloudWatchMetrics"].as_array().unwrap().iter();
        let has_it =
            |directive: &&Value| directive["Metrics"].as_array().unwrap().iter().any(|metric| metric["Name"] == name);
        let sets = directives.filter(has_it).flat_map(|directive| directive["Dimensions"].as_array().unwrap());
        let value = |dimension: &Value| self.0[dimension.as_str().unwrap()].as_str().unwrap();
        sets.map(|set| set.as_array().unwrap().iter().map(value).collect()).collect()
    }
}

fn values(metric: &Value) -> Vec<(u64, u64)> {
    if let Some(count) = metric.as_u64() {
        return vec![(count, 1)];
    }
    let numbers = |name: &str| -> Vec<u64> {
        metric[name].as_array().expect(name).iter().map(|number| number.as_u64().expect("a number")).collect()
    };
    let (values, counts) = (numbers("Values"), numbers("Counts"));
    assert_eq!(values.len(), counts.len(), "{metric}");
    values.into_iter().zip(counts).collect()
}

impl Environment {
    /// The metrics that the function has written, once there are so many lines.
    ///
    /// # Panics
    /// When they do not come, or CloudWatch would not take them.
    pub async fn metrics(&self, lines: usize) -> Vec<Line> {
        let lines = self.logged(lines, |line| line.get("_aws").is_some()).await;
        lines.iter().filter_map(Line::read).collect()
    }
}
