"""Ports on loopback. Run as a program, `ports.py PORT=4566 DEMO_PORT=8080`, it names those that are taken, before
anything slow begins."""

import socket
import sys

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # Servers bind with this option too: a connection of an earlier stack in TIME_WAIT does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def taken(variable: str, port: int) -> str:
    return f"port {port} is taken on {HOST}: choose another one, for example {variable}={port + 1}"


def main(assignments: list[str]) -> int:
    code = 0
    for assignment in assignments:
        variable, _, text = assignment.partition("=")
        if not text.isdecimal() or int(text) > 65535:
            print(f"error: {variable} is not a port: {text!r}", file=sys.stderr)
            code = 1
        elif int(text) and is_taken(int(text)):
            print(f"error: {taken(variable, int(text))}", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
