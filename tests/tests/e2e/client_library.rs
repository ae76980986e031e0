//! The client library's own tests against real stacks: its Node.js tests, and its demo page in Chromium.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Completion, Failed, Trial};
use testkit::stack::LocalStack;
use tokio::process::Command;
use tokio::runtime::Handle;

use crate::stacks::Stacks;

/// The trials, which are skipped, with the reason, where the library's packages (`make client` installs them) or a
/// browser are missing.
pub(crate) fn trials(runtime: &Handle, stacks: &Arc<Stacks>) -> [Trial; 2] {
    let (node, stacks) = (runtime.clone(), Arc::clone(stacks));
    let browser = runtime.clone();
    [
        Trial::ignorable_test("client_library::its_tests_pass_on_the_stack", move || {
            node.block_on(its_tests_pass_on_the_stack(&stacks))
        }),
        Trial::ignorable_test("client_library::its_demo_page_works_in_chromium", move || {
            browser.block_on(its_demo_page_works_in_chromium())
        }),
    ]
}

async fn its_tests_pass_on_the_stack(stacks: &Stacks) -> Result<Completion, Failed> {
    if !has_packages() {
        return Ok(without_packages());
    }
    let stack = stacks.shared().await;
    let stack_json = stack.state().join("stack.json");
    let secret = stack.state().join("jwt-secret");
    std::fs::write(&secret, stack.secret())?;
    let variables = [("ROOMCAST_STACK_JSON", stack_json.as_os_str()), ("ROOMCAST_JWT_SECRET_FILE", secret.as_os_str())];
    npm_run("test:stack", &variables).await?;
    Ok(Completion::Completed)
}

/// This runs on a stack of its own: no other scenario should have the producer of prices beside it.
async fn its_demo_page_works_in_chromium() -> Result<Completion, Failed> {
    if !has_packages() {
        return Ok(without_packages());
    }
    let Some(chromium) = chromium().await? else {
        return Ok(Completion::ignored_with("no Chromium on the PATH, and none in ROOMCAST_CHROMIUM"));
    };
    let stack = LocalStack::start_with_demo().await;
    let url = stack.description().demo_url.clone().ok_or("the stack has no demo page")?;
    // The test builds the page first; the stack serves the page as it is when asked.
    let variables = [("ROOMCAST_DEMO_URL", OsStr::new(&url)), ("ROOMCAST_CHROMIUM", OsStr::new(&chromium))];
    let ended = npm_run("test:browser", &variables).await;
    ended.map_err(|error| format!("{error}\nthe stack's logs are in {}", stack.keep_state().display()))?;
    Ok(Completion::Completed)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder").to_owned()
}

fn has_packages() -> bool {
    workspace().join("client/node_modules/.package-lock.json").exists()
}

fn without_packages() -> Completion {
    Completion::ignored_with("client/node_modules is missing: make client installs it")
}

/// The browser that `infra/chromium` finds.
async fn chromium() -> Result<Option<String>, String> {
    let script = workspace().join("infra/chromium");
    let found = Command::new(&script).output().await.map_err(|error| format!("{}: {error}", script.display()))?;
    Ok(found.status.success().then(|| String::from_utf8_lossy(&found.stdout).trim().to_owned()))
}

async fn npm_run(script: &str, variables: &[(&str, &OsStr)]) -> Result<(), String> {
    let npm = Command::new("npm")
        .args(["run", "--silent", script])
        .current_dir(workspace().join("client"))
        .envs(variables.iter().copied())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("npm does not start: {error}"))?;
    if npm.status.success() {
        return Ok(());
    }
    let output = [npm.stdout, npm.stderr].map(|stream| String::from_utf8_lossy(&stream).into_owned());
    Err(format!("npm run {script} ended with {}:\n{}", npm.status, output.join("\n")))
}
