"""Resources that outlive their stack on purpose: messages, state, dead letters, the role for API Gateway's logs."""

from dataclasses import dataclass

from botocore.exceptions import ClientError

GONE = ("NoSuchEntity", "ResourceNotFoundException", "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


@dataclass(frozen=True)
class Kept:
    """A resource that outlives its stack."""

    name: str
    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.name}  {self.id}"


def among(resources: list[dict], names: list[str]) -> list[Kept]:
    """The resources of a stack that are kept and still there."""
    return [
        Kept(resource["LogicalResourceId"], resource["ResourceType"], resource["PhysicalResourceId"])
        for resource in resources
        if resource["LogicalResourceId"] in names
        and resource["ResourceStatus"] != "DELETE_COMPLETE"
        and resource.get("PhysicalResourceId")
    ]


def content(session, kept: Kept) -> str | None:
    """Contents that somebody might miss. None: the resource is empty or gone."""
    try:
        if kept.type == "AWS::DynamoDB::Table":
            found = session.client("dynamodb").scan(TableName=kept.id, Limit=1, Select="COUNT")
            held = "values" if kept.name == "StateTable" else "messages"
            return held if found["Count"] or "LastEvaluatedKey" in found else None
        if kept.type == "AWS::SQS::Queue":
            asked = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            found = session.client("sqs").get_queue_attributes(QueueUrl=kept.id, AttributeNames=asked)["Attributes"]
            count = sum(int(found[name]) for name in asked)
            return f"{count} messages" if count else None
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return None
        raise
    return None


def remove(session, kept: Kept) -> str | None:
    """Deletes the resource if it is still there. Returns the reason if it has to stay."""
    try:
        if kept.type == "AWS::DynamoDB::Table":
            remove_table(session.client("dynamodb"), kept.id)
        elif kept.type == "AWS::SQS::Queue":
            session.client("sqs").delete_queue(QueueUrl=kept.id)
        elif kept.type == "AWS::IAM::Role":
            return remove_log_role(session, kept.id)
    except ClientError as error:
        if error.response["Error"]["Code"] not in GONE:
            raise
    return None


def remove_table(dynamodb, table: str) -> None:
    if dynamodb.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled"):
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.get_waiter("table_exists").wait(TableName=table)
    dynamodb.delete_table(TableName=table)


def remove_log_role(session, role: str) -> str | None:
    """Takes the role from API Gateway's settings first, unless other APIs of the region log under it."""
    apigateway, iam = session.client("apigateway"), session.client("iam")
    arn = apigateway.get_account().get("cloudwatchRoleArn") or ""
    if arn.rsplit("/", 1)[-1] == role:
        if (
            apigateway.get_rest_apis(limit=1)["items"]
            or session.client("apigatewayv2").get_apis(MaxResults="1")["Items"]
        ):
            return "the region has other APIs, which log under it"
        apigateway.update_account(patchOperations=[{"op": "replace", "path": "/cloudwatchRoleArn", "value": ""}])
    for page in iam.get_paginator("list_attached_role_policies").paginate(RoleName=role):
        for policy in page["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=role, PolicyArn=policy["PolicyArn"])
    iam.delete_role(RoleName=role)
    return None
