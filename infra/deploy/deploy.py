"""Deploys what infra/deploy/build has made to the AWS account whose credentials are in force: `make deploy`.

Causes of a deployment that fails half-way, or of a function that does not start, are looked for first: parameters that
do not fit together, and limits of the account that a template cannot see. --check does only that. The SAM CLI uploads.
The change set is made here, because the SAM CLI drops quotes and backslashes of parameters, and all tags of the stack.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from botocore.exceptions import BotoCoreError, ClientError

import account
import kept
import parameters
import stack
import template
from refused import Refused
from session import describe, is_aws, open_session


def parse_options() -> argparse.Namespace:
    options = argparse.ArgumentParser(
        description="Deploys Roomcast to AWS. PARAMS and TAGS: 'Name=value ...' in the environment."
    )
    options.add_argument("--stack", required=True)
    options.add_argument("--arch", required=True)
    options.add_argument("--role-arn", default="", help="a role that CloudFormation works under")
    options.add_argument("--s3-bucket", default="", help="where the code goes; else a bucket that the SAM CLI makes")
    options.add_argument("--check", action="store_true", help="only look whether it could be done")
    return options.parse_args()


def plan(session, found: dict | None, given: dict[str, str]) -> dict[str, str]:
    """The value of every parameter: the given one, else the stack's, else what the account needs, else the default."""
    definitions = template.parameters(template.read())
    parameters.refuse_unknown(definitions, given)
    defaults = {name: definition["Default"] for name, definition in definitions.items()}
    before = {name: value for name, value in stack.parameters(found).items() if name in definitions}
    wanted = {**defaults, **before, **given}
    if wanted["AccessLogs"] != "true" and "CreateApiGatewayLogRole" not in given:
        # The role was chosen for the log, and stays for other APIs.
        wanted["CreateApiGatewayLogRole"] = "false"
    has = before.get("Architecture", wanted["Architecture"])
    if has != wanted["Architecture"]:
        print(
            f"the stack is of {has} and becomes one of {wanted['Architecture']}: ARCH={has} leaves it as it is",
            flush=True,
        )
    parameters.check(definitions, wanted, session.region_name, is_aws(session))
    stack.refuse_own_secret(found, wanted)
    if found is None:
        chosen = account.choose_concurrency(session, wanted, given)
    else:
        account.check_reservation(session, wanted, before)
        chosen = {}
    chosen |= account.choose_log_role(session, wanted, given)
    for name, value in chosen.items():
        print(f"for this account: {name}={value}", flush=True)
    return {**wanted, **chosen}


def clear(session, failed: dict, role: str | None, is_check: bool) -> None:
    """Removes a stack that was never complete, together with the resources that outlive it."""
    cloudformation = session.client("cloudformation")
    name = failed["StackName"]
    left = kept.among(stack.resources(cloudformation, failed["StackId"]), template.kept(template.read()))
    for each in left:
        if content := kept.content(session, each):
            raise Refused(
                f"the stack {name} is in {failed['StackStatus']}, but {each} has {content}: "
                "remove it with make undeploy"
            )
    if is_check:
        return
    print(f"the stack {name} is in {failed['StackStatus']}, of a first deployment that failed: removing it", flush=True)
    stack.delete(cloudformation, failed["StackId"], role)
    for each in left:
        if reason := kept.remove(session, each):
            print(f"  kept {each}: {reason}", flush=True)


def package(name: str, region: str, bucket: str, packaged: Path) -> None:
    """Uploads the functions, and writes the template that names them."""
    command = [
        str(Path(sys.executable).with_name("sam")),
        "package",
        *("--template-file", str(template.TEMPLATE)),
        *("--output-template-file", str(packaged)),
        *("--region", region),
        *("--s3-prefix", name),
        *(("--s3-bucket", bucket) if bucket else ("--resolve-s3",)),
    ]
    print("uploading the functions", flush=True)
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Refused(f"the functions could not be uploaded: {done.stdout}")


def upload(s3, name: str, packaged: Path) -> str:
    """Puts the template, which is too large for a call of CloudFormation, beside the functions. Returns its URL."""
    text = packaged.read_bytes()
    functions = yaml.load(text, template.Intrinsics)["Resources"].values()
    location = next(each["Properties"]["CodeUri"] for each in functions if each["Type"] == "AWS::Serverless::Function")
    bucket = location.removeprefix("s3://").split("/", 1)[0]
    key = f"{name}/{hashlib.sha256(text).hexdigest()[:32]}.template"
    s3.put_object(Bucket=bucket, Key=key, Body=text)
    return f"{s3.meta.endpoint_url}/{bucket}/{key}"


def release(packaged: Path, values: dict[str, str], found: dict | None) -> str:
    """A hash of the code, the template and the parameters: the functions get new versions when one of them differs.

    After an update that was rolled back it differs in any case: the functions still have the versions that it made, and
    Lambda would make no second ones of the same.
    """
    others = sorted((name, value) for name, value in values.items() if name != "Release")
    is_rolled_back = found and found["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    attempt = str(found["LastUpdatedTime"]) if is_rolled_back else ""
    return hashlib.sha256(packaged.read_bytes() + repr(others).encode() + attempt.encode()).hexdigest()[:16]


def deploy(session, asked: argparse.Namespace) -> None:
    given = parameters.assignments(os.environ.get("PARAMS", ""), "PARAMS")
    tags = parameters.assignments(os.environ.get("TAGS", ""), "TAGS")
    given["Architecture"] = asked.arch
    role = asked.role_arn or None
    cloudformation = session.client("cloudformation")
    found = stack.find(cloudformation, asked.stack)
    if found:
        stack.refuse_foreign(found)
    if found and found["StackStatus"] in stack.NEVER_COMPLETE:
        clear(session, found, role, asked.check)
        found = None
    if found:
        stack.refuse_busy(found)
    values = plan(session, found, given)
    if asked.check:
        return
    with tempfile.TemporaryDirectory() as folder:
        packaged = Path(folder) / "template.yaml"
        package(asked.stack, session.region_name, asked.s3_bucket, packaged)
        values["Release"] = release(packaged, values, found)
        url = upload(session.client("s3"), asked.stack, packaged)
    if not stack.change(cloudformation, asked.stack, found is None, url, values, stack.tags(found) | tags, role):
        print("nothing to change")
    for output in stack.find(cloudformation, asked.stack).get("Outputs", []):
        print(f"{output['OutputKey']:<26} {output['OutputValue']}")


def main() -> int:
    asked = parse_options()
    try:
        session = open_session()
        print(describe(session, asked.stack), flush=True)
        deploy(session, asked)
    except Refused as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"error: a call of AWS failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
