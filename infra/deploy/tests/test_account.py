"""Parameters that are chosen for an account."""

import contextlib
import io
import unittest

from scripted import Aws

import account
import deploy
import template
from refused import Refused

DEFAULTS = {name: definition["Default"] for name, definition in template.parameters(template.read()).items()}
ROLE = "arn:aws:iam::123456789012:role/logs"


def with_free(concurrency: int) -> Aws:
    limits = {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": concurrency}
    return Aws().answers("lambda", "get_account_settings", {"AccountLimit": limits})


def with_log_role(arn: str | None) -> Aws:
    return Aws().answers("apigateway", "get_account", {"cloudwatchRoleArn": arn} if arn else {})


class Concurrency(unittest.TestCase):
    def chosen(self, free: int, **given) -> dict[str, str]:
        return account.choose_concurrency(with_free(free), {**DEFAULTS, **given}, given)

    def test_an_account_with_the_usual_quota_keeps_the_defaults(self):
        self.assertEqual(DEFAULTS["ReserveConcurrency"], "false")
        self.assertEqual(self.chosen(1000), {})
        self.assertEqual(self.chosen(512), {})

    def test_the_mappings_of_a_smaller_one_take_half_of_what_is_free(self):
        chosen = self.chosen(400)
        self.assertEqual(set(chosen), set(account.MAPPED))
        total = sum(int(value) for value in chosen.values()) + 3 * account.FIXED
        self.assertTrue(195 <= total <= 200, chosen)

    def test_the_smallest_account_gets_the_least(self):
        for free in (10, 0):
            self.assertEqual(self.chosen(free), dict.fromkeys(account.MAPPED, "2"))

    def test_what_was_asked_for_stays(self):
        self.assertEqual(
            self.chosen(100, FanoutMaximumConcurrency="30"), {"ShardsMaximumConcurrency": "9", "RelayConcurrency": "4"}
        )

    def test_more_is_not_reserved_than_is_free(self):
        self.assertEqual(self.chosen(854, ReserveConcurrency="true"), {})
        with self.assertRaisesRegex(Refused, "reserve a concurrency of 754, and the account has 753 left"):
            self.chosen(853, ReserveConcurrency="true")

    def test_functions_that_a_stack_does_without_take_none(self):
        without = {"PresenceRooms": "", "EphemeralMaxMembers": "0", "ReserveConcurrency": "true"}
        self.assertEqual(self.chosen(850, **without), {})
        with self.assertRaises(Refused):
            self.chosen(850, **without, LifecycleRooms="chat:*")

    def test_what_a_stack_has_reserved_is_its_own(self):
        wanted = {**DEFAULTS, "ReserveConcurrency": "true"}
        account.check_reservation(with_free(100), wanted, wanted)
        with self.assertRaises(Refused):
            account.check_reservation(with_free(100), wanted, DEFAULTS)

    def test_a_stack_of_an_older_template_has_reserved_for_the_functions_that_it_has(self):
        wanted = {**DEFAULTS, "ReserveConcurrency": "true"}
        older = {name: wanted[name] for name in ("ReserveConcurrency", *account.RESERVED)}
        account.check_reservation(with_free(104), wanted, older)
        with self.assertRaises(Refused):
            account.check_reservation(with_free(103), wanted, older)


class Architecture(unittest.TestCase):
    def told(self, found: str, given: str) -> str:
        stack = {
            "Parameters": [
                {"ParameterKey": "Architecture", "ParameterValue": found},
                {"ParameterKey": "AccessLogs", "ParameterValue": "false"},
            ]
        }
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            self.assertEqual(deploy.plan(Aws(), stack, {"Architecture": given})["Architecture"], given)
        return told.getvalue()

    def test_another_one_than_the_stack_has_is_told(self):
        self.assertIn("ARCH=arm64 leaves it as it is", self.told("arm64", "x86_64"))
        self.assertEqual(self.told("arm64", "arm64"), "")


class OwnSecret(unittest.TestCase):
    ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:AuthSecret-Kx3bTn0sVJ2d-a1b2c3"

    def planned(self, before: str) -> dict[str, str]:
        found = {
            "Parameters": [
                {"ParameterKey": "AuthSecretArn", "ParameterValue": before},
                {"ParameterKey": "AccessLogs", "ParameterValue": "false"},
            ],
            "Outputs": [{"OutputKey": "AuthSecretArn", "OutputValue": self.ARN}],
        }
        return deploy.plan(Aws(), found, {"AuthSecretArn": self.ARN})

    def test_the_secret_of_the_stack_is_not_taken_for_one_of_the_users(self):
        with self.assertRaisesRegex(Refused, "would then be deleted"):
            self.planned(before="")

    def test_the_users_own_secret_stays(self):
        self.assertEqual(self.planned(before=self.ARN)["AuthSecretArn"], self.ARN)


class LogRole(unittest.TestCase):
    def chosen(self, aws: Aws, **given) -> dict[str, str]:
        chosen = account.choose_log_role(aws, {**DEFAULTS, **given}, given)
        aws.assert_all_asked()
        return chosen

    def test_a_region_without_one_gets_one(self):
        self.assertEqual(self.chosen(with_log_role(None)), {"CreateApiGatewayLogRole": "true"})

    def test_one_that_is_set_is_left_alone(self):
        role = {"Path": "/", "RoleName": "logs-of-all", "RoleId": "A" * 16, "Arn": ROLE, "CreateDate": "2026-01-01"}
        aws = with_log_role(ROLE).answers("iam", "get_role", {"Role": role}, {"RoleName": "logs"})
        self.assertEqual(self.chosen(aws), {})

    def test_one_that_is_set_but_gone_is_replaced(self):
        aws = with_log_role(ROLE).refuses("iam", "get_role", "NoSuchEntity")
        self.assertEqual(self.chosen(aws), {"CreateApiGatewayLogRole": "true"})

    def test_one_that_may_not_be_looked_at_is_taken_for_alive(self):
        self.assertEqual(self.chosen(with_log_role(ROLE).refuses("iam", "get_role", "AccessDenied")), {})

    def test_whoever_wants_none_made_is_told(self):
        with self.assertRaisesRegex(Refused, "AccessLogs=false"):
            self.chosen(with_log_role(None), CreateApiGatewayLogRole="false")

    def test_without_access_logs_none_is_needed(self):
        self.assertEqual(self.chosen(Aws(), AccessLogs="false"), {})

    def test_a_stack_that_made_one_may_do_without_access_logs(self):
        found = {"Parameters": [{"ParameterKey": "CreateApiGatewayLogRole", "ParameterValue": "true"}]}
        with contextlib.redirect_stdout(io.StringIO()):
            planned = deploy.plan(Aws(), found, {"AccessLogs": "false"})
        self.assertEqual(planned["CreateApiGatewayLogRole"], "false")
