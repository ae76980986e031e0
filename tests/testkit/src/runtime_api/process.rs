//! A child process: its output collected, its end awaited, killed when dropped.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::usage::Usage;

/// The time between two checks whether the process has ended.
const POLL: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Process {
    child: Mutex<Child>,
    pid: u32,
    output: watch::Receiver<Vec<String>>,
    readers: Mutex<Vec<JoinHandle<()>>>,
    last_usage: Mutex<Usage>,
}

impl Process {
    /// Starts a program with these variables and no others.
    pub(super) fn start(
        program: &Path,
        arguments: &[String],
        variables: &BTreeMap<String, String>,
    ) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (lines, output) = watch::channel(Vec::new());
        let lines = Arc::new(lines);
        let readers = [
            child.stdout.take().map(|stream| collect_lines(stream, Arc::clone(&lines))),
            child.stderr.take().map(|stream| collect_lines(stream, Arc::clone(&lines))),
        ];
        let readers = Mutex::new(readers.into_iter().flatten().collect());
        Ok(Self { pid: child.id(), child: Mutex::new(child), output, readers, last_usage: Mutex::default() })
    }

    /// Waits until the process has ended and its output is complete. This may be called repeatedly and by several
    /// callers at once.
    pub(super) async fn ended(&self) -> ExitStatus {
        loop {
            let status = self.child.lock().unwrap().try_wait().expect("a child to wait for");
            if let Some(status) = status {
                self.join_readers();
                return status;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    #[cfg(test)]
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn output(&self) -> Vec<String> {
        self.output.borrow().clone()
    }

    /// Waits until the lines that have come so far satisfy a condition.
    pub(super) async fn wait_for_output(&self, mut is_as_wished: impl FnMut(&[String]) -> bool) {
        // An error means that the output is complete, and no more lines will come.
        let _ = self.output.clone().wait_for(|lines| is_as_wished(lines)).await;
    }

    pub(super) fn usage(&self) -> Usage {
        let mut last = self.last_usage.lock().unwrap();
        if let Some(usage) = Usage::of_process(self.pid) {
            *last = usage;
        }
        *last
    }

    pub(super) fn reset_peak_memory(&self) {
        // Not every kernel supports this; without it the peak is that of the whole life.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.pid), "5");
    }

    pub(super) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        // Fails when the process has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }

    pub(super) fn join_readers(&self) {
        for reader in self.readers.lock().unwrap().drain(..) {
            reader.join().unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect_lines(stream: impl Read + Send + 'static, lines: Arc<watch::Sender<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            // The pipe breaks when the process is killed.
            let Ok(line) = line else { return };
            lines.send_modify(|lines| lines.push(String::from_utf8_lossy(&line).into_owned()));
        }
    })
}
