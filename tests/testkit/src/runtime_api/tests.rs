//! The function under test is this very test binary, run again with the argument that selects [`function`].

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use super::*;

/// This is not a test but the function that the tests start. It answers each event as its `do` says.
#[test]
#[ignore = "is run by the other tests as a process of its own"]
#[allow(clippy::print_stdout, reason = "a function logs to standard output")]
fn function() {
    let Ok(api) = std::env::var("AWS_LAMBDA_RUNTIME_API") else { return };
    if let Ok(message) = std::env::var("FAIL_INIT") {
        panic!("{message}");
    }
    if std::env::var_os("REPORT_INIT_ERROR").is_some() {
        call(&api, "POST", "init/error", r#"{"errorType":"Config"}"#);
        std::process::exit(1);
    }
    loop {
        let (head, event) = call(&api, "GET", "invocation/next", "");
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let request_id = header("lambda-runtime-aws-request-id:");
        let event: Value = serde_json::from_str(&event).unwrap();
        println!("{}", serde_json::json!({ "message": "handling", "event": event }));
        match event["do"].as_str() {
            Some("fail") => {
                call(&api, "POST", &format!("invocation/{request_id}/error"), r#"{"errorMessage":"no"}"#);
            }
            Some("exit") => std::process::exit(7),
            Some("hang") => std::thread::sleep(Duration::from_mins(1)),
            Some("burn") => {
                let (started, before) = (Instant::now(), usage());
                let memory = vec![1_u8; 64 << 20];
                while started.elapsed() < Duration::from_millis(80)
                    || usage().since(&before).cpu() < Duration::from_millis(20)
                {
                    std::hint::black_box(&memory);
                }
                call(&api, "POST", &format!("invocation/{request_id}/response"), "null");
            }
            _ => {
                let variables: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
                let answer = serde_json::json!({
                    "event": event,
                    "deadline": header("lambda-runtime-deadline-ms:"),
                    "variables": variables,
                });
                call(&api, "POST", &format!("invocation/{request_id}/response"), &answer.to_string());
            }
        }
    }
}

fn usage() -> Usage {
    Usage::of_process(std::process::id()).unwrap()
}

fn call(api: &str, method: &str, path: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(api).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

fn this_function() -> Function {
    let function = Function::new(std::env::current_exe().unwrap());
    ["--exact", "runtime_api::tests::function", "--ignored", "--nocapture"]
        .into_iter()
        .fold(function, Function::argument)
}

fn event(what: &str) -> Value {
    serde_json::json!({ "do": what })
}

#[tokio::test]
async fn events_are_handled_with_a_deadline_and_a_clean_environment() {
    let environment = this_function().env("MINE", 7).start().await.unwrap();
    let unix_millis = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let before = unix_millis();
    let invocation = environment.invoke_within(&event("echo"), Duration::from_secs(9)).await;
    let response = invocation.response();
    assert_eq!(response["event"], event("echo"));
    let deadline: u64 = response["deadline"].as_str().unwrap().parse().unwrap();
    let expected = before + 9_000..=unix_millis() + 9_000;
    assert!(expected.contains(&deadline), "{deadline} for {expected:?}");
    let variables: Vec<_> =
        response["variables"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(variables.contains(&"MINE") && variables.contains(&"AWS_LAMBDA_RUNTIME_API"));
    assert!(!variables.contains(&"PATH") && !variables.contains(&"CARGO_PKG_NAME"), "{variables:?}");
    environment.logged(1, |line| line["message"] == "handling").await;
    assert!(environment.init_time() > Duration::ZERO);
}

#[tokio::test]
async fn what_was_written_before_the_end_is_read_to_its_end() {
    let environment = this_function().start().await.unwrap();
    for number in 0..50 {
        environment.invoke(&serde_json::json!({ "number": number })).await.response();
    }
    let output = environment.end();
    let handled = output.iter().filter(|line| line.contains(r#""message":"handling""#)).count();
    assert_eq!(handled, 50, "{output:?}");
}

#[tokio::test]
async fn an_error_is_the_functions_own_and_the_environment_lives_on() {
    let environment = this_function().start().await.unwrap();
    let failed = environment.invoke(&event("fail")).await;
    assert!(matches!(failed.result, Err(InvocationError::Function(error)) if error["errorMessage"] == "no"));
    assert!(environment.invoke(&event("echo")).await.result.is_ok());
}

#[tokio::test]
async fn a_process_that_ends_or_hangs_is_noticed() {
    let environment = this_function().start().await.unwrap();
    let ended = environment.invoke(&event("exit")).await;
    assert!(matches!(ended.result, Err(InvocationError::Ended(status, _)) if status.code() == Some(7)));

    let environment = this_function().lateness(Duration::ZERO).start().await.unwrap();
    let hanging = environment.invoke_within(&event("hang"), Duration::from_millis(200)).await;
    assert!(matches!(hanging.result, Err(InvocationError::TimedOut)));
    assert!(matches!(environment.invoke(&event("echo")).await.result, Err(InvocationError::Ended(..))));
}

#[tokio::test]
async fn a_failed_start_tells_status_and_output() {
    let error = this_function().env("FAIL_INIT", "QUEUE_URL is not set").start().await.unwrap_err();
    assert!(error.output.contains("QUEUE_URL is not set"), "{error}");
    assert!(error.status.is_some_and(|status| !status.success()));

    let error = this_function().env("REPORT_INIT_ERROR", 1).start().await.unwrap_err();
    assert_eq!(error.reported.unwrap()["errorType"], "Config");
    assert_eq!(error.status.and_then(|status| status.code()), Some(1));
}

#[tokio::test]
async fn environments_work_side_by_side_and_are_measured() {
    let function = this_function();
    let (one, other) = tokio::join!(function.start(), function.start());
    let (one, other) = (one.unwrap(), other.unwrap());
    let (burn, events) = (event("burn"), event("echo"));
    let (burnt, _) = tokio::join!(one.invoke(&burn), other.invoke(&events));
    assert!(burnt.result.is_ok());
    assert!(burnt.wall >= Duration::from_millis(80), "{:?}", burnt.wall);
    assert!(burnt.usage.cpu() >= Duration::from_millis(10), "{:?}", burnt.usage);
    assert!(burnt.usage.peak_memory_kib > 64 << 10, "{:?}", burnt.usage);
    assert!(other.usage().peak_memory_kib < 64 << 10, "{:?}", other.usage());
}

#[tokio::test]
async fn dropping_an_environment_ends_its_process() {
    let environment = this_function().start().await.unwrap();
    let process = format!("/proc/{}", environment.process.pid());
    assert!(Path::new(&process).exists());
    drop(environment);
    assert!(!Path::new(&process).exists());
}
