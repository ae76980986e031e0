//! The account's limits: concurrency of functions, requests of API Gateway.

use futures::future::join_all;

use super::{
    finding::{Area, Finding},
    patient::{Patient, unanswered},
};

/// The functions, each with the parameter that bounds its concurrency; without a parameter the bound is [`FIXED`].
const CONCURRENCY: [(&str, Option<&str>); 8] = [
    ("AuthorizerFunction", Some("AuthorizerConcurrency")),
    ("SessionFunction", Some("SessionConcurrency")),
    ("MessageFunction", Some("MessageConcurrency")),
    ("RelayFunction", Some("RelayConcurrency")),
    ("FanoutFunction", Some("FanoutMaximumConcurrency")),
    ("ShardsFunction", Some("ShardsMaximumConcurrency")),
    ("PresenceFunction", None),
    ("EphemeralFunction", None),
];

/// The concurrency of mappings without a parameter, such as that of relay's failures.
const FIXED: i32 = 2;

/// The functions that read queues: when one is throttled, that counts as a receive for each record.
const MAPPED: [&str; 5] =
    ["RelayFunction", "FanoutFunction", "ShardsFunction", "PresenceFunction", "EphemeralFunction"];

/// The quota of concurrent executions that an account has, unless AWS has given it less to begin with.
const USUAL_QUOTA: i32 = 1_000;

/// Routes that take frames of clients.
const ROUTES_OF_FRAMES: f64 = 8.0;

/// Checks the account's limits.
pub(super) async fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = join_all(CONCURRENCY.map(async |(id, parameter)| reserved(patient, id, parameter).await))
        .await
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    findings.push(account(patient).await);
    findings.push(requests(patient).await);
    findings
}

/// The check of the concurrency that is reserved for a function.
async fn reserved(patient: &Patient<'_>, id: &str, parameter: Option<&str>) -> Option<Finding> {
    let function = patient.functions.get(id)?.function_name()?;
    let subject = format!("{id} concurrency");
    let reserved = match patient.lambda.get_function_concurrency().function_name(function).send().await {
        Ok(answered) => answered.reserved_concurrent_executions,
        Err(error) => return Some(unanswered(Area::Limits, subject, error)),
    };
    let wanted: Option<i32> = match parameter {
        Some(parameter) => patient.parameter(parameter).and_then(|value| value.parse().ok()),
        None => Some(FIXED),
    };
    let is_reserving = patient.parameter("ReserveConcurrency") == Some("true");
    let mend = match wanted {
        Some(wanted) if is_reserving => patient.aws(&format!(
            "lambda put-function-concurrency --function-name {function} --reserved-concurrent-executions {wanted}"
        )),
        _ => patient.aws(&format!("lambda delete-function-concurrency --function-name {function}")),
    };
    Some(match (reserved, wanted) {
        (Some(0), _) => Finding::problem(Area::Limits, subject, "0 is reserved: the function never runs").remedy(mend),
        (Some(reserved), Some(wanted)) if MAPPED.contains(&id) && reserved < wanted => {
            let what = format!("{reserved} reserved, but its mapping may start {wanted}: the rest is throttled");
            Finding::warning(Area::Limits, subject, what).remedy(mend)
        }
        (Some(reserved), _) => Finding::ok(Area::Limits, subject, format!("{reserved} reserved")),
        (None, _) => Finding::ok(Area::Limits, subject, "none reserved, takes from the account's"),
    })
}

/// The check of whether the account has the concurrency that the mappings may use.
async fn account(patient: &Patient<'_>) -> Finding {
    let subject = "account concurrency";
    let settings = match patient.lambda.get_account_settings().send().await {
        Ok(settings) => settings,
        Err(error) => return unanswered(Area::Limits, subject, error),
    };
    let Some(limit) = settings.account_limit() else {
        return Finding::skipped(Area::Limits, subject, "the account's limits are not told");
    };
    let all = limit.concurrent_executions();
    let unreserved = limit.unreserved_concurrent_executions().unwrap_or(all);
    let asked = |id: &str| patient.parameter(id).and_then(|value| value.parse::<i32>().ok()).unwrap_or(0);
    let asked_for = asked("FanoutMaximumConcurrency") + asked("ShardsMaximumConcurrency") + asked("RelayConcurrency");
    let is_there = |id: &str| i32::from(patient.functions.contains_key(id));
    let mapped = asked_for + FIXED * (1 + is_there("PresenceFunction") + is_there("EphemeralFunction"));
    if patient.parameter("ReserveConcurrency") != Some("true") && mapped >= unreserved {
        let what = format!(
            "the mappings may start {mapped} environments, the account has {unreserved} for all: clients' frames are throttled"
        );
        let quota = patient.aws(&format!(
            "service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 \
             --desired-value {}",
            quota_to_request(all, all - unreserved, mapped)
        ));
        return Finding::warning(Area::Limits, subject, what).remedy(quota);
    }
    Finding::ok(Area::Limits, subject, format!("{all}, of which {unreserved} are reserved for none"))
}

/// The concurrency to request for an account that has `all`, of which so much is reserved, and less for its other
/// functions than the mappings may use. A request must be for more than there is.
fn quota_to_request(all: i32, reserved: i32, mapped: i32) -> i32 {
    if all < USUAL_QUOTA { USUAL_QUOTA.max(reserved + mapped + 1) } else { all + mapped }
}

/// The check of the account's requests, which frames in and posts out share.
async fn requests(patient: &Patient<'_>) -> Finding {
    let subject = "API Gateway requests";
    let account = aws_sdk_apigateway::Client::new(&patient.stack.sdk).get_account().send().await;
    let settings = match account {
        Ok(account) => account.throttle_settings,
        Err(error) => return unanswered(Area::Limits, subject, error),
    };
    let Some(rate) = settings.map(|settings| settings.rate_limit()).filter(|rate| *rate > 0.0) else {
        return Finding::skipped(Area::Limits, subject, "the account's rate is not told");
    };
    let number = |name: &str| patient.parameter(name).and_then(|value| value.parse::<f64>().ok());
    if let Some(cap) = number("FanoutMaxPostsPerSecond").filter(|cap| *cap > rate) {
        let what = format!("an environment of fan-out may post {cap} a second, the account has {rate} for everything");
        return Finding::warning(Area::Limits, subject, what)
            .remedy(patient.deploy(&format!("FanoutMaxPostsPerSecond={rate:.0}")));
    }
    let frames = number("ThrottlingRateLimit").unwrap_or(0.0);
    if frames >= rate {
        let what = format!(
            "a route may take {frames} frames a second, the account has {rate} for frames and posts: a flood leaves nothing for broadcasts"
        );
        return Finding::warning(Area::Limits, subject, what)
            .remedy(patient.deploy(&format!("ThrottlingRateLimit={:.0}", rate / ROUTES_OF_FRAMES)));
    }
    Finding::ok(Area::Limits, subject, format!("{rate} a second for frames and posts together"))
}

#[cfg(test)]
mod tests {
    use super::quota_to_request;

    #[test]
    fn more_is_requested_than_there_is() {
        assert_eq!(quota_to_request(10, 0, 44), 1_000, "what accounts usually have");
        assert_eq!(quota_to_request(1_000, 900, 1_200), 2_200);
        assert_eq!(quota_to_request(500, 100, 1_200), 1_301);
    }
}
