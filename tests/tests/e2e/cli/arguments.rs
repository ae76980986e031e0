//! Words that make no sense: exit code 2, and the limit in the message.

use super::{command, program, roomcast, roomcast_reading};
use crate::stacks::Stacks;

pub(crate) async fn bad_arguments_are_refused_with_their_limit(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let long_room = "r".repeat(101);
    for (words, told) in [
        (&["stats", "a b"][..], "A-Z a-z 0-9 _ - . :"),
        (&["members", &long_room], "1 to 100 characters, has 101"),
        (&["members", "r", "--limit", "many"], "invalid digit"),
        (&["tail", "r", "--after", "9007199254740992"], "9007199254740991"),
        (&["tail", "r", "--after", "1", "-n", "5"], "cannot be used with"),
        (&["tail"], "<ROOM>"),
        (&["publish", "r", "--id", ""], "1 to 53 characters"),
        (&["publish", "r", "--key", &long_room], "1 to 64 characters, has 101"),
        (&["publish", "r", "--from", "a\nb"], "no control characters"),
        (&["explain", "r"], "<SEQ|ID>"),
        (&["explain", "r", "m", "--hours", "0"], "1..=8760"),
        (&["dlq", "list", "--queue", "broadcast"], "dead-letters"),
        (&["dlq", "discard"], "--yes"),
        (&["dlq", "redrive", "--queue", "unmatched"], "nothing for a room"),
        (&["sweep", "--per-second", "0"], "1..=1000"),
        (&["sweep", "--dry-run", "--resume", "position"], "cannot be used with"),
        (&["disconnect", ""], "1 to 256 bytes"),
        (&["nonsense"], "unrecognized subcommand"),
    ] {
        let said = roomcast(stack, words).await.ended_with(2);
        assert!(said.err.contains(told), "{words:?}: {said:?}");
        assert!(said.out.is_empty(), "{words:?}: {said:?}");
    }
    let publish = ["publish", "cli:bad", "--json-lines", "--id", "bad"];
    let said = roomcast_reading(stack, &publish, "{\n1\n").await.ended_with(2);
    assert!(said.err.contains("line 1: is no JSON") && said.out.is_empty(), "{said:?}");
    let said = roomcast_reading(stack, &publish, "1\n{\n").await.ended_with(1);
    assert!(said.err.contains("line 2: is no JSON") && said.err.contains("--id bad --from-line 2"), "{said:?}");
    assert_eq!(said.out, "bad-1\n", "the line before it is sent: {said:?}");
}

pub(crate) async fn a_stack_that_is_not_there_is_said_to_be_missing(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let said = roomcast(stack, &["stats", "--stack", "another"]).await.ended_with(1);
    assert!(said.err.contains("there is no stack another"), "{said:?}");
    let mut without = std::process::Command::new(program());
    let output = without.env_clear().args(["stats", "--region", "us-east-1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--stack NAME, or --stack-file FILE"));
    let output = without.args(["--stack-file", "/nowhere/stack.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

pub(crate) async fn each_shell_has_its_completions(stacks: &Stacks) {
    let stack = stacks.shared().await;
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = command(stack, &["completions", shell]).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("disconnect"), "{shell}");
    }
}
