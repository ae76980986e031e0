//! The tests that `SECURITY.md` names exist.

use std::path::Path;

/// The tests that a line of the table names: `path::name`.
fn named(line: &str) -> Vec<(&str, &str)> {
    line.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once("::"))
        .filter(|(path, _)| path.contains('/'))
        .collect()
}

#[test]
fn every_row_of_the_threats_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 10, "{}", rows.len());
    for row in rows {
        let tests = named(row);
        assert!(!tests.is_empty(), "no test: {row}");
        for (path, name) in tests {
            let source = std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            // Rust tests are functions, some with parameters; the client library's tests have sentences for names.
            let is_there = source.contains(&format!("fn {name}(")) || source.contains(&format!("(\"{name}\""));
            assert!(is_there, "{path} has no test {name}");
        }
    }
}
