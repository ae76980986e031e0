"""Calls of CloudFormation, and the end of stacks that failed."""

import contextlib
import io
import tempfile
import unittest
from argparse import Namespace
from datetime import datetime
from pathlib import Path
from unittest import mock

from scripted import Aws

import deploy
import kept
import stack
import undeploy
from refused import Refused

NASTY = {
    "Zero": "0123456789",
    "Exponent": "1e5",
    "Boolean": "yes",
    "Null": "~",
    "Quoted": '"in quotes"',
    "Apostrophe": "'",
    "Json": '{"a": ["b\\"c", "d\\\\ e"]}',
    "Url": "https://x.example/?a=1&b=2#c",
    "Lines": "one\ntwo\r\n\tthree ",
    "Spaces": "  a \\ b  ",
    "Empty": "",
    "Unicode": "ü\u2028\U0001f600",
    "Yaml": "- !Ref x: # no",
}
OWN = [{"ParameterKey": name, "ParameterValue": "x"} for name in ("IngestSink", "FanoutConcurrency", "LogLevel")]
NOW = datetime(2026, 1, 1)
ID = "arn:aws:cloudformation:eu-west-1:123456789012:stack/chat/1"
CHANGE_SET = "arn:aws:cloudformation:eu-west-1:123456789012:changeSet/x/1"
TABLE, QUEUE = "chat-MessagesTable-1", "https://sqs.eu-west-1.amazonaws.com/1/chat-DeadLetterQueue.fifo"


def described(status: str, **more) -> dict:
    return {"Stacks": [{"StackName": "chat", "StackId": ID, "CreationTime": NOW, "StackStatus": status, **more}]}


def event(number: int, status: str, **more) -> dict:
    return {
        "StackId": ID,
        "EventId": str(number),
        "StackName": "chat",
        "Timestamp": NOW,
        "LogicalResourceId": "chat",
        "ResourceStatus": status,
        **more,
    }


def resource(name: str, kind: str, physical_id: str, status: str = "CREATE_COMPLETE") -> dict:
    return {
        "LogicalResourceId": name,
        "ResourceType": kind,
        "PhysicalResourceId": physical_id,
        "LastUpdatedTimestamp": NOW,
        "ResourceStatus": status,
    }


LEFT = [
    resource("Api", "AWS::ApiGatewayV2::Api", "abc", "DELETE_COMPLETE"),
    resource("ConnectionsTable", "AWS::DynamoDB::Table", "chat-ConnectionsTable-1", "DELETE_FAILED"),
    resource("MessagesTable", "AWS::DynamoDB::Table", TABLE, "DELETE_FAILED"),
    resource("DeadLetterQueue", "AWS::SQS::Queue", QUEUE, "DELETE_SKIPPED"),
    resource("RelayFailureQueue", "AWS::SQS::Queue", QUEUE, "DELETE_COMPLETE"),
]


class Quiet(unittest.TestCase):
    def setUp(self):
        self.printed = io.StringIO()
        for patch in (contextlib.redirect_stdout(self.printed), mock.patch.object(stack, "POLL_SECONDS", 0)):
            self.enterContext(patch)


class Change(Quiet):
    def change(self, aws: Aws, is_new=True, tags=None, role=None) -> bool:
        done = stack.change(
            aws.client("cloudformation"), "chat", is_new, "https://bucket/template", NASTY, tags or {}, role
        )
        aws.assert_all_asked()
        return done

    def asked(self, kind: str, **more) -> dict:
        return {
            "StackName": "chat",
            "ChangeSetName": mock.ANY,
            "ChangeSetType": kind,
            "TemplateURL": "https://bucket/template",
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in NASTY.items()],
            "Capabilities": ["CAPABILITY_IAM"],
            "Tags": [],
            **more,
        }

    def test_parameters_tags_and_role_arrive_as_they_are(self):
        tags = [{"Key": "cost centre", "Value": 'a "b" = c'}]
        role = "arn:aws:iam::123456789012:role/deployer"
        aws = (
            Aws()
            .answers(
                "cloudformation", "create_change_set", {"Id": CHANGE_SET}, self.asked("CREATE", Tags=tags, RoleARN=role)
            )
            .answers("cloudformation", "describe_change_set", {"Status": "CREATE_IN_PROGRESS"})
            .answers("cloudformation", "describe_change_set", {"Status": "CREATE_COMPLETE"})
            .answers("cloudformation", "execute_change_set", {}, {"ChangeSetName": CHANGE_SET})
            .answers("cloudformation", "describe_stacks", described("CREATE_IN_PROGRESS"))
            .answers("cloudformation", "describe_stack_events", {"StackEvents": [event(1, "CREATE_IN_PROGRESS")]})
            .answers("cloudformation", "describe_stacks", described("CREATE_COMPLETE"))
            .answers(
                "cloudformation",
                "describe_stack_events",
                {"StackEvents": [event(2, "CREATE_COMPLETE"), event(1, "CREATE_IN_PROGRESS")]},
            )
        )
        self.assertTrue(self.change(aws, tags={"cost centre": 'a "b" = c'}, role=role))
        self.assertEqual(
            [line.split()[0] for line in self.printed.getvalue().splitlines()],
            ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"],
        )

    def test_no_change_is_no_failure(self):
        reason = (
            "The submitted information didn't contain changes. Submit different information to create a change set."
        )
        aws = (
            Aws()
            .answers("cloudformation", "create_change_set", {"Id": CHANGE_SET}, self.asked("UPDATE"))
            .answers("cloudformation", "describe_change_set", {"Status": "FAILED", "StatusReason": reason})
            .answers("cloudformation", "delete_change_set", {}, {"ChangeSetName": CHANGE_SET})
        )
        self.assertFalse(self.change(aws, is_new=False))

    def test_a_refused_change_is_told(self):
        aws = (
            Aws()
            .answers("cloudformation", "create_change_set", {"Id": CHANGE_SET})
            .answers("cloudformation", "describe_change_set", {"Status": "FAILED", "StatusReason": "no right to"})
            .answers("cloudformation", "delete_change_set", {})
        )
        with self.assertRaisesRegex(Refused, "refuses the change: no right to"):
            self.change(aws)

    def test_a_failed_change_is_a_failure_and_shows_only_its_own_events(self):
        failed = event(2, "UPDATE_FAILED", ResourceStatusReason="the quota is reached")
        aws = (
            Aws()
            .answers("cloudformation", "create_change_set", {"Id": CHANGE_SET})
            .answers("cloudformation", "describe_change_set", {"Status": "CREATE_COMPLETE"})
            .answers("cloudformation", "describe_stack_events", {"StackEvents": [event(1, "CREATE_COMPLETE")]})
            .answers("cloudformation", "execute_change_set", {})
            .answers("cloudformation", "describe_stacks", described("UPDATE_ROLLBACK_COMPLETE"))
            .answers("cloudformation", "describe_stack_events", {"StackEvents": [failed, event(1, "CREATE_COMPLETE")]})
        )
        with self.assertRaisesRegex(Refused, "ended in UPDATE_ROLLBACK_COMPLETE. Everything is as it was before"):
            self.change(aws, is_new=False)
        self.assertEqual(self.printed.getvalue().split(maxsplit=2), ["UPDATE_FAILED", "chat", "the quota is reached\n"])


class Releases(unittest.TestCase):
    def test_one_differs_with_what_it_is_made_of_and_after_each_rollback(self):
        with tempfile.NamedTemporaryFile() as packaged:
            file = Path(packaged.name)

            def released(found, **values):
                return deploy.release(file, {"Release": "earlier", **values}, found)

            complete = described("UPDATE_COMPLETE", LastUpdatedTime=NOW)["Stacks"][0]
            back = [described("UPDATE_ROLLBACK_COMPLETE", LastUpdatedTime=NOW.replace(day=day)) for day in (1, 2)]
            same = [released(None, A="1"), released(complete, A="1"), released(None, A="1", Release="another")]
            self.assertEqual(len(set(same)), 1)
            others = [released(None, A="2"), *(released(stacks["Stacks"][0], A="1") for stacks in back)]
            file.write_text("another template")
            others.append(released(None, A="1"))
            self.assertEqual(len({same[0], *others}), 5)


class Finding(Quiet):
    def test_tags_of_the_stack_stay_but_for_those_of_aws(self):
        found = described("CREATE_COMPLETE", Tags=[{"Key": "team", "Value": "a"}, {"Key": "aws:x", "Value": "b"}])[
            "Stacks"
        ][0]
        self.assertEqual(stack.tags(found), {"team": "a"})
        self.assertEqual(stack.tags(None), {})

    def test_one_that_was_never_made_is_none(self):
        missing = Aws().refuses(
            "cloudformation", "describe_stacks", "ValidationError", "Stack with id chat does not exist"
        )
        looked_at = Aws().answers("cloudformation", "describe_stacks", described("REVIEW_IN_PROGRESS"))
        for aws in (missing, looked_at):
            self.assertIsNone(stack.find(aws.client("cloudformation"), "chat"))

    def test_what_cannot_be_updated_is_told(self):
        for status, told in [
            ("UPDATE_IN_PROGRESS", "when that is over"),
            ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback"),
            ("DELETE_FAILED", "make undeploy"),
        ]:
            with self.assertRaisesRegex(Refused, told):
                stack.refuse_busy(described(status)["Stacks"][0])
        stack.refuse_busy(described("UPDATE_ROLLBACK_COMPLETE")["Stacks"][0])


class FailedCreate(Quiet):
    def failed(self) -> Aws:
        return Aws().answers(
            "cloudformation", "list_stack_resources", {"StackResourceSummaries": LEFT}, {"StackName": ID}
        )

    def test_its_stack_goes_with_the_table_that_protection_kept(self):
        empty = {"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesNotVisible": "0"}
        aws = (
            self.failed()
            .answers("dynamodb", "scan", {"Count": 0}, {"TableName": TABLE, "Limit": 1, "Select": "COUNT"})
            .answers("sqs", "get_queue_attributes", {"Attributes": empty})
            .answers("cloudformation", "describe_stack_events", {"StackEvents": []})
            .answers("cloudformation", "delete_stack", {}, {"StackName": ID})
            .answers("cloudformation", "describe_stacks", described("DELETE_COMPLETE"))
            .answers("cloudformation", "describe_stack_events", {"StackEvents": []})
            .answers("dynamodb", "describe_table", {"Table": {"DeletionProtectionEnabled": True}})
            .answers("dynamodb", "update_table", {}, {"TableName": TABLE, "DeletionProtectionEnabled": False})
            .answers("dynamodb", "describe_table", {"Table": {"TableStatus": "ACTIVE"}})
            .answers("dynamodb", "delete_table", {}, {"TableName": TABLE})
            .answers("sqs", "delete_queue", {}, {"QueueUrl": QUEUE})
        )
        deploy.clear(aws, described("ROLLBACK_FAILED")["Stacks"][0], None, is_check=False)
        aws.assert_all_asked()

    def test_nothing_goes_while_there_are_messages(self):
        aws = self.failed().answers("dynamodb", "scan", {"Count": 1})
        with self.assertRaisesRegex(Refused, f"{TABLE} has messages"):
            deploy.clear(aws, described("ROLLBACK_FAILED")["Stacks"][0], None, is_check=False)

    def test_what_is_gone_already_is_no_failure(self):
        aws = Aws().refuses("dynamodb", "describe_table", "ResourceNotFoundException")
        self.assertIsNone(kept.remove(aws, kept.Kept("MessagesTable", "AWS::DynamoDB::Table", TABLE)))


class Taken(Quiet):
    def test_a_stack_of_somebody_else_is_neither_changed_nor_removed(self):
        asked = Namespace(stack="chat", arch="arm64", role_arn="", s3_bucket="", check=False)
        for status in ("CREATE_COMPLETE", "ROLLBACK_COMPLETE"):
            aws = Aws().answers("cloudformation", "describe_stacks", described(status))
            with self.assertRaisesRegex(Refused, "chat is not Roomcast's"):
                deploy.deploy(aws, asked)


class LogRole(Quiet):
    ROLE = kept.Kept("ApiGatewayLogRole", "AWS::IAM::Role", "chat-logs")

    def set_to(self, role: str) -> Aws:
        return Aws().answers("apigateway", "get_account", {"cloudwatchRoleArn": f"arn:aws:iam::1:role/{role}"})

    def removable(self, aws: Aws) -> Aws:
        policy = {"PolicyName": "p", "PolicyArn": "arn:aws:iam::aws:policy/service-role/p"}
        return (
            aws.answers("iam", "list_attached_role_policies", {"AttachedPolicies": [policy]})
            .answers("iam", "detach_role_policy", {}, {"RoleName": "chat-logs", "PolicyArn": policy["PolicyArn"]})
            .answers("iam", "delete_role", {}, {"RoleName": "chat-logs"})
        )

    def test_it_stays_while_other_apis_log_under_it(self):
        aws = self.set_to("chat-logs").answers("apigateway", "get_rest_apis", {"items": [{"id": "other"}]})
        self.assertIn("other APIs", kept.remove(aws, self.ROLE))
        aws.assert_all_asked()

    def test_the_setting_goes_with_it(self):
        patch = {"patchOperations": [{"op": "replace", "path": "/cloudwatchRoleArn", "value": ""}]}
        aws = self.set_to("chat-logs").answers("apigateway", "get_rest_apis", {"items": []})
        aws.answers("apigatewayv2", "get_apis", {"Items": []}).answers("apigateway", "update_account", {}, patch)
        self.assertIsNone(kept.remove(self.removable(aws), self.ROLE))
        aws.assert_all_asked()

    def test_a_setting_of_somebody_else_stays(self):
        aws = self.removable(self.set_to("other"))
        self.assertIsNone(kept.remove(aws, self.ROLE))
        aws.assert_all_asked()


class Undeploy(Quiet):
    def undeploy(self, aws: Aws, answer: str = "", **options) -> None:
        asked = Namespace(**{"stack": "chat", "role_arn": "", "purge": False, "yes": True, **options})
        with mock.patch("builtins.input", return_value=answer):
            undeploy.undeploy(aws, asked)
        aws.assert_all_asked()

    def standing(self, **more) -> Aws:
        found = described(**{"status": "UPDATE_COMPLETE", "Parameters": OWN, **more})
        table = resource("MessagesTable", "AWS::DynamoDB::Table", TABLE)
        return (
            Aws()
            .answers("cloudformation", "describe_stacks", found)
            .answers("cloudformation", "list_stack_resources", {"StackResourceSummaries": [table]})
            .answers("dynamodb", "scan", {"Count": 1})
        )

    def deleted(self, aws: Aws) -> Aws:
        return (
            aws.answers("cloudformation", "describe_stack_events", {"StackEvents": []})
            .answers("cloudformation", "delete_stack", {}, {"StackName": ID})
            .answers("cloudformation", "describe_stacks", described("DELETE_COMPLETE"))
            .answers("cloudformation", "describe_stack_events", {"StackEvents": []})
        )

    def test_messages_stay_and_are_named(self):
        self.undeploy(self.deleted(self.standing()))
        self.assertRegex(self.printed.getvalue(), f"Kept .*PURGE=1.*\n  MessagesTable  {TABLE}  \\(messages\\)")

    def test_a_purge_takes_them_too(self):
        aws = self.deleted(self.standing()).answers("dynamodb", "describe_table", {"Table": {}})
        self.undeploy(aws.answers("dynamodb", "delete_table", {}), purge=True)
        self.assertIn(f"deleted MessagesTable  {TABLE}", self.printed.getvalue())

    def test_a_purge_finds_what_an_earlier_time_has_left(self):
        def summary(number: int) -> dict:
            return {
                "StackId": f"{ID}{number}",
                "StackName": "chat" if number < 9 else "other",
                "CreationTime": datetime(2026, 1, number),
                "StackStatus": "DELETE_COMPLETE",
            }

        table = resource("MessagesTable", "AWS::DynamoDB::Table", TABLE, "DELETE_SKIPPED")
        aws = Aws().refuses("cloudformation", "describe_stacks", "ValidationError", "Stack with id chat does not exist")
        aws.answers("cloudformation", "list_stacks", {"StackSummaries": [summary(2), summary(3), summary(9)]})
        gone = described("DELETE_COMPLETE", Parameters=OWN)
        aws.answers("cloudformation", "describe_stacks", gone, {"StackName": f"{ID}3"})
        aws.answers(
            "cloudformation", "list_stack_resources", {"StackResourceSummaries": [table]}, {"StackName": f"{ID}3"}
        )
        aws.answers("dynamodb", "scan", {"Count": 0}).answers("dynamodb", "describe_table", {"Table": {}})
        self.undeploy(aws.answers("dynamodb", "delete_table", {}), purge=True)

    def test_a_purge_leaves_what_somebody_elses_stack_has_left(self):
        aws = Aws().refuses("cloudformation", "describe_stacks", "ValidationError", "Stack with id chat does not exist")
        summary = {
            "StackId": ID,
            "StackName": "chat",
            "CreationTime": datetime(2026, 1, 1),
            "StackStatus": "DELETE_COMPLETE",
        }
        aws.answers("cloudformation", "list_stacks", {"StackSummaries": [summary]})
        others = described("DELETE_COMPLETE", Parameters=[{"ParameterKey": "LogLevel", "ParameterValue": "info"}])
        aws.answers("cloudformation", "describe_stacks", others, {"StackName": ID})
        with self.assertRaisesRegex(Refused, "chat is not Roomcast's"):
            self.undeploy(aws, purge=True)

    def test_another_answer_than_the_name_does_nothing(self):
        for answer in ("", "y", "chats"):
            with self.assertRaisesRegex(Refused, "nothing was done"):
                self.undeploy(self.standing(), answer, yes=False)
        self.undeploy(self.deleted(self.standing()), "chat", yes=False)

    def test_a_protected_stack_is_told(self):
        aws = Aws().answers(
            "cloudformation",
            "describe_stacks",
            described("CREATE_COMPLETE", Parameters=OWN, EnableTerminationProtection=True),
        )
        with self.assertRaisesRegex(Refused, "update-termination-protection"):
            self.undeploy(aws)

    def test_a_stack_of_somebody_else_stays(self):
        others = described("CREATE_COMPLETE", Parameters=[{"ParameterKey": "LogLevel", "ParameterValue": "info"}])
        for options in ({}, {"purge": True}):
            with self.assertRaisesRegex(Refused, "chat is not Roomcast's"):
                self.undeploy(Aws().answers("cloudformation", "describe_stacks", others), **options)

    def test_one_whose_update_could_not_be_undone_can_be_deleted(self):
        self.undeploy(self.deleted(self.standing(status="UPDATE_ROLLBACK_FAILED")))

    def test_one_that_changes_stays(self):
        busy = described("UPDATE_IN_PROGRESS", Parameters=OWN)
        with self.assertRaisesRegex(Refused, "when that is over"):
            self.undeploy(Aws().answers("cloudformation", "describe_stacks", busy))

    def test_no_stack_is_told(self):
        aws = Aws().refuses("cloudformation", "describe_stacks", "ValidationError", "Stack with id chat does not exist")
        with self.assertRaisesRegex(Refused, "there is no stack chat in eu-west-1"):
            self.undeploy(aws)
        aws = Aws().refuses("cloudformation", "describe_stacks", "ValidationError", "Stack with id chat does not exist")
        with self.assertRaisesRegex(Refused, "there is no stack chat"):
            self.undeploy(aws.answers("cloudformation", "list_stacks", {"StackSummaries": []}), purge=True)
