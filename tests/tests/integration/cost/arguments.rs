//! The workloads that `roomcast cost` refuses, and its messages about them.

use super::cost_of;

const ROOM: &str = r#"{"rooms": [{"members": 10, "messagesPerSecond": 1}]}"#;

fn refused(workload: &str, arguments: &[&str], parts: &[&str]) {
    let output = cost_of(workload, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} in {said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn bad_arguments_are_named() {
    refused("", &[], &["FILE"]);
    refused("", &["nowhere.json"], &["nowhere.json cannot be read"]);
    refused("", &["-"], &["no JSON"]);
    refused(ROOM, &["-", "--prices", "nowhere.json"], &["nowhere.json cannot be read"]);
    refused(ROOM, &["-", "--capacity"], &["--capacity"]);
    refused(ROOM, &["-", "--cheap"], &["--cheap"]);
}

#[test]
fn every_bad_field_of_a_workload_is_named_at_once() {
    let workload = r#"{"rooms": [{"members": -1, "messagesPerSecond": 301, "via": "pigeons"}], "dyas": 3}"#;
    let parts =
        ["rooms[0].members", "rooms[0].messagesPerSecond: must be a number from 0 to 300", "\"clients\"", "dyas"];
    refused(workload, &["-"], &parts);
}

#[test]
fn the_documents_examples_are_good() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples");
    let page = std::fs::read_to_string(format!("{folder}/../cost.md")).unwrap();
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 5, "{files:?}");
    let mut shown = 0;
    for file in files {
        let output = cost_of("", &[file.to_str().unwrap()]);
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("USD a month"));
        let name = file.file_name().unwrap().to_str().unwrap();
        if page.contains(&format!("$ roomcast cost docs/examples/{name}\n")) {
            assert!(page.contains(&said), "docs/cost.md shows something else than\n{said}");
            shown += 1;
        }
    }
    assert_eq!(shown, 3, "examples whose output docs/cost.md shows");
}

/// CloudWatch bills each metric that an alarm looks at.
#[test]
fn every_metric_of_the_templates_alarms_is_billed() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let template = std::fs::read_to_string(format!("{root}/infra/template.yaml")).unwrap();
    let alarms: Vec<_> = template.split("Type: AWS::CloudWatch::Alarm\n").skip(1).collect();
    let metrics = alarms.iter().map(|rest| {
        let its_own = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
        its_own.filter(|line| line.trim() == "MetricStat:").count().max(1)
    });
    let (there_are, of_them): (usize, usize) = (metrics.sum(), alarms.len());
    assert!(of_them == 21 && there_are > of_them, "{there_are} metrics of {of_them} alarms");
    // A workload that has presence and ephemeral messages, and so their alarms.
    let output = cost_of("", &["--json", &format!("{root}/docs/examples/lobby.json")]);
    let estimate: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(estimate["counts"]["Alarms"].to_string(), format!("{there_are}.0"));
}
