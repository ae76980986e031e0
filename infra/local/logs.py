"""Prints the functions' log lines of a running local stack, oldest first: `make logs`."""

import argparse
import json
import sys
from pathlib import Path

import boto3

from emulator import CREDENTIALS


def main() -> int:
    options = argparse.ArgumentParser(description="Prints the functions' logs of the local stack.")
    options.add_argument("--state", type=Path, default=Path("target/local"), help="the stack's folder")
    options.add_argument("--function", default="", help="only this one, for example fanout")
    asked = options.parse_args()
    try:
        stack = json.loads((asked.state / "stack.json").read_text())
    except FileNotFoundError:
        print(f"No local stack in {asked.state}: start one with `make local` in another terminal.", file=sys.stderr)
        return 1
    logs = boto3.Session(region_name=stack["region"], **CREDENTIALS).client("logs", endpoint_url=stack["endpointUrl"])
    lines = []
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            name = group["logGroupName"]
            if asked.function.lower() in name.lower():
                for events in logs.get_paginator("filter_log_events").paginate(logGroupName=name):
                    lines += [(event["timestamp"], name, event["message"].rstrip()) for event in events["events"]]
    for _, name, message in sorted(lines, key=lambda line: line[0]):
        print(f"{name}  {message}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
