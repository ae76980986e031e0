"""Runs a command in a process group of its own and takes the whole group down when standard input closes.

The runner of the local stack holds the other end of that pipe. However the runner ends, SIGKILL included, the kernel
closes the pipe, and so neither the emulator nor the Lambda environments that it started outlive it.
"""

import os
import select
import signal
import subprocess
import sys
import time

# Time for the emulator to end. Nothing that it holds is kept, and it would otherwise serve every client's $disconnect.
TERM_SECONDS = 1.0
KILL_SECONDS = 5.0
POLL_SECONDS = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # The answer of macOS for a group of zombies.
        return False
    return True


def end_group(child: subprocess.Popen) -> None:
    """Asks the group to end, and kills it if it does not."""
    for number, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        if not group_lives(child.pid):
            break
        os.killpg(child.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and group_lives(child.pid):
            child.poll()  # Reaps the child: a zombie would count as a living member of the group.
            time.sleep(0.02)


def main(command: list[str]) -> int:
    # Only the end of the pipe ends the keeper. A Ctrl-C reaches the runner as well, which then closes the pipe.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        # An ignored signal stays ignored across exec, and the emulator must hear SIGTERM. The keeper has no threads,
        # which are what makes this unsafe.
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in SIGNALS],  # noqa: PLW1509
    )
    stdin = sys.stdin.fileno()
    try:
        while child.poll() is None:
            readable, _, _ = select.select([stdin], [], [], POLL_SECONDS)
            if readable and not os.read(stdin, 4096):
                return 0
        return child.returncode if child.returncode > 0 else 1
    finally:
        end_group(child)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
