"""An AWS emulator for a test: that of the local stack, in the Python environment of the local stack."""

import os
import subprocess
import tempfile
from pathlib import Path

import template

LOCAL = template.PROJECT / "infra/local"
PYTHON = template.PROJECT / "target/venv/local/bin/python"
# A program that runs the emulator until standard input closes.
RUN = """
import sys
from pathlib import Path
from emulator import Emulator
from ports import free_port
emulator = Emulator(Path(sys.argv[1]), free_port())
emulator.start()
print(emulator.endpoint, flush=True)
sys.stdin.read()
emulator.stop()
"""


class Emulated:
    """A running emulator, and a project folder with programs that do nothing where the template looks for them."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self.template = folder / "infra/template.yaml"
        self.template.parent.mkdir()
        self.template.write_text(template.TEMPLATE.read_text())
        for resource in template.read()["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                bootstrap = self.template.parent / resource["Properties"]["CodeUri"] / "bootstrap"
                bootstrap.parent.mkdir(parents=True, exist_ok=True)
                bootstrap.write_text("#!/bin/sh\n")
        self._process = subprocess.Popen(
            [PYTHON, "-c", RUN, str(folder)], cwd=LOCAL, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        endpoint = self._process.stdout.readline().strip()
        if not endpoint:
            raise RuntimeError("the emulator did not start: `make deploy-test` prepares its Python environment")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_CONFIG_FILE": os.devnull,
            "SAM_CLI_TELEMETRY": "0",
        }

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._folder.cleanup()
