//! The faults, and the table of them.

use std::fmt::Write;
use std::path::Path;

use super::Row;

pub(super) struct Fault {
    /// The name of the fault, for the table.
    pub(super) name: &'static str,
    /// The way in which it is caused.
    pub(super) cause: Cause,
    /// The area in which `doctor` finds it.
    pub(super) area: &'static str,
    /// The subject of the finding.
    pub(super) subject: &'static str,
    /// A part of the finding's text.
    pub(super) says: &'static str,
    /// The words of `roomcast` that mend it when the remedy is to look first.
    pub(super) by_hand: &'static str,
}

pub(super) enum Cause {
    /// Commands of the AWS CLI.
    Commands(&'static [&'static str]),
    /// A variable of a function, with its wrong value.
    Variable(&'static str, &'static str, &'static str),
    /// This many dead letters.
    Letters(usize),
}

const fn fault(
    name: &'static str,
    cause: &'static [&'static str],
    area: &'static str,
    subject: &'static str,
    says: &'static str,
) -> Fault {
    Fault { name, cause: Cause::Commands(cause), area, subject, says, by_hand: "" }
}

pub(super) const FAULTS: &[Fault] = &[
    fault(
        "A function's permissions are taken away",
        &["iam delete-role-policy --role-name {FanoutRole} --policy-name fanout"],
        "permissions",
        "FanoutRole",
        "may not",
    ),
    fault(
        "Nobody may publish who is in a room",
        &["iam delete-role-policy --role-name {PresenceRole} --policy-name presence"],
        "permissions",
        "PresenceRole",
        "may not",
    ),
    fault(
        "A queue is not read",
        &["lambda update-event-source-mapping --uuid {mapping BroadcastQueue} --no-enabled"],
        "mappings",
        "BroadcastQueue to FanoutFunction",
        "not read",
    ),
    fault(
        "A queue is unmapped",
        &["lambda delete-event-source-mapping --uuid {mapping ShardQueue}"],
        "mappings",
        "ShardQueue to ShardsFunction",
        "not mapped",
    ),
    fault(
        "Records that were given back are deleted",
        &["lambda update-event-source-mapping --uuid {mapping BroadcastQueue} --function-response-types"],
        "mappings",
        "BroadcastQueue to FanoutFunction",
        "ReportBatchItemFailures",
    ),
    fault(
        "Batches are smaller than fan-out takes them for",
        &["lambda update-event-source-mapping --uuid {mapping BroadcastQueue} --batch-size 3"],
        "mappings",
        "BroadcastQueue to FanoutFunction",
        "batches of 3",
    ),
    fault(
        "Nobody hears who comes and goes",
        &["lambda update-event-source-mapping --uuid {mapping PresenceQueue} --no-enabled"],
        "mappings",
        "PresenceQueue to PresenceFunction",
        "not read",
    ),
    fault(
        "Ephemeral messages are not gathered",
        &[
            "lambda update-event-source-mapping --uuid {mapping EphemeralQueue} --batch-size 10 --maximum-batching-window-in-seconds 0",
        ],
        "mappings",
        "EphemeralQueue to EphemeralFunction",
        "batches of 10 within 0 s",
    ),
    fault(
        "The index is missing",
        &[
            "dynamodb update-table --table-name {ConnectionsTable} --global-secondary-index-updates '[{\"Delete\":{\"IndexName\":\"roomId-index\"}}]'",
        ],
        "tables",
        "ConnectionsTable roomId-index",
        "index is missing",
    ),
    fault(
        "The index of members is missing",
        &[
            "dynamodb update-table --table-name {ConnectionsTable} --global-secondary-index-updates '[{\"Delete\":{\"IndexName\":\"members-index\"}}]'",
        ],
        "tables",
        "ConnectionsTable members-index",
        "no room knows who is there",
    ),
    fault(
        "Rows do not expire",
        &[
            "dynamodb update-time-to-live --table-name {MessagesTable} --time-to-live-specification Enabled=false,AttributeName=expiresAt",
        ],
        "tables",
        "MessagesTable time to live",
        "off",
    ),
    fault(
        "The logs of the rooms can be deleted",
        &["dynamodb update-table --table-name {MessagesTable} --no-deletion-protection-enabled"],
        "tables",
        "MessagesTable deletion protection",
        "off",
    ),
    fault(
        "The state of the rooms can be deleted",
        &["dynamodb update-table --table-name {StateTable} --no-deletion-protection-enabled"],
        "tables",
        "StateTable deletion protection",
        "off",
    ),
    fault(
        "The visibility timeout is too short",
        &["sqs set-queue-attributes --queue-url {BroadcastQueue} --attributes VisibilityTimeout=5"],
        "queues",
        "BroadcastQueue visibility timeout",
        "less than 6 times",
    ),
    fault(
        "Rooms are looked at before their changes can be seen",
        &["sqs set-queue-attributes --queue-url {PresenceQueueUrl} --attributes DelaySeconds=0"],
        "queues",
        "PresenceQueue delay",
        "0 s, not 3",
    ),
    fault(
        "A queue has no dead-letter queue",
        &["sqs set-queue-attributes --queue-url {BroadcastQueue} --attributes RedrivePolicy="],
        "queues",
        "BroadcastQueue redrive policy",
        "missing",
    ),
    fault(
        "The bus may not send to its queue",
        &["sqs set-queue-attributes --queue-url {EventQueue} --attributes Policy="],
        "queues",
        "EventQueue policy",
        "does not let the bus send",
    ),
    fault(
        "The rule is disabled",
        &["events disable-rule --event-bus-name {EventBusName} --name {MessageRule}"],
        "bus",
        "MessageRule",
        "disabled",
    ),
    fault(
        "The rule leads nowhere",
        &["events remove-targets --event-bus-name {EventBusName} --rule {MessageRule} --ids queue"],
        "bus",
        "MessageRule",
        "does not lead to",
    ),
    fault(
        "The rule is gone",
        &[
            "events remove-targets --event-bus-name {EventBusName} --rule {MessageRule} --ids queue",
            "events delete-rule --event-bus-name {EventBusName} --name {MessageRule}",
        ],
        "bus",
        "MessageRule",
        "rule is gone",
    ),
    Fault {
        name: "A function posts to another endpoint",
        cause: Cause::Variable("FanoutFunction", "CONNECTIONS_ENDPOINT", "http://127.0.0.1:1/live"),
        area: "functions",
        subject: "FanoutFunction environment",
        says: "CONNECTIONS_ENDPOINT is",
        by_hand: "",
    },
    Fault {
        name: "A function sends ticks to another queue",
        cause: Cause::Variable("SessionFunction", "PRESENCE_QUEUE_URL", "http://127.0.0.1:1/000000000000/other.fifo"),
        area: "functions",
        subject: "SessionFunction environment",
        says: "PRESENCE_QUEUE_URL is",
        by_hand: "",
    },
    Fault {
        name: "A function sends to another queue",
        cause: Cause::Variable("MessageFunction", "QUEUE_URL", "http://127.0.0.1:1/000000000000/other.fifo"),
        area: "functions",
        subject: "MessageFunction environment",
        says: "QUEUE_URL is",
        by_hand: "",
    },
    Fault {
        name: "Somebody sends poison",
        cause: Cause::Commands(&[
            r#"sqs send-message --queue-url {QueueUrl} --message-group-id poisoned --message-deduplication-id poison --message-body '{"roomId":"poisoned"}'"#,
        ]),
        area: "queues",
        subject: "DeadLetterQueue depth",
        says: "dead letters, which were not broadcast",
        by_hand: "dlq discard --room poisoned --yes",
    },
    Fault {
        name: "The dead-letter queue is full of what nobody looks at",
        cause: Cause::Letters(120),
        area: "queues",
        subject: "DeadLetterQueue depth",
        says: "nobody looks at them",
        by_hand: "dlq discard --reason full --yes",
    },
    Fault {
        name: "A producer writes another detail-type",
        cause: Cause::Commands(&[
            r#"events put-events --entries '[{"EventBusName":"roomcast","Source":"feed","DetailType":"roomcast.mesage","Detail":"{}"}]'"#,
        ]),
        area: "queues",
        subject: "UnmatchedQueue depth",
        says: "events of another detail-type",
        by_hand: "dlq discard --queue unmatched --yes",
    },
    fault(
        "A function never runs",
        &["lambda put-function-concurrency --function-name {FanoutFunction} --reserved-concurrent-executions 0"],
        "limits",
        "FanoutFunction concurrency",
        "never runs",
    ),
    fault(
        "Nobody checks handshakes",
        &["apigatewayv2 update-route --api-id {ApiId} --route-id {route $connect} --authorization-type NONE"],
        "api",
        "$connect",
        "no authorizer",
    ),
    fault(
        "The authorizer calls another function",
        &[
            "apigatewayv2 update-authorizer --api-id {ApiId} --authorizer-id {Authorizer} --authorizer-uri arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:other/invocations",
        ],
        "api",
        "Authorizer",
        "does not call AuthorizerFunction",
    ),
    fault(
        "An integration calls another function",
        &[
            "apigatewayv2 update-integration --api-id {ApiId} --integration-id {MessageIntegration} --integration-uri arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:other/invocations",
        ],
        "api",
        "MessageIntegration",
        "does not call MessageFunction",
    ),
    fault(
        "A route is missing",
        &["apigatewayv2 delete-route --api-id {ApiId} --route-id {route sync}"],
        "api",
        "sync",
        "there is no route sync",
    ),
    fault(
        "The stage is missing",
        &["apigatewayv2 delete-stage --api-id {ApiId} --stage-name {StageName}"],
        "api",
        "Stage",
        "is gone",
    ),
    fault(
        "Nobody logs who calls",
        &["apigatewayv2 update-stage --api-id {ApiId} --stage-name {StageName} --access-log-settings '{}'"],
        "api",
        "Stage",
        "no access log",
    ),
    fault(
        "API Gateway may not call a function",
        &["lambda remove-permission --function-name {SessionFunction} --statement-id {SessionPermission}"],
        "api",
        "SessionPermission",
        "may not call",
    ),
    fault(
        "The secret is too short",
        &["secretsmanager put-secret-value --secret-id {AuthSecretArn} --secret-string short"],
        "tokens",
        "AuthSecret",
        "fewer than 32",
    ),
    fault(
        "A log group is gone",
        &["logs delete-log-group --log-group-name {FanoutLogGroup}"],
        "logs",
        "FanoutLogGroup",
        "is gone",
    ),
    fault(
        "Logs are kept for ever",
        &["logs delete-retention-policy --log-group-name {MessageLogGroup}"],
        "logs",
        "MessageLogGroup",
        "for ever",
    ),
];

const HEAD: &str = "# Faults, and what mends them

Each of these is put into a local stack by the tests. `roomcast doctor` names it, and the command that it prints mends it; the
tests run that very command, and try the stack from end to end when all are mended. Names in `<>` are printed in full by
`doctor`, with the options `--region` and, for the local stack, `--endpoint-url`.

This file is written by the tests: `ROOMCAST_WRITE_FAULTS=1 cargo test -p tests --test e2e -- remedies`.

| fault | what `roomcast doctor` says | what mends it |
|---|---|---|
";

/// Compares the table with docs/faults.md, or writes it.
pub(super) fn compare(rows: &[Row]) {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut table = HEAD.to_owned();
    for Row { fault, what, remedy } in rows {
        writeln!(table, "| {fault} | {} | `{}` |", cell(what), cell(remedy)).unwrap();
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/faults.md");
    if std::env::var_os("ROOMCAST_WRITE_FAULTS").is_some() {
        std::fs::write(file, table).unwrap();
        return;
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), table, "docs/faults.md is not what the faults are now");
}
