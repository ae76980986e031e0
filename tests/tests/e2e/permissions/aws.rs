//! Calls of IAM, CloudWatch Logs and Lambda, signed as the emulator's root user. A few operations do not earn SDKs.

use std::time::Instant;

use aws_sdk_sqs::primitives::{DateTime, DateTimeFormat};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};
use testkit::http_server::Request;
use testkit::sigv4::{Credentials, sign};
use testkit::stack::LocalStack;

use crate::tables::now;

const JSON: &str = "application/json";

/// Attempts of one call.
const ATTEMPTS: usize = 5;

pub(super) struct Aws {
    client: Client<HttpConnector, Full<Bytes>>,
    endpoint: String,
    region: String,
}

impl Aws {
    pub(super) fn of(stack: &LocalStack) -> Self {
        let description = stack.description();
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, endpoint: description.endpoint_url.clone(), region: description.region.clone() }
    }

    /// The names of all roles.
    pub(super) async fn roles(&self) -> Vec<String> {
        elements(&self.iam(&[("Action", "ListRoles")]).await, "RoleName")
    }

    /// The policies of a role: their names and documents.
    pub(super) async fn policies(&self, role: &str) -> Vec<(String, Value)> {
        let names = elements(&self.iam(&[("Action", "ListRolePolicies"), ("RoleName", role)]).await, "member");
        let mut policies = Vec::new();
        for name in names {
            let asked = [("Action", "GetRolePolicy"), ("RoleName", role), ("PolicyName", &name)];
            let document = elements(&self.iam(&asked).await, "PolicyDocument").remove(0);
            let document = percent_decode_str(&document).decode_utf8().unwrap().into_owned();
            policies.push((name, serde_json::from_str(&document).unwrap()));
        }
        policies
    }

    pub(super) async fn put_policy(&self, role: &str, name: &str, document: &Value) {
        let document = document.to_string();
        let put = [
            ("Action", "PutRolePolicy"),
            ("RoleName", role),
            ("PolicyName", name),
            ("PolicyDocument", document.as_str()),
        ];
        self.iam(&put).await;
    }

    /// The names of all log groups.
    pub(super) async fn log_groups(&self) -> Vec<String> {
        let groups = self.logs("DescribeLogGroups", json!({})).await;
        let groups = groups["logGroups"].as_array().unwrap().iter();
        groups.map(|group| group["logGroupName"].as_str().unwrap().to_owned()).collect()
    }

    /// What a log group has had since a time, in milliseconds since the Unix epoch.
    pub(super) async fn log_lines(&self, group: &str, since: u128) -> Vec<String> {
        let mut lines = Vec::new();
        let mut asked = json!({ "logGroupName": group, "startTime": u64::try_from(since).unwrap() });
        loop {
            let page = self.logs("FilterLogEvents", asked.clone()).await;
            let events = page["events"].as_array().unwrap().iter();
            lines.extend(events.map(|event| event["message"].as_str().unwrap().to_owned()));
            match page.get("nextToken") {
                Some(token) if token.is_string() => asked["nextToken"] = token.clone(),
                _ => return lines,
            }
        }
    }

    /// Invokes a function with an event.
    pub(super) async fn invoke(&self, function: &str, event: &Value) {
        let listed = self.call("lambda", (Method::GET, "/2015-03-31/functions"), JSON, None, String::new()).await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let functions = listed["Functions"].as_array().unwrap().iter();
        let mut names = functions.map(|function| function["FunctionName"].as_str().unwrap());
        let name = names.find(|name| name.contains(&format!("{function}Function"))).expect("the function");
        let path = format!("/2015-03-31/functions/{name}/invocations");
        self.call("lambda", (Method::POST, &path), JSON, None, event.to_string()).await;
    }

    async fn iam(&self, parameters: &[(&str, &str)]) -> String {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut body = "Version=2010-05-08".to_owned();
        for (name, value) in parameters {
            body = format!("{body}&{name}={}", encoded(value));
        }
        self.call("iam", (Method::POST, "/"), "application/x-www-form-urlencoded", None, body).await
    }

    async fn logs(&self, operation: &str, body: Value) -> Value {
        let target = format!("Logs_20140328.{operation}");
        let reply =
            self.call("logs", (Method::POST, "/"), "application/x-amz-json-1.1", Some(&target), body.to_string()).await;
        serde_json::from_str(&reply).unwrap()
    }

    async fn call(
        &self,
        service: &str,
        what: (Method, &str),
        content_type: &str,
        target: Option<&str>,
        body: String,
    ) -> String {
        for _ in 0..ATTEMPTS {
            let (status, reply) = self.attempt(service, what.clone(), content_type, target, &body).await;
            if status.is_success() {
                return reply;
            }
            // The emulator stumbles over what changes while it lists it.
            assert!(status.is_server_error(), "{service} answered {status}: {reply}");
        }
        panic!("{service} does not answer");
    }

    async fn attempt(
        &self,
        service: &str,
        (method, path): (Method, &str),
        content_type: &str,
        target: Option<&str>,
        body: &str,
    ) -> (StatusCode, String) {
        let seconds = i64::try_from(now().as_secs()).unwrap();
        let date = DateTime::from_secs(seconds).fmt(DateTimeFormat::DateTime).unwrap().replace(['-', ':'], "");
        let text = |value: &str| HeaderValue::from_str(value).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("host", text(self.endpoint.trim_start_matches("http://")));
        headers.insert("x-amz-date", text(&date));
        let (body, arrived) = (Bytes::copy_from_slice(body.as_bytes()), Instant::now());
        let mut request = Request { method, target: path.to_owned(), headers, body, arrived };
        let authorization = sign(&request, &Credentials::new("test", "test"), &self.region, service);
        request.headers.insert("authorization", text(&authorization));
        request.headers.insert("content-type", text(content_type));
        if let Some(target) = target {
            request.headers.insert("x-amz-target", text(target));
        }
        let mut outgoing = http::Request::new(Full::new(request.body));
        *outgoing.method_mut() = request.method;
        *outgoing.uri_mut() = format!("{}{path}", self.endpoint).parse().unwrap();
        *outgoing.headers_mut() = request.headers;
        let response = self.client.request(outgoing).await.unwrap();
        let status = response.status();
        let reply = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(reply.to_vec()).unwrap())
    }
}

/// The contents of all elements of a name that hold nothing but text.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = xml.split(&open).skip(1);
    parts.filter_map(|part| Some(part.split_once(&close)?.0.to_owned())).collect()
}
