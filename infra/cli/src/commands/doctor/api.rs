//! The API: its routes, integrations, authorizer and stage, and whether it may call the functions.

use std::collections::HashMap;

use aws_sdk_apigatewayv2::{
    Client,
    error::ProvideErrorMetadata,
    operation::get_stage::GetStageOutput,
    types::{AuthorizationType, Integration, Route},
};
use serde_json::{Value, json};

use super::{
    finding::{Area, Finding},
    patient::{Patient, quoted, quoted_json, unanswered},
};
use crate::failure::Failure;

/// Each route with the resource that it integrates, and whether it has a reply.
const ROUTES: [(&str, &str, bool); 10] = [
    ("$connect", "Session", false),
    ("$disconnect", "Session", false),
    ("joinRoom", "Session", true),
    ("leaveRoom", "Session", true),
    ("sync", "Session", true),
    ("getHistory", "Session", true),
    ("getState", "Session", true),
    ("getMembers", "Session", true),
    ("sendMessage", "Message", true),
    ("$default", "Message", true),
];

/// The fields of an access log's line: each name with the variable of API Gateway that gives its value.
const LOGGED: [(&str, &str); 11] = [
    ("requestId", "requestId"),
    ("connectionId", "connectionId"),
    ("eventType", "eventType"),
    ("routeKey", "routeKey"),
    ("status", "status"),
    ("integrationStatus", "integrationStatus"),
    ("integrationLatency", "integrationLatency"),
    ("error", "error.message"),
    ("integrationError", "integrationErrorMessage"),
    ("sourceIp", "identity.sourceIp"),
    ("requestTimeEpoch", "requestTimeEpoch"),
];

/// The functions that API Gateway calls, with the permission that lets it.
const CALLED: [&str; 3] = ["Authorizer", "Session", "Message"];

/// Looks at the API.
pub(super) async fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let client = Client::new(&patient.stack.sdk);
    match look(patient, &client).await {
        Ok(findings) => findings,
        Err(failure) => vec![Finding::problem(Area::Api, "Api", failure.to_string())],
    }
}

async fn look(patient: &Patient<'_>, client: &Client) -> Result<Vec<Finding>, Failure> {
    let id = patient.stack.output("ApiId")?;
    match client.get_api().api_id(id).send().await {
        Ok(_) => {}
        Err(error) if error.code() == Some("NotFoundException") => {
            let what = format!("the API {id} is gone: nobody can connect; the stack must be made anew");
            return Ok(vec![Finding::problem(Area::Api, "Api", what).remedy(patient.anew())]);
        }
        Err(error) => return Ok(vec![unanswered(Area::Api, "Api", error)]),
    }
    let mut findings = of_routes(patient, client, id).await?;
    findings.push(of_authorizer(patient, client, id).await?);
    findings.push(of_stage(patient, client, id).await?);
    for function in CALLED {
        findings.push(of_invocation(patient, id, function).await?);
    }
    Ok(findings)
}

fn uri(patient: &Patient<'_>, function: &str) -> Result<String, Failure> {
    let (partition, region) = (&patient.partition, &patient.region);
    let function = patient.function_arn(&format!("{function}Function"))?;
    Ok(format!("arn:{partition}:apigateway:{region}:lambda:path/2015-03-31/functions/{function}/invocations"))
}

async fn of_routes(patient: &Patient<'_>, client: &Client, api: &str) -> Result<Vec<Finding>, Failure> {
    let routes = client.get_routes().api_id(api).max_results("100").send().await;
    let integrations = client.get_integrations().api_id(api).max_results("100").send().await;
    let (routes, integrations) = match (routes, integrations) {
        (Ok(routes), Ok(integrations)) => (routes, integrations),
        (Err(error), _) => return Ok(vec![unanswered(Area::Api, "routes", error)]),
        (_, Err(error)) => return Ok(vec![unanswered(Area::Api, "integrations", error)]),
    };
    let routes: HashMap<_, _> = routes.items().iter().filter_map(|route| Some((route.route_key()?, route))).collect();
    let mut findings = of_integrations(patient, api, integrations.items())?;
    let mut answered = 0;
    for (key, function, has_reply) in ROUTES {
        let integration = patient.resource(&format!("{function}Integration"))?;
        let target = format!("integrations/{integration}");
        let key_word = quoted(key);
        let reply = if has_reply { " --route-response-selection-expression '$default'" } else { "" };
        let Some(route) = routes.get(key) else {
            let create = format!(
                "apigatewayv2 create-route --api-id {api} --route-key {key_word} --authorization-type NONE --target {target}{reply}"
            );
            let what = format!("there is no route {key}: {}", without(key));
            findings.push(Finding::problem(Area::Api, key, what).remedy(patient.aws(&create)));
            continue;
        };
        let route_id = route.route_id().unwrap_or_default();
        let update = |words: &str| {
            patient.aws(&format!("apigatewayv2 update-route --api-id {api} --route-id {route_id} {words}"))
        };
        let before = findings.len();
        if route.target() != Some(&target) {
            let what = format!("the route {key} does not lead to the function of {function}Integration");
            findings.push(Finding::problem(Area::Api, key, what).remedy(update(&format!("--target {target}"))));
        }
        if has_reply && route.route_response_selection_expression() != Some("$default") {
            let what = format!("the route {key} answers nobody: clients wait in vain");
            let mend = update("--route-response-selection-expression '$default'");
            findings.push(Finding::problem(Area::Api, key, what).remedy(mend));
        }
        if has_reply && patient.parameter("RouteResponses") != Some("false") {
            findings.extend(of_response(patient, client, api, key, route_id).await);
        }
        if key == "$connect" {
            findings.extend(of_connect(patient, route, &update)?);
        }
        answered += usize::from(findings.len() == before);
    }
    findings.insert(0, Finding::ok(Area::Api, "routes", format!("{answered} of {} in good order", ROUTES.len())));
    Ok(findings)
}

fn without(route: &str) -> String {
    match route {
        "$connect" => "connections have no rooms and no subject".to_owned(),
        "$disconnect" => "rows of closed connections stay until they expire".to_owned(),
        action => format!("{action} is answered by another route, with an error"),
    }
}

async fn of_response(patient: &Patient<'_>, client: &Client, api: &str, key: &str, route: &str) -> Option<Finding> {
    let responses = client.get_route_responses().api_id(api).route_id(route).send().await;
    match responses {
        Ok(responses) if responses.items().is_empty() => {
            let create = format!(
                "apigatewayv2 create-route-response --api-id {api} --route-id {route} --route-response-key '$default'"
            );
            let what = format!("the route {key} has no response: API Gateway drops what the function replies");
            Some(Finding::problem(Area::Api, key, what).remedy(patient.aws(&create)))
        }
        Ok(_) => None,
        Err(error) => Some(unanswered(Area::Api, key, error)),
    }
}

/// The check of whether an authorizer is asked about handshakes.
fn of_connect(
    patient: &Patient<'_>,
    route: &Route,
    update: &impl Fn(&str) -> String,
) -> Result<Option<Finding>, Failure> {
    let authorizer = patient.resource("Authorizer")?;
    let is_checked = route.authorization_type() == Some(&AuthorizationType::Custom);
    if is_checked && route.authorizer_id() == Some(authorizer) {
        return Ok(None);
    }
    let what = "no authorizer checks handshakes: every one is refused, or everybody gets in";
    let mend = update(&format!("--authorization-type CUSTOM --authorizer-id {authorizer}"));
    Ok(Some(Finding::problem(Area::Api, "$connect", what).remedy(mend)))
}

fn of_integrations(patient: &Patient<'_>, api: &str, integrations: &[Integration]) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    for function in ["Session", "Message"] {
        let subject = format!("{function}Integration");
        let (id, wanted) = (patient.resource(&subject)?, uri(patient, function)?);
        let found = integrations.iter().find(|integration| integration.integration_id() == Some(id));
        findings.push(match found {
            None => {
                let what = "the integration is gone: its routes fail; the stack must be made anew";
                Finding::problem(Area::Api, subject, what).remedy(patient.anew())
            }
            Some(integration) if integration.integration_uri() == Some(&wanted) => {
                Finding::ok(Area::Api, subject, format!("calls {function}Function"))
            }
            Some(_) => {
                let update = format!(
                    "apigatewayv2 update-integration --api-id {api} --integration-id {id} --integration-uri {wanted}"
                );
                let what = format!("does not call {function}Function");
                Finding::problem(Area::Api, subject, what).remedy(patient.aws(&update))
            }
        });
    }
    Ok(findings)
}

async fn of_authorizer(patient: &Patient<'_>, client: &Client, api: &str) -> Result<Finding, Failure> {
    let (id, wanted) = (patient.resource("Authorizer")?, uri(patient, "Authorizer")?);
    let update = |words: &str| {
        patient.aws(&format!("apigatewayv2 update-authorizer --api-id {api} --authorizer-id {id} {words}"))
    };
    Ok(match client.get_authorizer().api_id(api).authorizer_id(id).send().await {
        Ok(authorizer) if authorizer.authorizer_uri() != Some(&wanted) => {
            let mend = update(&format!("--authorizer-uri {wanted}"));
            Finding::problem(Area::Api, "Authorizer", "does not call AuthorizerFunction: nobody gets in").remedy(mend)
        }
        Ok(authorizer) if !authorizer.identity_source().is_empty() => {
            let what = "asks for an identity source: who sends the token the other way is refused with 401";
            Finding::problem(Area::Api, "Authorizer", what).remedy(update("--identity-source"))
        }
        Ok(_) => Finding::ok(Area::Api, "Authorizer", "calls AuthorizerFunction"),
        Err(error) if error.code() == Some("NotFoundException") => {
            let what = "the authorizer is gone: nobody gets in; the stack must be made anew";
            Finding::problem(Area::Api, "Authorizer", what).remedy(patient.anew())
        }
        Err(error) => unanswered(Area::Api, "Authorizer", error),
    })
}

async fn of_stage(patient: &Patient<'_>, client: &Client, api: &str) -> Result<Finding, Failure> {
    let name = patient.stack.output("StageName")?;
    let access_log = access_log(patient);
    Ok(match client.get_stage().api_id(api).stage_name(name).send().await {
        Ok(stage) if stage.auto_deploy() != Some(true) => {
            let what =
                "changes of routes are not deployed by themselves: what clients meet may be older than the stack";
            let mend = format!("apigatewayv2 update-stage --api-id {api} --stage-name {name} --auto-deploy");
            Finding::warning(Area::Api, "Stage", what).remedy(patient.aws(&mend))
        }
        Ok(stage) => match stage.last_deployment_status_message() {
            Some(message) if message.contains("fail") => {
                let mend = format!("apigatewayv2 create-deployment --api-id {api} --stage-name {name}");
                Finding::problem(Area::Api, "Stage", message).remedy(patient.aws(&mend))
            }
            _ if !access_log.is_empty() && !is_logged(&stage) => {
                let what = "writes no access log, although the stack has a log group for it";
                let mend = format!("apigatewayv2 update-stage --api-id {api} --stage-name {name}{access_log}");
                Finding::warning(Area::Api, "Stage", what).remedy(patient.aws(&mend))
            }
            _ => Finding::ok(Area::Api, "Stage", format!("{name} is deployed")),
        },
        Err(error) if error.code() == Some("NotFoundException") => {
            let number = |parameter: &str, default: u32| {
                patient.parameter(parameter).and_then(|value| value.parse().ok()).unwrap_or(default)
            };
            let (rate, burst) = (number("ThrottlingRateLimit", 2_000), number("ThrottlingBurstLimit", 1_000));
            // Heartbeats have a throttle of their own in the template.
            let heartbeats =
                quoted_json(&json!({ "sync": { "ThrottlingRateLimit": 5_000, "ThrottlingBurstLimit": 2_500 } }));
            let create = format!(
                "apigatewayv2 create-stage --api-id {api} --stage-name {name} --auto-deploy --default-route-settings ThrottlingRateLimit={rate},ThrottlingBurstLimit={burst} --route-settings {heartbeats}{access_log}"
            );
            let what = format!("the stage {name} is gone: nobody can connect, nothing can be posted");
            Finding::problem(Area::Api, "Stage", what).remedy(patient.aws(&create))
        }
        Err(error) => unanswered(Area::Api, "Stage", error),
    })
}

fn is_logged(stage: &GetStageOutput) -> bool {
    stage.access_log_settings().is_some_and(|settings| settings.destination_arn().is_some())
}

/// The option that has a stage write the access log; empty in a stack without one.
fn access_log(patient: &Patient<'_>) -> String {
    let Ok(group) = patient.resource("AccessLogGroup") else { return String::new() };
    let destination = patient.arn("logs", &format!("log-group:{group}"));
    let settings = json!({ "DestinationArn": destination, "Format": access_log_format() });
    format!(" --access-log-settings {}", quoted_json(&settings))
}

fn access_log_format() -> String {
    let fields: Vec<_> = LOGGED.iter().map(|(name, variable)| format!(r#""{name}":"$context.{variable}""#)).collect();
    format!("{{{}}}", fields.join(","))
}

/// The check of whether the function's own policy lets API Gateway call it.
async fn of_invocation(patient: &Patient<'_>, api: &str, function: &str) -> Result<Finding, Failure> {
    let id = format!("{function}Function");
    let subject = format!("{function}Permission");
    let arn = patient.function_arn(&id)?;
    let name = patient.resource(&id)?;
    let (name, qualifier) = (name, if arn.ends_with(":live") { Some("live") } else { None });
    let source = if function == "Authorizer" {
        format!("{api}/authorizers/{}", patient.resource("Authorizer")?)
    } else {
        format!("{api}/{}/*", patient.stack.output("StageName")?)
    };
    let source = patient.arn("execute-api", &source);
    let asked = patient.lambda.get_policy().function_name(name).set_qualifier(qualifier.map(str::to_owned));
    let policy = match asked.send().await {
        Ok(answered) => answered.policy.unwrap_or_default(),
        Err(error) if error.code() == Some("ResourceNotFoundException") => String::new(),
        Err(error) => return Ok(unanswered(Area::Api, subject, error)),
    };
    let policy: Value = serde_json::from_str(&policy).unwrap_or(Value::Null);
    let lets = |statement: &Value| {
        let principal = statement["Principal"]["Service"] == "apigateway.amazonaws.com";
        let conditions = statement["Condition"].to_string();
        // A statement may name either the alias or the function itself.
        let is_its = statement["Resource"] == arn.as_str();
        principal
            && is_its
            && statement["Effect"] == "Allow"
            && (statement["Condition"].is_null() || conditions.contains(api))
    };
    if policy["Statement"].as_array().is_some_and(|statements| statements.iter().any(lets)) {
        return Ok(Finding::ok(Area::Api, subject, "API Gateway may call the function"));
    }
    let qualifier = qualifier.map(|alias| format!(" --qualifier {alias}")).unwrap_or_default();
    let add = format!(
        "lambda add-permission --function-name {name}{qualifier} --statement-id given-back --action lambda:InvokeFunction --principal apigateway.amazonaws.com --source-arn {}",
        quoted(&source)
    );
    let what = format!("API Gateway may not call {id}: its routes fail");
    Ok(Finding::problem(Area::Api, subject, what).remedy(patient.aws(&add)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routes_are_those_of_the_template() {
        let template = include_str!("../../../../template.yaml");
        let mut routes: Vec<_> = template.lines().filter_map(|line| line.trim().strip_prefix("RouteKey: ")).collect();
        let mut known: Vec<_> = ROUTES.iter().map(|(route, ..)| *route).collect();
        routes.sort_unstable();
        known.sort_unstable();
        assert_eq!(routes, known);
    }

    #[test]
    fn the_access_log_is_that_of_the_template() {
        let template: String = include_str!("../../../../template.yaml").split_whitespace().collect();
        assert!(template.contains(&format!("Format:>-{}", access_log_format())));
    }
}
