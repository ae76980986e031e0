//! The usage of a process, from `/proc`.

use std::fs;
use std::time::Duration;

/// The kernel's clock ticks per second in `/proc`, which is 100 on every Linux that Lambda or these tests run on.
const TICKS_PER_SECOND: u64 = 100;

/// Time on the CPU and memory of a process.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Time in user mode, in steps of 10 ms.
    pub user: Duration,
    /// Time in the kernel, in steps of 10 ms.
    pub system: Duration,
    /// Time on a CPU, exact, of the threads that are alive.
    pub on_cpu: Duration,
    /// The largest resident memory so far, in KiB.
    pub peak_memory_kib: u64,
}

impl Usage {
    /// Time on a CPU, in user mode and in the kernel: the exact figure, unless threads have ended since, whose time it
    /// lacks.
    pub fn cpu(&self) -> Duration {
        self.on_cpu.max(self.user + self.system)
    }

    /// The usage since an earlier time. The peak memory is the later one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            on_cpu: self.on_cpu.saturating_sub(earlier.on_cpu),
            peak_memory_kib: self.peak_memory_kib,
        }
    }

    /// The usage of a process so far; `None` once it has ended.
    pub fn of_process(pid: u32) -> Option<Self> {
        let (user, system) = ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(Self {
            user: of_ticks(user),
            system: of_ticks(system),
            on_cpu: on_cpu(pid)?,
            // A process that has ended but was not waited for has no memory.
            peak_memory_kib: peak_memory_kib(&status)?,
        })
    }
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

/// User and system ticks: the 14th and 15th fields. The second field, the name in brackets, may contain anything.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn peak_memory_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// The first figure of each thread's `schedstat`: nanoseconds on a CPU.
fn on_cpu(pid: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let nanos = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(nanos.sum()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194304 100 0 0 0 17 4 0 0 20 0 1 0 1 1 1";
        assert_eq!(ticks(stat), Some((17, 4)));
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let before = Usage::of_process(std::process::id()).unwrap();
        let started = Instant::now();
        let mut used = Usage::default();
        while used.cpu() < Duration::from_millis(20) {
            assert!(started.elapsed() < Duration::from_secs(20), "{used:?}");
            used = Usage::of_process(std::process::id()).unwrap().since(&before);
        }
        assert!(used.cpu() < started.elapsed() * 64, "{used:?}");
        assert!(used.peak_memory_kib > 1_000, "{used:?}");
    }

    #[test]
    fn a_process_that_is_not_there_has_no_usage() {
        assert_eq!(Usage::of_process(u32::MAX), None);
    }
}
