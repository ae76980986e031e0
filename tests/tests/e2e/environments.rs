//! The functions' environments, which are processes of the emulator.

use std::fs;
use std::process::Command;

use testkit::stack::LocalStack;

/// Kills every environment of a function, given the logical id in the template or a part of it, such as
/// `FanoutFunction`; returns how many were killed. An environment is found by the variables that the emulator sets.
pub(crate) fn kill_environments(stack: &LocalStack, function: &str) -> usize {
    let state = stack.state().display().to_string();
    let is_one = |environment: &[u8]| {
        let text = String::from_utf8_lossy(environment);
        let variable =
            |name: &str, part: &str| text.split('\0').any(|entry| entry.starts_with(name) && entry.contains(part));
        variable("AWS_LAMBDA_FUNCTION_NAME=", function) && variable("LAMBDA_TASK_ROOT=", &state)
    };
    let mut killed = 0;
    for process in fs::read_dir("/proc").expect("/proc, as Linux has it").flatten() {
        // Processes of other users cannot be read, and some end meanwhile.
        if fs::read(process.path().join("environ")).is_ok_and(|environment| is_one(&environment)) {
            let done = Command::new("kill").arg("-KILL").arg(process.file_name()).output().expect("`kill`");
            killed += usize::from(done.status.success());
        }
    }
    killed
}
