"""Promises of the template to whoever deploys it."""

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import scripted  # noqa: F401  (finds the modules)

import template

READ = template.read()
TEXT = template.TEMPLATE.read_text()
RESOURCES = READ["Resources"]


def of_type(kind: str) -> dict[str, dict]:
    return {name: resource["Properties"] for name, resource in RESOURCES.items() if resource["Type"] == kind}


class Template(unittest.TestCase):
    def test_no_function_is_of_the_folder_of_debug_binaries(self):
        build = (template.PROJECT / "infra/deploy/build").read_text()
        self.assertIn("\ncode=target/deploy/lambda\n", build)
        for name, function in of_type("AWS::Serverless::Function").items():
            self.assertRegex(function["CodeUri"], r"^\.\./target/deploy/lambda/[a-z]+/$", name)

    def test_every_role_can_have_a_boundary(self):
        roles = of_type("AWS::IAM::Role")
        self.assertGreater(len(roles), 6)
        for name, role in roles.items():
            self.assertIn("PermissionsBoundary", role, name)

    def test_every_function_can_be_traced(self):
        roles = of_type("AWS::IAM::Role").items()
        line = "ManagedPolicyArns: !If [IsTraced, [!Ref TraceRights], !Ref AWS::NoValue]"
        traced = {
            name for name, _ in roles if re.search(rf"\n  {name}:\n(?:    .*\n)*?      {re.escape(line)}\n", TEXT)
        }
        self.assertEqual(traced, {name.replace("Function", "Role") for name in of_type("AWS::Serverless::Function")})

    def test_a_record_that_kills_its_consumer_is_a_dead_letter_before_it_expires(self):
        for name in ("BroadcastQueue", "ShardQueue"):
            kept = int(of_type("AWS::SQS::Queue")[name]["MessageRetentionPeriod"])
            for timeout, of_queue in READ["Mappings"]["FanoutTimeouts"].items():
                # With longer ones the alarm for the queue's age has rung for weeks by then.
                if int(timeout) <= 120:
                    self.assertLess(1000 * int(of_queue["Visibility"]), kept, f"{name}, FanoutTimeout={timeout}")

    def test_a_release_changes_each_function_that_it_publishes(self):
        publishing = [
            name for name, function in of_type("AWS::Serverless::Function").items() if "AutoPublishAlias" in function
        ]
        self.assertEqual(TEXT.count("AutoPublishCodeSha256: !Ref Release\n"), len(publishing))
        shared_by_all = re.search(r"\nGlobals:\n(?:  .*\n)+", TEXT)[0]
        self.assertIn("\n        RELEASE: !Ref Release\n", shared_by_all)

    def test_what_is_left_behind_is_known(self):
        left = [
            "ApiGatewayLogRole",
            "ApiGatewayAccount",
            "DeadLetterQueue",
            "RelayFailureQueue",
            "MessagesTable",
            "StateTable",
        ]
        self.assertEqual(sorted(template.kept(READ)), sorted(left))
        for name in left:
            self.assertEqual(RESOURCES[name]["DeletionPolicy"], "RetainExceptOnCreate", name)

    def test_a_parameter_reaches_the_variable_that_its_description_names(self):
        named = 0
        for name, definition in READ["Parameters"].items():
            for variable in re.findall(r"\(([A-Z][A-Z0-9_]+)\)", definition["Description"]):
                self.assertTrue(re.search(rf"\n +{variable}: ", TEXT), f"{name}: no function gets {variable}")
                named += 1
        self.assertGreater(named, 30)

    def test_every_parameter_has_a_default_and_a_group(self):
        for name, definition in READ["Parameters"].items():
            self.assertIn("Default", definition, name)
        groups = READ["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        grouped = [name for group in groups for name in group["Parameters"]]
        self.assertEqual(sorted(grouped), sorted(READ["Parameters"]))


class Makefile(unittest.TestCase):
    """make and the shell have their own meaning for much of what a value may hold."""

    def test_parameters_reach_the_program_as_they_were_typed(self):
        typed = """Json='{"a": ["$HOME `id` $(shell id)"]}' Url=https://x/?a=1&b=2#c Zero=0123 Pct=%s"""
        for target in ("deploy", "local"):
            with tempfile.TemporaryDirectory() as folder:
                self.run_make(Path(folder), target, typed)

    def run_make(self, folder: Path, target: str, typed: str) -> None:
        received = folder / "received"
        # A stand-in for every step and every Python of the target, which only notes PARAMS.
        stand_in = folder / "stand-in"
        stand_in.write_text(f'#!/bin/sh\nprintf "%s" "$PARAMS" >{received}\n')
        stand_in.chmod(0o755)
        for venv in ("deploy", "local"):
            (folder / venv / "bin").mkdir(parents=True)
            (folder / venv / "bin/python").symlink_to(stand_in)
            (folder / venv / ".ready").touch()
        makefile = folder / "Makefile"
        # The target alone, without its prerequisites.
        text = (template.PROJECT / "Makefile").read_text()
        text = re.sub(rf"(?m)^({target}: )(setup|ports setup).*$", r"\1", text)
        makefile.write_text(text)
        command = ["make", "--makefile", str(makefile), target, f"PARAMS={typed}", f"STEP={stand_in}", f"VENV={folder}"]
        done = subprocess.run(command, cwd=template.PROJECT, check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(received.read_text(), typed, target)
