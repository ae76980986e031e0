"""The AWS account whose credentials are in force."""

import os
from urllib.parse import urlsplit

import boto3

from refused import Refused


def open_session() -> boto3.Session:
    # The Rust and JavaScript SDKs read AWS_REGION, boto3 only AWS_DEFAULT_REGION.
    session = boto3.Session(region_name=os.environ.get("AWS_REGION"))
    if not session.region_name:
        raise Refused("no region: set AWS_REGION, or one in your AWS profile")
    return session


def describe(session, stack: str) -> str:
    account = session.client("sts").get_caller_identity()["Account"]
    return f"stack {stack} in account {account}, {session.region_name}"


def is_aws(session) -> bool:
    """Whether calls go to AWS, and not to an emulator on this machine."""
    host = urlsplit(session.client("cloudformation").meta.endpoint_url).hostname
    return host not in ("127.0.0.1", "localhost", "::1")
