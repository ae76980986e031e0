//! The page that explains the metrics lists each of them and no other, and each is produced by a test.

use std::collections::BTreeMap;
use std::path::Path;

use shared::metrics::names::{COUNT, COUNTERS, DISTRIBUTIONS, EXAMINED, SWEPT};

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every metric with its unit, by name.
fn defined() -> BTreeMap<String, String> {
    let counters = COUNTERS.iter().map(|counter| (counter.name, COUNT));
    let distributions = DISTRIBUTIONS.iter().map(|distribution| (distribution.name, distribution.unit));
    counters.chain(distributions).map(|(name, unit)| (name.to_owned(), unit.to_owned())).collect()
}

#[test]
fn the_page_lists_every_metric_with_its_unit_and_no_other() {
    let page = read("docs/metrics.md");
    let (_, section) = page.split_once("## Metrics").expect("a section");
    let (table, _) = section.split_once("## ").expect("another section");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let listed: Vec<_> = cells.map(|cells| (cells[1].trim_matches('`').to_owned(), cells[3].to_owned())).collect();
    assert_eq!(listed.len(), defined().len(), "each once");
    assert_eq!(listed.into_iter().collect::<BTreeMap<_, _>>(), defined());
}

#[test]
fn every_metric_is_asked_for_by_a_test_that_produces_it() {
    let tests = ["ephemeral", "fanout", "ingest", "presence"]
        .map(|folder| read(&format!("tests/tests/integration/{folder}/metrics.rs")))
        .concat();
    // The sweep has tests of its own.
    let elsewhere = [SWEPT.name, EXAMINED.name];
    let missing: Vec<_> = defined().into_keys().filter(|name| !tests.contains(&format!("\"{name}\""))).collect();
    assert!(missing.iter().all(|name| elsewhere.contains(&name.as_str())), "{missing:?}");
}
