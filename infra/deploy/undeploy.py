"""Deletes a stack, and with --purge what it leaves behind: `make undeploy`."""

import argparse
import sys

from botocore.exceptions import BotoCoreError, ClientError

import kept
import stack
import template
from refused import Refused
from session import describe, open_session


def parse_options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description="Deletes a Roomcast stack from AWS.")
    options.add_argument("--stack", required=True)
    options.add_argument("--role-arn", default="", help="a role that CloudFormation works under")
    options.add_argument(
        "--purge", action="store_true", help="delete messages, state, dead letters and the log role too"
    )
    options.add_argument("--yes", action="store_true", help="do not ask")
    return options.parse_args()


def last_deleted(cloudformation, name: str) -> str | None:
    """The id of the newest stack of this name that is gone: CloudFormation remembers it for 90 days."""
    pages = cloudformation.get_paginator("list_stacks").paginate(StackStatusFilter=["DELETE_COMPLETE"])
    deleted = [each for page in pages for each in page["StackSummaries"] if each["StackName"] == name]
    return max(deleted, key=lambda each: each["CreationTime"])["StackId"] if deleted else None


def undeploy(session, asked: argparse.Namespace) -> None:
    cloudformation = session.client("cloudformation")
    found = stack.find(cloudformation, asked.stack)
    stack_id = found["StackId"] if found else None
    if asked.purge and not found:
        stack_id = last_deleted(cloudformation, asked.stack)
    if stack_id is None:
        raise Refused(f"there is no stack {asked.stack} in {session.region_name}")
    # A stack that is gone is told of by its id, with the parameters that it had.
    stack.refuse_foreign(found or cloudformation.describe_stacks(StackName=stack_id)["Stacks"][0])
    # A stack in a failed state can be deleted.
    if found and found["StackStatus"].endswith("_IN_PROGRESS"):
        stack.refuse_busy(found)
    if found and found.get("EnableTerminationProtection"):
        raise Refused(
            "the stack is protected: aws cloudformation update-termination-protection "
            f"--no-enable-termination-protection --stack-name {asked.stack}"
        )
    left = kept.among(stack.resources(cloudformation, stack_id), template.kept(template.read()))
    tell(session, left, found, asked.purge)
    if not asked.yes and input(f"Type {asked.stack} to go on: ") != asked.stack:
        raise Refused("nothing was done")
    if found:
        stack.delete(cloudformation, stack_id, asked.role_arn or None)
    if asked.purge:
        for each in left:
            reason = kept.remove(session, each)
            print(f"  kept {each}: {reason}" if reason else f"  deleted {each}", flush=True)


def tell(session, left: list[kept.Kept], found: dict | None, purge: bool) -> None:
    if found:
        print("Every connection is closed, and all is deleted but what is named here.")
    if not left:
        print("Nothing is left of it.")
        return
    print("Deleted as well, for good:" if purge else "Kept (make undeploy PURGE=1 deletes these as well):")
    for each in left:
        content = kept.content(session, each)
        print(f"  {each}" + (f"  ({content})" if content else ""))


def main() -> int:
    asked = parse_options()
    try:
        session = open_session()
        print(describe(session, asked.stack), flush=True)
        undeploy(session, asked)
    except (Refused, EOFError) as refused:
        print(
            f"error: {refused if isinstance(refused, Refused) else 'nobody answers: YES=1 does not ask'}",
            file=sys.stderr,
        )
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"error: a call of AWS failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
