"""Parameters that are refused before anything is built or created."""

import unittest

import scripted  # noqa: F401  (finds the modules)

import parameters
import template
from refused import Refused

REGION = "eu-west-1"
DEFINITIONS = template.parameters(template.read())
DEFAULTS = {name: definition["Default"] for name, definition in DEFINITIONS.items()}
CERTIFICATE = f"arn:aws:acm:{REGION}:123456789012:certificate/0a1b-2c"


class Assignments(unittest.TestCase):
    def test_values_are_what_was_meant(self):
        for text, values in [
            ("", {}),
            ("A=1 B=2", {"A": "1", "B": "2"}),
            ("A=0123 B=1e5 C=yes D=", {"A": "0123", "B": "1e5", "C": "yes", "D": ""}),
            ("""A='{"lobby": ["join"], "in:{sub}": ["join"]}'""", {"A": '{"lobby": ["join"], "in:{sub}": ["join"]}'}),
            ("A=https://x?a=1&b=$c", {"A": "https://x?a=1&b=$c"}),
            ("A='two\nlines' B=\"'\"", {"A": "two\nlines", "B": "'"}),
            (r"A='\"' B='back\slash'", {"A": r"\"", "B": r"back\slash"}),
        ]:
            self.assertEqual(parameters.assignments(text, "PARAMS"), values)

    def test_what_is_no_assignment_is_refused(self):
        for text, told in [("A", "'A' is not"), ("=1", "'=1' is not"), ("A=1 A=2", "twice"), ("A='1", "quotation")]:
            with self.assertRaisesRegex(Refused, told):
                parameters.assignments(text, "PARAMS")


class Checks(unittest.TestCase):
    def check(self, on_aws=True, **given):
        parameters.check(DEFINITIONS, {**DEFAULTS, **given}, REGION, on_aws)

    def test_the_defaults_pass(self):
        self.check()

    def test_what_fits_together_passes(self):
        self.check(
            DomainName="ws.example.com", CertificateArn=CERTIFICATE, HostedZoneId="Z123", IpAddressType="dualstack"
        )
        self.check(AuthJwksUrl="https://issuer.example/jwks", AuthIssuer="https://issuer.example", AuthAudience="chat")
        self.check(SyncMinSeconds="60", SyncMaxSeconds="60")
        self.check(FanoutTimeout="5")
        self.check(
            PresenceLeaseSeconds="60", LifecycleEvents="room,member", LifecycleRooms="chat:*,lobby", StateRooms=""
        )
        self.check(SyncMinSeconds="540", PresenceRooms="", PresenceLeaseSeconds="60")
        self.check(ConnectionsEndpoint="https://ws.example.com/live")

    def test_each_mistake_is_told(self):
        for given, told in [
            ({"SyncMinSeconds": "300", "SyncMaxSeconds": "299"}, "above SyncMaxSeconds"),
            ({"SyncMinSeconds": "31", "PresenceLeaseSeconds": "60"}, "above half of PresenceLeaseSeconds"),
            ({"PresenceRooms": "chat:*:x"}, "names of rooms"),
            ({"StateRooms": "a,,b"}, "names of rooms"),
            ({"LifecycleRooms": "a b"}, "names of rooms"),
            ({"LifecycleEvents": "member,room"}, "must be one of"),
            ({"FanoutTimeout": "5", "FanoutDeadlineReserveMs": "2501"}, "more than half of FanoutTimeout"),
            ({"FanoutTimeout": "5", "FanoutPostTimeoutMs": "3001"}, "longer than an invocation posts"),
            ({"AuthJwksUrl": "https://x/jwks", "AuthIssuer": "x"}, "AuthJwksUrl needs AuthAudience"),
            ({"AuthDefaultRooms": "{lobby: [join]}"}, "no JSON"),
            ({"AuthDefaultRooms": "[]"}, "no JSON object"),
            ({"DomainName": "ws.example.com"}, "go together"),
            ({"CertificateArn": CERTIFICATE}, "go together"),
            ({"HostedZoneId": "Z1"}, "DomainName, which is empty"),
            (
                {"DomainName": "ws.example.com", "CertificateArn": CERTIFICATE.replace(REGION, "us-east-1")},
                "of us-east-1",
            ),
            ({"KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1-2"}, "KmsKeyArn is of us-east-1"),
            ({"AccessLogs": "false", "CreateApiGatewayLogRole": "true"}, "AccessLogs=false turns off"),
            ({"RouteResponses": "false"}, "no client would get a reply"),
            ({"RequireTls": "false"}, "without TLS"),
            ({"ConnectionsEndpoint": "http://127.0.0.1:4566/x"}, "not https"),
            ({"FanoutConcurrency": "901"}, "900 at most"),
            ({"FanoutConcurrency": "0"}, "1 at least"),
            ({"FanoutConcurrency": "1e2"}, "whole number in digits"),
            ({"FanoutConcurrency": "٣"}, "whole number in digits"),
            ({"FanoutConcurrency": "many"}, "whole number in digits"),
            ({"IngestSink": "kafka"}, "must be one of 'sqs', 'eventbridge'"),
            ({"RetentionSeconds": ""}, "whole number in digits"),
            ({"AuthSecretArn": "my-secret"}, "whole ARN"),
            ({"StageName": "live\n"}, "must match"),
        ]:
            with self.subTest(given), self.assertRaisesRegex(Refused, told):
                self.check(**given)

    def test_all_mistakes_are_told_at_once(self):
        with self.assertRaisesRegex(Refused, "(?s)LogLevel.*FanoutShards"):
            self.check(FanoutShards="3", LogLevel="loud")

    def test_an_emulator_may_do_without(self):
        self.check(on_aws=False, RouteResponses="false", RequireTls="false", ConnectionsEndpoint="http://127.0.0.1:1/x")

    def test_a_parameter_that_is_none_is_refused(self):
        with self.assertRaisesRegex(Refused, "no such parameter: Fanout"):
            parameters.refuse_unknown(DEFINITIONS, {"Fanout": "1"})
