"""AWS as a test has it answer: real clients of boto3, which check calls and answers against the services' models."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import boto3
from botocore.stub import Stubber


class Aws:
    """Stands for a session. Each service answers what it was told to, in that order, and nothing else."""

    region_name = "eu-west-1"

    def __init__(self):
        self._session = boto3.Session("key", "secret", region_name=self.region_name)
        self._clients = {}
        self._stubbers = {}

    def client(self, service: str):
        if service not in self._clients:
            self._clients[service] = self._session.client(service)
            self._stubbers[service] = Stubber(self._clients[service])
            self._stubbers[service].activate()
        return self._clients[service]

    def answers(self, service: str, operation: str, answer: dict, asked: dict | None = None) -> "Aws":
        self.client(service)
        self._stubbers[service].add_response(operation, answer, asked)
        return self

    def refuses(self, service: str, operation: str, code: str, message: str = "", asked: dict | None = None) -> "Aws":
        self.client(service)
        self._stubbers[service].add_client_error(operation, code, message, expected_params=asked)
        return self

    def assert_all_asked(self) -> None:
        for stubber in self._stubbers.values():
            stubber.assert_no_pending_responses()
