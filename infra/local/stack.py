"""Creates the CloudFormation stack from infra/template.yaml and describes it to clients in stack.json."""

import json
import time
from pathlib import Path

from emulator import REGION
from failure import Failure
from functions import BUCKET, TEMPLATE_KEY
from ports import HOST

STACK = "roomcast"
CREATE_SECONDS = 120.0
# The emulator takes the API's id from this tag, which CloudFormation hands from the stack to its resources. A known id
# is needed because the endpoint that fanout posts to, a parameter here, contains it.
API_ID = "roomcast"
API_ID_TAG = "ms-custom-id"
STAGE = "local"


def connections_endpoint(endpoint: str) -> str:
    return f"{endpoint}/_aws/execute-api/{API_ID}/{STAGE}"


def create(cloudformation, endpoint: str, parameters: dict[str, str]) -> dict[str, str]:
    """Creates the stack, waits for it and returns its outputs."""
    template = f"{endpoint}/{BUCKET}/{TEMPLATE_KEY}"
    refuse_unknown(cloudformation, template, parameters)
    cloudformation.create_stack(
        StackName=STACK,
        TemplateURL=template,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Tags=[{"Key": API_ID_TAG, "Value": API_ID}],
    )
    deadline = time.monotonic() + CREATE_SECONDS
    while time.monotonic() < deadline:
        stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
        if stack["StackStatus"] == "CREATE_COMPLETE":
            return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        if stack["StackStatus"] != "CREATE_IN_PROGRESS":
            raise Failure("\n".join([f"the stack ended in {stack['StackStatus']}:", *failed_resources(cloudformation)]))
        time.sleep(0.1)
    raise Failure(f"the stack was not complete after {CREATE_SECONDS:.0f} s")


def mend_mappings(functions) -> None:
    """Makes numbers of the mappings' bounds. The emulator has a parameter's number as a text, and fails to compare it.

    Batch and window need no mending: the emulator hands out ten records at most, without waiting for more.
    """
    for page in functions.get_paginator("list_event_source_mappings").paginate():
        for mapping in page["EventSourceMappings"]:
            if scaling := mapping.get("ScalingConfig"):
                scaling = {name: int(value) for name, value in scaling.items()}
                functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig=scaling)


def mend_tables(dynamodb, outputs: dict[str, str]) -> None:
    """Turns time to live on and makes a boolean of the tables' protection, as CloudFormation on AWS does."""
    kept = (outputs["MessagesTable"], outputs["StateTable"])
    for table in kept:
        protection = dynamodb.describe_table(TableName=table)["Table"]["DeletionProtectionEnabled"]
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=str(protection).lower() == "true")
    for table in (outputs["ConnectionsTable"], *kept, outputs["CongestionTable"]):
        specification = {"AttributeName": "expiresAt", "Enabled": True}
        dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=specification)


def refuse_unknown(cloudformation, template: str, parameters: dict[str, str]) -> None:
    """Refuses parameters that the template does not have, as AWS does. The emulator ignores them."""
    known = {entry["ParameterKey"] for entry in cloudformation.validate_template(TemplateURL=template)["Parameters"]}
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise Failure(f"infra/template.yaml has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}")


def failed_resources(cloudformation) -> list[str]:
    events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
    return [
        f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason', event['ResourceStatus'])}"
        for event in reversed(events)
        if event["ResourceStatus"].endswith("FAILED")
    ]


def describe(endpoint: str, port: int, outputs: dict[str, str], demo_url: str | None) -> dict[str, str | None]:
    """The fields of stack.json: addresses and names that a client needs."""
    return {
        "endpointUrl": endpoint,
        "region": REGION,
        "stackName": STACK,
        # The template's own URL is that of the cloud; the emulator has one host name for everything.
        "websocketUrl": f"ws://{HOST}:{port}/_aws/execute-api/{outputs['ApiId']}/{outputs['StageName']}",
        "connectionsEndpoint": outputs["ConnectionsEndpoint"],
        "connectionsTable": outputs["ConnectionsTable"],
        "messagesTable": outputs["MessagesTable"],
        "stateTable": outputs["StateTable"],
        "queueUrl": outputs["QueueUrl"],
        # None in a stack without presence and lifecycle events, or without ephemeral messages.
        "presenceQueueUrl": outputs.get("PresenceQueueUrl"),
        "ephemeralQueueUrl": outputs.get("EphemeralQueueUrl"),
        "dlqUrl": outputs["DlqUrl"],
        "eventBusName": outputs["EventBusName"],
        # None in a stack that takes only another issuer's tokens.
        "authSecretArn": outputs.get("AuthSecretArn"),
        "demoUrl": demo_url,
    }


def write_description(path: Path, description: dict[str, str | None]) -> None:
    """Writes the file in one step, so that whoever waits for it never reads half of it."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(description, indent=2) + "\n")
    partial.replace(path)
