"""The AWS emulator (MiniStack) as a child process, on loopback only."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from failure import Failure
from ports import HOST

REGION = "us-east-1"
# The emulator's root user; nothing here is a secret.
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}

START_SECONDS = 60.0
STOP_SECONDS = 15.0


class Emulator:
    """The emulator's process, and its folder `emulator`, which is removed when the process ends."""

    def __init__(
        self,
        state: Path,
        port: int,
        enforce_iam: bool = True,
        alarm_minute: float = 60.0,
        service_endpoints: dict[str, str] | None = None,
    ):
        self.port = port
        self.endpoint = f"http://{HOST}:{port}"
        self.log = state / "emulator.log"
        self._work = state / "emulator"
        self._enforce_iam = enforce_iam
        self._alarm_minute = alarm_minute
        self._service_endpoints = service_endpoints or {}
        self._keeper: subprocess.Popen | None = None

    def start(self) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        for folder in ("home", "tmp", "state", "s3"):
            (self._work / folder).mkdir(parents=True)
        keeper = Path(__file__).with_name("keeper.py")
        # MiniStack, and the parts of CloudWatch that it lacks.
        ministack = Path(__file__).with_name("metrics.py")
        if importlib.util.find_spec("ministack") is None:
            raise Failure("MiniStack is missing: run this through make, which prepares the Python environment")
        with self.log.open("wb") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, str(keeper), sys.executable, str(ministack)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        self._wait_until_healthy()

    def _environment(self) -> dict[str, str]:
        # Functions inherit this environment. The caller's profile, proxies and real credentials stay out of it.
        work = self._work.resolve()
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(work / "home"),
            "TMPDIR": str(work / "tmp"),
            "STATE_DIR": str(work / "state"),
            "S3_DATA_DIR": str(work / "s3"),
            "BIND_HOST": HOST,
            "MINISTACK_HOST": HOST,
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            # Functions on provided.al2023 get no endpoint from the emulator itself, and would call AWS.
            "AWS_ENDPOINT_URL": self.endpoint,
            # An endpoint of one service takes precedence over the one above.
            **{f"AWS_ENDPOINT_URL_{service}": url for service, url in self._service_endpoints.items()},
            "AWS_EC2_METADATA_DISABLED": "true",
            # The MQTT listener would bind every address, not only loopback.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LAMBDA_EXECUTOR": "local",
            "LOG_LEVEL": "INFO",
            "AUTH": "true" if self._enforce_iam else "false",
            "ALARM_MINUTE_SECONDS": str(self._alarm_minute),
        }

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < deadline:
            self.check_alive()
            try:
                with opener.open(f"{self.endpoint}/_ministack/health", timeout=2) as reply:
                    json.load(reply)
                    return
            except (urllib.error.URLError, OSError, ValueError):
                time.sleep(0.05)
        raise Failure(f"the emulator did not answer within {START_SECONDS:.0f} s, see {self.log}")

    def check_alive(self) -> None:
        """Raises when the emulator has ended by itself."""
        if self._keeper is not None and self._keeper.poll() is not None:
            tail = self.log.read_text(errors="replace").splitlines()[-15:]
            raise Failure("\n".join([f"the emulator ended unexpectedly; the end of {self.log}:", *tail]))

    def stop(self) -> None:
        if self._keeper is None:
            return
        self._keeper.stdin.close()
        try:
            self._keeper.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self._keeper = None
        shutil.rmtree(self._work, ignore_errors=True)
