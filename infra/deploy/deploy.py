"""Deploys what infra/deploy/build has made to the AWS account whose credentials are in force.

`make deploy` calls both. Looks first at what makes a deployment fail half-way: settings of the account that a template
cannot see. The rest is the SAM CLI's: upload, change set, events, rollback.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

TEMPLATE = Path(__file__).resolve().parents[2] / "target/deploy/infra/template.yaml"
RESERVED = (
    "MessageConcurrency",
    "SessionConcurrency",
    "AuthorizerConcurrency",
    "RelayConcurrency",
    "FanoutMaximumConcurrency",
)
# Lambda keeps this much of an account's concurrency unreserved.
UNRESERVED = 100


class Refused(Exception):
    """What would make the deployment fail, and what to do about it."""


def parse_options() -> tuple[str, dict[str, str]]:
    options = argparse.ArgumentParser(description="Deploys Roomcast to AWS.")
    options.add_argument("--stack", required=True)
    options.add_argument("--arch", required=True)
    options.add_argument("parameters", nargs="*", metavar="NAME=VALUE")
    asked = options.parse_args()
    parameters = {}
    for text in asked.parameters:
        name, separator, value = text.partition("=")
        if not (name and separator):
            options.error(f"{text!r} is not NAME=VALUE")
        parameters[name] = value
    parameters["Architecture"] = asked.arch
    return asked.stack, parameters


class Intrinsics(yaml.SafeLoader):
    """Reads a template without minding !Ref and the like."""


Intrinsics.add_multi_constructor("!", lambda *_: None)


def defaults() -> dict[str, object]:
    template = yaml.load(TEMPLATE.read_text(), Intrinsics)
    return {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}


def current(session, stack: str) -> dict[str, str] | None:
    """The parameters of the stack as it is, None if there is none: those that are not given stay as they are."""
    try:
        found = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in found.get("Parameters", [])}


def check(session, before: dict[str, str] | None, parameters: dict[str, str]) -> None:
    known = defaults()
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise Refused(f"no such parameter: {', '.join(unknown)}; infra/template.yaml has {', '.join(sorted(known))}")
    wanted = {**known, **(before or {}), **parameters}
    check_tokens(wanted)
    if before is None:
        check_concurrency(session, wanted)
    check_log_role(session, wanted)


def check_tokens(wanted: dict) -> None:
    """What the authorizer would not start with."""
    missing = [name for name in ("AuthIssuer", "AuthAudience") if not wanted[name]]
    if wanted["AuthJwksUrl"] and missing:
        raise Refused(f"AuthJwksUrl needs {', '.join(missing)}: tokens of the issuer's other applications would be let in")
    try:
        json.loads(wanted["AuthDefaultRooms"])
    except ValueError as error:
        raise Refused(f"AuthDefaultRooms is no JSON (in PARAMS it must be quoted once more): {error}") from None


def check_concurrency(session, wanted: dict) -> None:
    if wanted["ReserveConcurrency"] != "true":
        return
    reserved = sum(int(wanted[name]) for name in RESERVED)
    free = session.client("lambda").get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    if reserved + UNRESERVED > free:
        raise Refused(
            f"the functions reserve a concurrency of {reserved}, and the account has {max(0, free - UNRESERVED)} left "
            f"to reserve. Lower {', '.join(RESERVED)}, ask AWS for a higher quota, or, for a trial only, let the "
            'functions compete for the account\'s: PARAMS="ReserveConcurrency=false"'
        )


def check_log_role(session, wanted: dict) -> None:
    if wanted["AccessLogs"] != "true" or wanted["CreateApiGatewayLogRole"] == "true":
        return
    if not session.client("apigateway").get_account().get("cloudwatchRoleArn"):
        raise Refused(
            "API Gateway has no role for writing logs in this account and region, and would refuse the access log. "
            'Have one made: PARAMS="CreateApiGatewayLogRole=true", or do without: PARAMS="AccessLogs=false"'
        )


def deploy(stack: str, region: str, parameters: dict[str, str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        # In a file (of ours alone, mkdtemp sees to that): arguments can be read by every user of the machine.
        overrides = Path(folder) / "parameters.yaml"
        overrides.write_text(yaml.safe_dump(parameters))
        return subprocess.run(
            [
                str(Path(sys.executable).with_name("sam")),
                "deploy",
                *("--template-file", str(TEMPLATE)),
                *("--stack-name", stack),
                *("--region", region),
                *("--capabilities", "CAPABILITY_IAM"),
                *("--parameter-overrides", f"file://{overrides}"),
                "--resolve-s3",
                "--no-confirm-changeset",
                "--no-fail-on-empty-changeset",
            ],
            check=False,
        ).returncode


def main() -> int:
    stack, parameters = parse_options()
    try:
        # The Rust and JavaScript SDKs read AWS_REGION, boto3 only AWS_DEFAULT_REGION.
        session = boto3.Session(region_name=os.environ.get("AWS_REGION"))
        if not session.region_name:
            raise Refused("no region: set AWS_REGION, or one in your AWS profile")
        account = session.client("sts").get_caller_identity()["Account"]
        print(f"stack {stack} in account {account}, {session.region_name}", flush=True)
        check(session, current(session, stack), parameters)
    except Refused as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"error: AWS could not be asked: {error}", file=sys.stderr)
        return 1
    return deploy(stack, session.region_name, parameters)


if __name__ == "__main__":
    sys.exit(main())
