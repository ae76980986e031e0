"""A stack in CloudFormation: finding, changing and removing it."""

import hashlib
import time

from botocore.exceptions import ClientError

from refused import Refused

# States of a stack that was never complete, so that there is nothing to update.
NEVER_COMPLETE = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED")
POLL_SECONDS = 5.0
# Parameters that only a stack of this template has.
OWN_PARAMETERS = {"IngestSink", "FanoutConcurrency"}
UNCHANGED = ("didn't contain changes", "No updates are to be performed")


def find(cloudformation, name: str) -> dict | None:
    """The stack of this name. A stack in REVIEW_IN_PROGRESS does not count: it has a change set and no resources."""
    try:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return None if stack["StackStatus"] == "REVIEW_IN_PROGRESS" else stack


def refuse_foreign(stack: dict) -> None:
    """Refuses a stack that is another project's. An update would delete all its resources, and so would a removal."""
    if not OWN_PARAMETERS.issubset(parameters(stack)):
        raise Refused(
            f"the stack {stack['StackName']} is not Roomcast's: it lacks parameters that Roomcast's have. "
            "Is it the name that you mean?"
        )


def refuse_busy(stack: dict) -> None:
    name, status = stack["StackName"], stack["StackStatus"]
    if status.endswith("_IN_PROGRESS"):
        raise Refused(f"the stack {name} is in {status}: try again when that is over")
    if status == "UPDATE_ROLLBACK_FAILED":
        raise Refused(
            f"the stack {name} is in {status}: see its events for what cannot be undone, mend that, and call "
            f"`aws cloudformation continue-update-rollback --stack-name {name}`"
        )
    if status == "DELETE_FAILED":
        raise Refused(f"the stack {name} is half deleted ({status}): finish that first with make undeploy")


def parameters(stack: dict | None) -> dict[str, str]:
    return {each["ParameterKey"]: each["ParameterValue"] for each in (stack or {}).get("Parameters", [])}


def outputs(stack: dict | None) -> dict[str, str]:
    return {each["OutputKey"]: each["OutputValue"] for each in (stack or {}).get("Outputs", [])}


def refuse_own_secret(stack: dict | None, wanted: dict[str, str]) -> None:
    """Refuses the stack's own secret as one of the user's: the stack would take it for replaced, and delete it."""
    own = None if parameters(stack).get("AuthSecretArn") else outputs(stack).get("AuthSecretArn")
    if own and wanted["AuthSecretArn"] == own:
        raise Refused(
            "AuthSecretArn names the secret that the stack has made itself, which would then be deleted. To keep its "
            "value, make a secret of your own with it, and name that one"
        )


def tags(stack: dict | None) -> dict[str, str]:
    # A stack's tags are replaced as a whole; those of AWS cannot be set.
    return {each["Key"]: each["Value"] for each in (stack or {}).get("Tags", []) if not each["Key"].startswith("aws:")}


def resources(cloudformation, name_or_id: str) -> list[dict]:
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name_or_id)
    return [resource for page in pages for resource in page["StackResourceSummaries"]]


def change(cloudformation, name: str, is_new: bool, url: str, values: dict, tags: dict, role: str | None) -> bool:
    """Creates or updates a stack and waits for it. False when there was nothing to change."""
    # No two change sets of a stack have the same name.
    distinct = hashlib.sha256(repr((url, sorted(values.items()), time.time())).encode()).hexdigest()[:16]
    asked = {
        "StackName": name,
        "ChangeSetName": f"roomcast-{distinct}",
        "ChangeSetType": "CREATE" if is_new else "UPDATE",
        "TemplateURL": url,
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
        "Capabilities": ["CAPABILITY_IAM"],
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        **({"RoleARN": role} if role else {}),
    }
    change_set = cloudformation.create_change_set(**asked)["Id"]
    done = ("CREATE_COMPLETE", "FAILED")
    while (made := cloudformation.describe_change_set(ChangeSetName=change_set))["Status"] not in done:
        time.sleep(POLL_SECONDS)
    if made["Status"] == "FAILED":
        cloudformation.delete_change_set(ChangeSetName=change_set)
        reason = made.get("StatusReason", "")
        if any(text in reason for text in UNCHANGED):
            return False
        raise Refused(f"CloudFormation refuses the change: {reason}")
    seen = set() if is_new else {event["EventId"] for event in events(cloudformation, name)}
    cloudformation.execute_change_set(ChangeSetName=change_set)
    status = wait(cloudformation, name, seen)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        if is_new:
            again = "What is left of it goes when you deploy again. "
        elif status == "UPDATE_ROLLBACK_COMPLETE":
            again = "Everything is as it was before. "
        else:
            again = ""
        raise Refused(f"the stack {name} ended in {status}. {again}The first FAILED event above says why")
    return True


def delete(cloudformation, name_or_id: str, role: str | None = None) -> None:
    """Deletes a stack and waits until it is gone."""
    seen = {event["EventId"] for event in events(cloudformation, name_or_id)}
    cloudformation.delete_stack(StackName=name_or_id, **({"RoleARN": role} if role else {}))
    status = wait(cloudformation, name_or_id, seen)
    if status != "DELETE_COMPLETE":
        raise Refused(f"the stack ended in {status}. The first FAILED event above says why; mend that and try again")


def wait(cloudformation, name_or_id: str, seen: set[str]) -> str:
    """Prints the events of a stack until it is at rest. Returns its status then."""
    while True:
        try:
            status = cloudformation.describe_stacks(StackName=name_or_id)["Stacks"][0]["StackStatus"]
        except ClientError as error:
            if "does not exist" in str(error):
                return "DELETE_COMPLETE"
            raise
        for event in reversed(events(cloudformation, name_or_id)):
            if event["EventId"] not in seen:
                seen.add(event["EventId"])
                reason = f"  {event['ResourceStatusReason']}" if "ResourceStatusReason" in event else ""
                print(f"  {event['ResourceStatus']:<28} {event['LogicalResourceId']}{reason}", flush=True)
        if not status.endswith("_IN_PROGRESS"):
            return status
        time.sleep(POLL_SECONDS)


def events(cloudformation, name_or_id: str) -> list[dict]:
    """The newest events of a stack, newest first."""
    try:
        return cloudformation.describe_stack_events(StackName=name_or_id)["StackEvents"]
    except ClientError as error:
        if "does not exist" in str(error):
            return []
        raise
