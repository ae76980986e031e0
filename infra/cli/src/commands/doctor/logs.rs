//! Log groups: whether they exist and keep lines for a limited time. Also the role with which API Gateway writes its
//! own logs.

use aws_sdk_cloudwatchlogs::Client;
use futures::future::join_all;

use super::{
    finding::{Area, Finding},
    patient::{Patient, unanswered},
};

/// Looks at all log groups.
pub(super) async fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let client = Client::new(&patient.stack.sdk);
    let mut ids: Vec<_> = patient.resources.keys().filter(|id| id.ends_with("LogGroup")).map(String::as_str).collect();
    ids.sort_unstable();
    let mut findings = join_all(ids.iter().map(|id| look(patient, &client, id))).await;
    if patient.resources.contains_key("AccessLogGroup") {
        findings.push(of_role(patient).await);
    }
    findings
}

async fn look(patient: &Patient<'_>, client: &Client, id: &str) -> Finding {
    let name = patient.resources.get(id).map_or("", String::as_str);
    let days = patient.parameter("LogRetentionDays").unwrap_or("30");
    let retain = format!("logs put-retention-policy --log-group-name {name} --retention-in-days {days}");
    let described = match client.describe_log_groups().log_group_name_prefix(name).send().await {
        Ok(described) => described,
        Err(error) => return unanswered(Area::Logs, id, error),
    };
    match described.log_groups().iter().find(|group| group.log_group_name() == Some(name)) {
        None => {
            let key = patient.key().map(|key| format!(" --kms-key-id {key}")).unwrap_or_default();
            let create = patient.aws(&format!("logs create-log-group --log-group-name {name}{key}"));
            let mend = format!("{create} && {}", patient.aws(&retain));
            let what = "the log group is gone: what its function says is lost";
            Finding::problem(Area::Logs, id, what).remedy(mend)
        }
        Some(group) => match group.retention_in_days() {
            None => {
                let what = format!("kept for ever, not for {days} days: it costs more each month");
                Finding::warning(Area::Logs, id, what).remedy(patient.aws(&retain))
            }
            Some(days) => Finding::ok(Area::Logs, id, format!("kept for {days} days")),
        },
    }
}

async fn of_role(patient: &Patient<'_>) -> Finding {
    let subject = "API Gateway log role";
    // Without an access log of the stage, no role is needed.
    let stage = async {
        let client = aws_sdk_apigatewayv2::Client::new(&patient.stack.sdk);
        let (api, name) = (patient.stack.output("ApiId").ok()?, patient.stack.output("StageName").ok()?);
        client.get_stage().api_id(api).stage_name(name).send().await.ok()
    };
    let account = aws_sdk_apigateway::Client::new(&patient.stack.sdk).get_account().send().await;
    match (stage.await, account) {
        (Some(stage), _) if stage.access_log_settings().is_none() => {
            Finding::ok(Area::Logs, subject, "the stage writes no access log")
        }
        (_, Ok(account)) => match account.cloudwatch_role_arn() {
            Some(role) => Finding::ok(Area::Logs, subject, role),
            // This parameter marks a stack on the emulator, which needs no role to write logs.
            None if patient.parameter("RouteResponses") == Some("false") => {
                Finding::skipped(Area::Logs, subject, "the emulator asks for none")
            }
            None => {
                let what = "API Gateway has no role to write logs with in this region: access logs are not written";
                Finding::warning(Area::Logs, subject, what).remedy(patient.deploy("CreateApiGatewayLogRole=true"))
            }
        },
        (_, Err(error)) => unanswered(Area::Logs, subject, error),
    }
}
