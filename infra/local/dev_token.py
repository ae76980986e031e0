"""Tokens for the local stack: a secret made at its start, and HS256 JWTs signed with it.

Run as a program it prints one token for a running stack: `make token SUB=alice`.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
import time
from pathlib import Path

SECRET_FILE = "jwt-secret"
HOURS = 8


def make_secret(state: Path) -> str:
    """A new secret in the state folder, for this user's eyes only."""
    path = state / SECRET_FILE
    path.unlink(missing_ok=True)
    secret = secrets.token_urlsafe(48)
    # The mode is set at creation, so that the file is never readable for others, not even for a moment.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)
    return secret


def mint(secret: str, subject: str, hours: float = HOURS) -> str:
    now = int(time.time())
    rooms = {"*": ["join", "send", "history", "state"]}
    claims = {"sub": subject, "iat": now, "exp": now + int(hours * 3600), "rooms": rooms}
    signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims)}"
    signature = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64url(signature)}"


def encoded(part: dict) -> str:
    return base64url(json.dumps(part, separators=(",", ":")).encode())


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def main() -> int:
    options = argparse.ArgumentParser(description="Prints a token for the local stack.")
    options.add_argument("subject", help="whom the token is for, for example alice")
    options.add_argument("--state", type=Path, default=Path("target/local"), help="the stack's folder")
    options.add_argument("--hours", type=float, default=HOURS, help="how long the token is good for")
    asked = options.parse_args()
    if not asked.subject:
        options.error("the subject is empty: make token SUB=alice")
    try:
        secret = (asked.state / SECRET_FILE).read_text()
    except FileNotFoundError:
        print(f"No local stack in {asked.state}: start one with `make local` in another terminal.", file=sys.stderr)
        return 1
    print(mint(secret, asked.subject, asked.hours))
    return 0


if __name__ == "__main__":
    sys.exit(main())
