//! `roomcast doctor`; its remedies are tried in [`super::remedies`].

use std::collections::BTreeSet;

use roomcast::commands::doctor::patient::Patient;
use roomcast::commands::doctor::permissions::{NEEDED, arn, is_needed};
use roomcast::stack::Stack;
use roomcast::target::Target;
use serde_json::Value;

use super::{json_lines, refuses, roomcast};
use crate::permissions::roles_of;
use crate::stacks::Stacks;

/// A stack as it is after its deployment has no problem and no warning; what the emulator cannot answer is skipped.
pub(crate) async fn doctor_finds_a_new_stack_in_good_order(stacks: &Stacks) {
    let stack = stacks.bus().await;
    let (code, lines) = json_lines(stack, &["doctor"]).await;
    let is_ill = |finding: &&Value| finding["verdict"] == "problem" || finding["verdict"] == "warning";
    // Scenarios leave dead letters behind.
    let is_ill = |finding: &&Value| is_ill(finding) && finding["area"] != "queues";
    assert_eq!(lines.iter().filter(is_ill).collect::<Vec<_>>(), Vec::<&Value>::new());
    assert_eq!(code, 0, "{lines:?}");
    let areas: BTreeSet<_> = lines.iter().filter_map(|line| line["area"].as_str()).collect();
    assert_eq!(areas.len(), 13, "{areas:?}");
    let summary = &lines.last().unwrap()["summary"];
    assert!(summary["ok"].as_u64().unwrap() > 50, "{summary}");
    let text = roomcast(stack, &["doctor", "--only", "tables,clock"]).await.out;
    assert!(text.contains("roomId-index: ACTIVE") && text.contains("clock: within"), "{text}");
    assert!(!text.contains("BroadcastQueue"), "{text}");
}

pub(crate) async fn doctor_refuses_what_makes_no_sense(stacks: &Stacks) {
    refuses(stacks.shared().await, &["doctor", "--only", "weather"], "weather").await;
}

/// The permissions that `doctor` asks IAM about are exactly those that the template's roles allow: neither can drift
/// from the other.
pub(crate) async fn doctor_asks_for_the_permissions_of_the_template(stacks: &Stacks) {
    for stack in [stacks.shared().await, stacks.bus().await] {
        let file = stack.state().join("stack.json");
        let target = Target { stack: None, stack_file: Some(file), region: None, profile: None };
        let opened = Stack::open(&target).await.unwrap();
        let patient = Patient::admit(&opened).await.unwrap();
        let mut asked = BTreeSet::new();
        for needed in NEEDED.iter().filter(|needed| is_needed(&patient, needed)) {
            let resource = arn(&patient, needed.on).unwrap();
            let role = needed.role.trim_end_matches("Role");
            asked.extend(needed.actions.iter().map(|action| format!("{role}: {action} on {resource}")));
        }
        let mut allowed = BTreeSet::new();
        for (function, permissions) in roles_of(stack).await {
            // The stars at the end of actions are for the emulator.
            let named = |(action, resource): (String, String)| {
                format!("{function}: {} on {resource}", action.trim_end_matches('*'))
            };
            allowed.extend(permissions.into_iter().map(named));
        }
        assert_eq!(asked, allowed);
    }
}
