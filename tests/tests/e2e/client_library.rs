//! The client library's own tests against the shared stack.

use std::path::Path;

use libtest_mimic::Trial;
use tokio::process::Command;
use tokio::runtime::Handle;

use crate::stacks::Stacks;
use std::sync::Arc;

/// Skipped, visibly, where the library's packages are not installed (`make client` does it).
pub(crate) fn trial(runtime: &Handle, stacks: &Arc<Stacks>) -> Trial {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("client");
    let ready =
        ["node_modules/.package-lock.json", "vitest.stack.config.ts"].iter().all(|file| client.join(file).exists());
    let (runtime, stacks) = (runtime.clone(), Arc::clone(stacks));
    let run = move || runtime.block_on(run(&client, &stacks)).map_err(Into::into);
    Trial::test("client_library::its_tests_pass_on_the_stack", run).with_ignored_flag(!ready)
}

async fn run(client: &Path, stacks: &Stacks) -> Result<(), String> {
    let state = stacks.shared().await.state();
    let npm = Command::new("npm")
        .args(["run", "--silent", "test:stack"])
        .current_dir(client)
        .env("ROOMCAST_STACK_JSON", state.join("stack.json"))
        .env("ROOMCAST_JWT_SECRET_FILE", state.join("jwt-secret"))
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("npm does not start: {error}"))?;
    if npm.status.success() {
        return Ok(());
    }
    let output = [npm.stdout, npm.stderr].map(|stream| String::from_utf8_lossy(&stream).into_owned());
    Err(format!("npm run test:stack ended with {}:\n{}", npm.status, output.join("\n")))
}
