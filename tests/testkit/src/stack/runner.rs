//! `infra/local/run.py` as a child process.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The time for the runner to end its emulator and functions, before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// The time between two checks of a child or its output.
const POLL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Runner {
    child: Mutex<Child>,
    output: Arc<Mutex<Vec<String>>>,
}

impl Runner {
    pub(super) fn start(workspace: &Path, arguments: &[String]) -> Self {
        let python = workspace.join("target/venv/local/bin/python");
        assert!(python.is_file(), "{} is missing: run the tests with `make rust-test`, once", python.display());
        let mut child = Command::new(python)
            .arg(workspace.join("infra/local/run.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Python to start");
        let output = Arc::new(Mutex::new(Vec::new()));
        collect_lines(child.stdout.take().expect("a pipe"), Arc::clone(&output));
        collect_lines(child.stderr.take().expect("a pipe"), Arc::clone(&output));
        Self { child: Mutex::new(child), output }
    }

    /// Waits until a line with this beginning has been printed.
    pub(super) async fn wait_for_line(&self, beginning: &str, within: Duration) {
        let deadline = Instant::now() + within;
        while !self.output.lock().unwrap().iter().any(|line| line.starts_with(beginning)) {
            let ended = self.child.lock().unwrap().try_wait().expect("a child to wait for");
            if let Some(status) = ended {
                // The readers may not have read everything when the process has ended.
                tokio::time::sleep(POLL * 10).await;
                panic!("the local stack ended with {status}:\n{}", self.output().join("\n"));
            }
            assert!(Instant::now() < deadline, "no stack within {within:?}:\n{}", self.output().join("\n"));
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) fn output(&self) -> Vec<String> {
        self.output.lock().unwrap().clone()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        // The runner stops at the end of its standard input.
        drop(child.stdin.take());
        let deadline = Instant::now() + STOP_WITHIN;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        // Fails when it has ended, as it should have.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn collect_lines(stream: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            lines.lock().unwrap().push(line);
        }
    });
}
