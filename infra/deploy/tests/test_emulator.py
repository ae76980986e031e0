"""The way of a deployment from the command line to the stack, on the emulator of the local stack."""

import contextlib
import io
import os
import shlex
import unittest
from pathlib import Path
from unittest import mock

import boto3
from botocore.exceptions import ClientError

import scripted  # noqa: F401  (finds the modules)

import deploy
import stack
import template
import undeploy
from emulated import Emulated

LOCAL = {"RouteResponses": "false", "RequireTls": "false", "ConnectionsEndpoint": "http://127.0.0.1:1/x"}


class OnTheEmulator(unittest.TestCase):
    really_package = staticmethod(deploy.package)
    packaged: str | None = None

    @classmethod
    def setUpClass(cls):
        emulated = Emulated()
        cls.addClassCleanup(emulated.stop)
        cls.enterClassContext(mock.patch.dict(os.environ, emulated.environment, clear=True))
        cls.enterClassContext(mock.patch.object(template, "TEMPLATE", emulated.template))
        cls.enterClassContext(mock.patch.object(stack, "POLL_SECONDS", 0.1))
        cls.cloudformation = boto3.client("cloudformation", "us-east-1")

    def setUp(self):
        # The role that a stack makes outlives it.
        no_role = [{"op": "replace", "path": "/cloudwatchRoleArn", "value": ""}]
        boto3.client("apigateway", "us-east-1").update_account(patchOperations=no_role)

    def run_program(self, program, *options: str, tags: str = "", **values: str) -> str:
        """Runs the program as make does. Returns its output, the reason of a failure first."""
        said, failed = io.StringIO(), io.StringIO()
        environment = {
            "PARAMS": " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items()),
            "TAGS": tags,
        }
        with (
            mock.patch.dict(os.environ, environment),
            mock.patch("sys.argv", ["program", *options]),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(failed),
        ):
            code = program.main()
        self.assertEqual(bool(code), bool(failed.getvalue()), said.getvalue())
        return failed.getvalue() or said.getvalue()

    def deploy(self, name: str, **more) -> str:
        with mock.patch.object(deploy, "package", self.package):
            return self.run_program(deploy, "--stack", name, "--arch", "arm64", **more)

    @classmethod
    def package(cls, name: str, region: str, bucket: str, packaged: Path) -> None:
        """The SAM CLI's work, which takes seconds, is done once for all stacks."""
        if cls.packaged is None:
            cls.really_package(name, region, bucket, packaged)
            cls.packaged = packaged.read_text()
        packaged.write_text(cls.packaged)

    def found(self, name: str) -> dict:
        return stack.find(self.cloudformation, name)

    def test_a_stack_from_its_first_day_to_its_last(self):
        nasty = {
            "AuthIssuer": "0123456789",
            "AuthAudience": '1e5 \\ "quoted" & $HOME\nand a line',
            "AuthDefaultRooms": '{"a\\"b": ["join"], "in:{sub}": ["join"]}',
            "AllowedOrigins": "",
            "LogLevel": "off",
        }
        self.deploy("life", tags="team='a \"b\" = c'", **LOCAL, **nasty)
        values = stack.parameters(self.found("life"))
        self.assertEqual({name: values[name] for name in nasty}, nasty)
        self.assertEqual(values["Architecture"], "arm64")
        self.assertEqual(values["CreateApiGatewayLogRole"], "true", "the emulator's region has no role")
        self.assertTrue(values["Release"])
        self.assertIn("nothing to change", self.deploy("life"))

        self.deploy("life", tags="cost=7", FanoutConcurrency="65")
        changed = stack.parameters(self.found("life"))
        self.assertNotEqual(changed.pop("Release"), values.pop("Release"))
        self.assertEqual(changed, {**values, "FanoutConcurrency": "65"})
        self.assertEqual(stack.tags(self.found("life")), {"team": 'a "b" = c', "cost": "7"})

        tables = boto3.client("dynamodb", "us-east-1")
        table = next(
            output["OutputValue"] for output in self.found("life")["Outputs"] if output["OutputKey"] == "MessagesTable"
        )
        self.assertTrue(tables.describe_table(TableName=table)["Table"]["DeletionProtectionEnabled"])
        said = self.run_program(undeploy, "--stack", "life", "--yes", "--purge")
        self.assertIn(f"deleted MessagesTable  {table}", said)
        self.assertIn("deleted StateTable  ", said)
        self.assertIsNone(self.found("life"))
        with self.assertRaises(ClientError):
            tables.describe_table(TableName=table)

    def test_routes_and_queues_call_the_alias_of_a_gradual_deployment_and_the_function_of_others(self):
        for values, calls_alias in [
            (LOCAL, False),
            ({"GradualDeployment": "AllAtOnce"}, True),
            ({"GradualDeployment": "off"}, False),
        ]:
            self.deploy("gradual", **values)
            called = self.called("gradual")
            self.assertEqual(len(called), 9, called)
            self.assertEqual({arn.endswith(":live") for arn in called}, {calls_alias}, called)

    def called(self, name: str) -> list[str]:
        """The ARNs that the mappings, the integrations and the authorizer of a stack call."""
        mappings = boto3.client("lambda", "us-east-1").list_event_source_mappings()["EventSourceMappings"]
        api = next(output["OutputValue"] for output in self.found(name)["Outputs"] if output["OutputKey"] == "ApiId")
        apis = boto3.client("apigatewayv2", "us-east-1")
        uris = [each["IntegrationUri"] for each in apis.get_integrations(ApiId=api)["Items"]]
        uris += [each["AuthorizerUri"] for each in apis.get_authorizers(ApiId=api)["Items"]]
        arns = [each["FunctionArn"] for each in mappings if f":function:{name}-" in each["FunctionArn"]]
        return arns + [uri.split("/functions/")[1].removesuffix("/invocations") for uri in uris]

    def test_clients_connect_to_a_domain_of_ones_own(self):
        domain = "ws.example.com"
        certificate = boto3.client("acm", "us-east-1").request_certificate(DomainName=domain)["CertificateArn"]
        zones = boto3.client("route53", "us-east-1")
        zone = zones.create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"].split("/")[-1]
        own = {"DomainName": domain, "CertificateArn": certificate, "HostedZoneId": zone, "IpAddressType": "dualstack"}
        self.deploy("domain", **LOCAL, **own)
        outputs = {output["OutputKey"]: output["OutputValue"] for output in self.found("domain")["Outputs"]}
        self.assertEqual(outputs["WebsocketUrl"], f"wss://{domain}")
        apis = boto3.client("apigatewayv2", "us-east-1")
        (mapping,) = apis.get_api_mappings(DomainName=domain)["Items"]
        self.assertEqual((mapping["ApiId"], mapping["Stage"]), (outputs["ApiId"], "live"))
        records = zones.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        own_records = {
            each["Type"]: each["AliasTarget"]["DNSName"] for each in records if each["Name"].startswith(domain)
        }
        self.assertEqual(set(own_records), {"A", "AAAA"})
        self.assertTrue(all(name.startswith(outputs["DomainTarget"]) for name in own_records.values()), own_records)

    def test_without_a_purge_messages_stay(self):
        self.deploy("stay", **LOCAL)
        self.run_program(undeploy, "--stack", "stay", "--yes")
        tables = boto3.client("dynamodb", "us-east-1").list_tables()["TableNames"]
        left = sorted(name.split("-")[1] for name in tables if name.startswith("stay-"))
        self.assertEqual(left, ["MessagesTable", "StateTable"])
        self.assertIn("there is no stack stay", self.run_program(undeploy, "--stack", "stay", "--yes"))

    def test_a_first_deployment_that_failed_can_be_done_again(self):
        events = boto3.client("events", "us-east-1")
        events.create_event_bus(Name="again")
        self.assertIn("ended in ROLLBACK_COMPLETE", self.deploy("again", **LOCAL))
        events.delete_event_bus(Name="again")
        self.assertIn("of a first deployment that failed", self.deploy("again", **LOCAL))
        self.assertEqual(self.found("again")["StackStatus"], "CREATE_COMPLETE")

    def test_a_look_makes_nothing(self):
        said = self.run_program(deploy, "--stack", "look", "--arch", "arm64", "--check", **LOCAL)
        self.assertIn("CreateApiGatewayLogRole=true", said)
        self.assertIsNone(self.found("look"))

    def test_what_was_not_built_is_told(self):
        code = template.TEMPLATE.parent.parent / "target/deploy/lambda/relay"
        code.rename(code.with_name("elsewhere"))
        self.addCleanup(code.with_name("elsewhere").rename, code)
        said = self.run_program(deploy, "--stack", "unbuilt", "--arch", "arm64", **LOCAL)
        self.assertRegex(said, r"(?s)could not be uploaded.*lambda/relay")
        self.assertIsNone(self.found("unbuilt"))

    def test_the_templates_own_rules_refuse(self):
        jwks = {"AuthJwksUrl": "https://issuer.example/jwks"}
        for values, told in [
            ({**LOCAL, **jwks, "AuthIssuer": "x"}, "AuthJwksUrl needs"),
            ({**LOCAL, **jwks, "AuthAudience": "x"}, "AuthJwksUrl needs"),
            ({**LOCAL, "DomainName": "ws.example.com"}, "go together"),
            ({**LOCAL, "CertificateArn": "arn:aws:acm:us-east-1:1:certificate/1"}, "go together"),
            ({**LOCAL, "HostedZoneId": "Z1"}, "record of DomainName"),
            ({"RouteResponses": "false"}, "on an emulator alone"),
            ({"RequireTls": "false"}, "on an emulator alone"),
            ({**LOCAL, "AccessLogs": "false", "CreateApiGatewayLogRole": "true"}, "AccessLogs turns off"),
            ({**LOCAL, "GradualDeployment": "AllAtOnce"}, "needs a Release"),
        ]:
            with self.subTest(values), self.assertRaisesRegex(ClientError, told):
                self.cloudformation.create_stack(
                    StackName="refused",
                    TemplateBody=template.TEMPLATE.read_text(),
                    Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
                    Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
                )
