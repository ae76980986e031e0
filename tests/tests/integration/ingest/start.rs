//! Bad configuration: one message that names every bad variable, and no secret.

use testkit::runtime_api::Function;
use testkit::secrets_manager::{SECRET_ARN, SecretsManager};

/// Starts a function with these variables, and expects one message that names them all.
async fn assert_all_are_named(function: &str, variables: &[(&str, &str)], unset: &[&str]) {
    let mut started = Function::of_workspace(function);
    for (name, value) in variables {
        started = started.env(name, value);
    }
    for name in unset {
        started = started.without_env(name);
    }
    let error = started.start().await.expect_err(function);
    assert!(error.status.is_some_and(|status| !status.success()), "{function}: {error}");
    assert_eq!(error.output.lines().count(), 1, "{function}: {}", error.output);
    let count = variables.len() + unset.len();
    assert!(error.output.contains(&format!("bad configuration, {count} variables:")), "{}", error.output);
    for name in variables.iter().map(|(name, _)| name).chain(unset) {
        assert!(error.output.contains(name), "{function} does not name {name}: {}", error.output);
    }
}

#[tokio::test]
async fn message_names_every_bad_variable() {
    assert_all_are_named(
        "message",
        &[("INGEST_SINK", "pigeon"), ("LOG_LEVEL", "loud")],
        &["QUEUE_URL", "CONGESTION_TABLE", "CONNECTIONS_ENDPOINT"],
    )
    .await;
    let variables = [
        ("QUEUE_URL", "queue"),
        ("CONNECTIONS_ENDPOINT", "wss://api"),
        ("QUEUE_DEPTH_LIMIT", "120001"),
        ("SUBJECT_MESSAGES_PER_SECOND", "many"),
        ("SUBJECT_BYTES_PER_SECOND", "-1"),
        ("ROOM_MESSAGES_PER_SECOND", "1.5"),
        ("ROOM_BYTES_PER_SECOND", "1 MB"),
        ("LOG_LEVEL", "7"),
    ];
    assert_all_are_named("message", &variables, &["CONGESTION_TABLE"]).await;
}

#[tokio::test]
async fn session_names_every_bad_variable() {
    let variables = [
        ("CONNECTIONS_TABLE", " "),
        ("SYNC_MIN_SECONDS", "4"),
        ("SYNC_MAX_SECONDS", "541"),
        ("RETENTION_SECONDS", "1"),
        ("SUBJECT_REQUESTS_PER_SECOND", "no"),
        ("CONNECTION_ROOMS", "0"),
        ("SUBJECT_CONNECTIONS", "-1"),
        ("LOG_LEVEL", "loud"),
    ];
    assert_all_are_named("session", &variables, &["MESSAGES_TABLE", "CONNECTIONS_ENDPOINT"]).await;
}

#[tokio::test]
async fn relay_names_every_bad_variable() {
    assert_all_are_named(
        "relay",
        &[("QUEUE_URL", "ftp://queue"), ("LOG_LEVEL", "x"), ("QUEUE_DEPTH_LIMIT", "many")],
        &["DLQ_URL", "CONGESTION_TABLE"],
    )
    .await;
}

#[tokio::test]
async fn authorizer_names_every_bad_variable() {
    let variables = [
        ("AUTH_JWKS_URL", "http://issuer.example/keys"),
        ("AUTH_TOKEN_USE", "refresh"),
        ("AUTH_DEFAULT_ROOMS", r#"{"r":["write"]}"#),
        ("ALLOWED_ORIGINS", "app.example.com"),
        ("LOG_LEVEL", "loud"),
    ];
    assert_all_are_named("authorizer", &variables, &["AUTH_ISSUER", "AUTH_AUDIENCE"]).await;
    let error = Function::of_workspace("authorizer").start().await.unwrap_err();
    assert!(error.output.contains("AUTH_SECRET_ARN is missing, and so is AUTH_JWKS_URL"), "{}", error.output);
}

#[tokio::test]
async fn authorizer_does_not_start_without_a_good_secret_and_never_tells_it() {
    let secret = "hunter2-is-too-short";
    let secrets = SecretsManager::start(secret);
    let function =
        Function::of_workspace("authorizer").env("AWS_ENDPOINT_URL", secrets.url()).env("LOG_LEVEL", "trace");
    let error = function.clone().env("AUTH_SECRET_ARN", SECRET_ARN).start().await.unwrap_err();
    let told = "the secret that AUTH_SECRET_ARN names must have at least 32 bytes, has 20";
    assert!(error.output.contains(told) && !error.output.contains(secret), "{}", error.output);
    let error = function.env("AUTH_SECRET_ARN", "arn:of-none").start().await.unwrap_err();
    let told = "the secret that AUTH_SECRET_ARN names cannot be read: ResourceNotFoundException";
    assert!(error.output.contains(told), "{}", error.output);
}

#[tokio::test]
async fn fanout_names_every_bad_variable() {
    let variables = [
        ("QUEUE_URL", "queue"),
        ("BATCH_SIZE", "11"),
        ("CONNECTIONS_ENDPOINT", "http://"),
        ("FANOUT_CONCURRENCY", "0"),
        ("FANOUT_MAX_POSTS_PER_SECOND", "-1"),
        ("FANOUT_POST_TIMEOUT_MS", "3s"),
        ("FANOUT_MAX_ATTEMPTS", "99"),
        ("FANOUT_DEADLINE_RESERVE_MS", "1"),
        ("FANOUT_SHARD_SIZE", "many"),
        ("FANOUT_SHARDS", "3"),
        ("GONE_GRACE_MS", "-5"),
        ("RETENTION_SECONDS", "0"),
        ("LOG_LEVEL", "loud"),
    ];
    let unset = ["CONNECTIONS_TABLE", "CONGESTION_TABLE", "MESSAGES_TABLE", "SHARD_QUEUE_URL", "DLQ_URL", "AWS_REGION"];
    assert_all_are_named("fanout", &variables, &unset).await;
}
