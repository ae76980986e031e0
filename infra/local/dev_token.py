"""Tokens for the local stack: HS256 JWTs signed with the stack's secret, which is in the emulator's Secrets Manager.

Run as a program it prints one token for a running stack:

    make token SUB=alice ROOMS='{"chat:*": ["join", "send"]}' TTL=60
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import re
import sys
import time
import unicodedata
from pathlib import Path

import boto3

from emulator import CREDENTIALS

RIGHTS = ("join", "send", "history", "state")
ALL_ROOMS = {"*": list(RIGHTS)}
PATTERN = re.compile(r"[A-Za-z0-9_.:-]{1,100}\*?|\*")
# The functions' own bound, SUBJECT_BYTES of shared/src/limits.rs.
SUBJECT_BYTES = 256
# Eight hours: a day's work.
SECONDS = 28_800


def read_secret(secrets, arn: str) -> bytes:
    """The stack's secret as it is now. It is read for each token, because it may be rotated while the stack runs."""
    version = secrets.get_secret_value(SecretId=arn)
    return version["SecretBinary"] if "SecretBinary" in version else version["SecretString"].encode()


def mint(secret: bytes, subject: str, rooms: dict = ALL_ROOMS, seconds: int = SECONDS) -> str:
    now = int(time.time())
    claims = {"sub": subject, "iat": now, "exp": now + seconds, "rooms": rooms}
    signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims)}"
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64url(signature)}"


def encoded(part: dict) -> str:
    return base64url(json.dumps(part, separators=(",", ":")).encode())


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def subject_of(text: str) -> str:
    """Refuses a subject that the authorizer would refuse, and says why, which the authorizer does not."""
    if not 0 < len(text.encode()) <= SUBJECT_BYTES or any(unicodedata.category(char) == "Cc" for char in text):
        raise argparse.ArgumentTypeError(f"SUB must have 1 to {SUBJECT_BYTES} bytes and no control characters")
    return text


def once(pairs: list) -> dict:
    """An object that has no field twice."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError("ROOMS has a pattern twice")
    return dict(pairs)


def rooms_of(text: str) -> dict:
    """Refuses rights that the authorizer would refuse, and says why."""
    try:
        rooms = json.loads(text, object_pairs_hook=once)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"ROOMS is not JSON: {error}") from None
    if not isinstance(rooms, dict):
        raise argparse.ArgumentTypeError("ROOMS is not a JSON object")
    for pattern, rights in rooms.items():
        if not PATTERN.fullmatch(pattern):
            raise argparse.ArgumentTypeError(f"ROOMS: {pattern!r} names no rooms; a * stands at the end only")
        if not isinstance(rights, list) or not all(right in RIGHTS for right in rights):
            raise argparse.ArgumentTypeError(f"ROOMS: {pattern!r} must have a list of {', '.join(RIGHTS)}")
    return rooms


def seconds_of(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"TTL must be a number of seconds, is {text!r}")
    return int(text)


def main() -> int:
    # make puts these into the environment: on a command line the shell would read quotes and dollars in them.
    asked_by_make = {name: os.environ.get(name) or None for name in ("SUB", "ROOMS", "TTL")}
    options = argparse.ArgumentParser(description="Prints a token for the local stack.")
    options.add_argument(
        "subject", nargs="?", type=subject_of, default=asked_by_make["SUB"], help="whom it is for, for example alice"
    )
    options.add_argument(
        "--rooms", type=rooms_of, default=asked_by_make["ROOMS"], help="rights by room; all in all rooms"
    )
    options.add_argument("--ttl", type=seconds_of, default=asked_by_make["TTL"], help="seconds until it expires")
    options.add_argument("--state", type=Path, default=Path("target/local"), help="the stack's folder")
    asked = options.parse_args()
    if not asked.subject:
        options.error("the subject is missing: make token SUB=alice")
    try:
        stack = json.loads((asked.state / "stack.json").read_text())
    except FileNotFoundError:
        print(f"No local stack in {asked.state}: start one with `make local` in another terminal.", file=sys.stderr)
        return 1
    if stack["authSecretArn"] is None:
        print("This stack takes no tokens but those of its issuer (AuthJwksUrl).", file=sys.stderr)
        return 1
    session = boto3.Session(region_name=stack["region"], **CREDENTIALS)
    secrets = session.client("secretsmanager", endpoint_url=stack["endpointUrl"])
    rooms = ALL_ROOMS if asked.rooms is None else asked.rooms
    print(mint(read_secret(secrets, stack["authSecretArn"]), asked.subject, rooms, asked.ttl or SECONDS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
