"""Runs the whole of Roomcast on this machine: emulator, stack, demo page. `make local` calls it, and so do the tests.

Progress goes to standard output, one line a step. When everything is up, <state>/stack.json exists and the line
`stack ready: <path of stack.json>` is printed. The stack runs until Ctrl-C, SIGTERM or SIGHUP (or, with
--exit-on-stdin-eof, until standard input closes) and leaves no process behind. Exit code 0 = stopped when asked to,
1 = could not start or broke down (the reason is on standard error), 2 = wrong options.
"""

import argparse
import fcntl
import json
import os
import platform
import shlex
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from secrets import token_urlsafe

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

import functions
import stack
from demo import Demo
from dev_token import read_secret
from emulator import CREDENTIALS, REGION, Emulator
from failure import Failure
from ports import HOST, free_port, is_taken, taken
from prices import Prices

PROJECT = Path(__file__).resolve().parents[2]
CHECK_SECONDS = 0.5
STARTED = time.monotonic()


class Stopped(BaseException):
    """The wish that the stack ends. No Exception, like KeyboardInterrupt, because libraries catch and wrap those."""


def say(line: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.1f} s] {line}", flush=True)


def parse_options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description="Runs Roomcast on this machine, on loopback only.")
    options.add_argument("--state", type=Path, default=PROJECT / "target/local", help="folder for all that it writes")
    options.add_argument("--port", type=int, default=4566, help="the emulator's port; 0 = any free one")
    options.add_argument("--demo-port", type=int, default=8080, help="the demo page's port; 0 = any free one")
    options.add_argument("--no-demo", dest="demo", action="store_false", help="no demo page and no price producer")
    options.add_argument("--code", type=Path, default=PROJECT / "target/lambda", help="folder of */bootstrap")
    options.add_argument(
        "--param",
        action="append",
        default=[],
        type=parameter,
        metavar="NAME=VALUE",
        help="a parameter of infra/template.yaml; may be repeated, and stands above PARAMS='Name=value ...' "
        "in the environment",
    )
    options.add_argument(
        "--auth",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="enforce the IAM policies of the functions' roles",
    )
    options.add_argument(
        "--service-endpoint",
        action="append",
        default=[],
        type=parameter,
        metavar="SERVICE=URL",
        help="where the functions call a service, such as DYNAMODB, that something stands in front of; may be repeated",
    )
    options.add_argument(
        "--own-secret", action="store_true", help="make the secret of tokens before the stack (AuthSecretArn)"
    )
    options.add_argument(
        "--alarm-minute",
        type=float,
        default=60,
        metavar="SECONDS",
        help="how long a minute of an alarm's period is, for who cannot wait",
    )
    options.add_argument("--exit-on-stdin-eof", action="store_true", help="stop when standard input closes")
    asked = options.parse_args()
    try:
        asked.param = [parameter(word) for word in shlex.split(os.environ.get("PARAMS", ""))] + asked.param
    except (ValueError, argparse.ArgumentTypeError) as error:
        options.error(f"PARAMS: {error}")
    return asked


def parameter(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def stop_on_signals() -> None:
    def stop(*_) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # A second Ctrl-C must not cut the clean-up short.
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def stop_on_stdin_eof() -> None:
    def watch() -> None:
        # The descriptor, not sys.stdin: a buffered reader blocked in a thread would deadlock the interpreter's exit.
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stdin", daemon=True).start()


def forget_the_callers_aws() -> None:
    """The caller's profile, credentials and proxies are for the real AWS; nothing here may reach it."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


def run(options: argparse.Namespace, cleanup: ExitStack) -> None:
    state = options.state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    lock(state, cleanup)
    description_file = state / "stack.json"
    description_file.unlink(missing_ok=True)
    cleanup.callback(description_file.unlink, missing_ok=True)

    port = chosen_port("PORT", options.port)
    demo = None
    if options.demo:
        demo_port = chosen_port("DEMO_PORT", options.demo_port)
        demo = Demo(PROJECT / "client/demo/dist", demo_port)
        cleanup.callback(demo.stop)

    say(f"emulator: starting on {HOST}:{port}")
    emulator = Emulator(state, port, options.auth, options.alarm_minute, dict(options.service_endpoint))
    cleanup.callback(emulator.stop)
    emulator.start()

    session = boto3.Session(region_name=REGION, **CREDENTIALS)

    def client(service: str):
        return session.client(service, endpoint_url=emulator.endpoint, config=Config(retries={"total_max_attempts": 2}))

    say("functions: uploading")
    names, size = functions.upload(client("s3"), PROJECT / "infra/template.yaml", options.code)
    say(f"functions: {', '.join(names)} ({size / 1e6:.0f} MB)")

    say("stack: creating from infra/template.yaml")
    parameters = {
        "StageName": stack.STAGE,
        # The emulator refuses the type AWS::ApiGatewayV2::RouteResponse, and sends replies without.
        "RouteResponses": "false",
        # The emulator speaks no TLS.
        "RequireTls": "false",
        "ConnectionsEndpoint": stack.connections_endpoint(emulator.endpoint),
        "Architecture": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
        **dict(options.param),
    }
    secrets_manager = client("secretsmanager")
    if options.own_secret:
        secret = secrets_manager.create_secret(Name="own-secret", SecretString=token_urlsafe(48))
        parameters["AuthSecretArn"] = secret["ARN"]
    outputs = stack.create(client("cloudformation"), emulator.endpoint, parameters)
    stack.mend_mappings(client("lambda"))
    stack.mend_tables(client("dynamodb"), outputs)
    description = stack.describe(emulator.endpoint, port, outputs, demo.url if demo else None)
    if demo:
        arn = description["authSecretArn"]
        secret = None if arn is None else lambda: read_secret(secrets_manager, arn)
        demo.start(description["websocketUrl"], secret)
        prices = Prices(client("events"), description["eventBusName"], say)
        prices.start()
        cleanup.callback(prices.stop)
    stack.write_description(description_file, description)
    say("stack: complete")
    print(f"stack ready: {description_file}", flush=True)
    if demo:
        print(instructions(description, state), flush=True)
    while True:
        emulator.check_alive()
        time.sleep(CHECK_SECONDS)


def lock(state: Path, cleanup: ExitStack) -> None:
    file = cleanup.enter_context((state / "lock").open("w"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failure(f"a local stack is running in {state} already: stop it, or choose another folder") from None


def chosen_port(variable: str, port: int) -> int:
    if port == 0:
        return free_port()
    if is_taken(port):
        raise Failure(taken(variable, port))
    return port


def instructions(description: dict, state: Path) -> str:
    shown = os.path.relpath(state)
    entry = {
        "EventBusName": description["eventBusName"],
        "Source": "me",
        "DetailType": "roomcast.message",
        "Detail": json.dumps({"roomId": "presence:lobby", "data": {"text": "hello"}}),
    }
    return f"""
Roomcast is running on this machine.

  demo page   {description["demoUrl"]}
  WebSocket   {description["websocketUrl"]}?token=...
  all of it   {shown}/stack.json
  its log     {shown}/emulator.log

Try:
  - Open the demo page in two tabs and send a message.
  - Watch the room `prices`: a producer puts three events a second on the event bus.
  - make token SUB=alice       prints a token, for a WebSocket client of your own (in another terminal)
  - Put an event yourself, with the AWS CLI:
      AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test \\
      aws --region {description["region"]} --endpoint-url {description["endpointUrl"]} events put-events --entries \\
      '{json.dumps([entry])}'

Ctrl-C stops everything.
"""


def main() -> int:
    options = parse_options()
    stop_on_signals()
    if options.exit_on_stdin_eof:
        stop_on_stdin_eof()
    forget_the_callers_aws()
    try:
        with ExitStack() as cleanup:
            try:
                run(options, cleanup)
            except Stopped:
                say("stopping")
                raise
    except Stopped:
        say("stopped")
        return 0
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr, flush=True)
    except (BotoCoreError, ClientError) as error:
        print(f"error: the emulator refused a call: {error}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
