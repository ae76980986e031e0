//! The outcome that each answer of the server gives to a post. No answer affects the next post.

use std::time::{Duration, Instant};

use fanout::connections_api::{ConnectionsApi, Misconfiguration, Outcome};
use testkit::connections_server::{ConnectionsServer, Script, Scripted};
use testkit::http_server::{Framing, Reply};

use super::{Kind, api, post, sdk_config, server, temporary_credentials};

for_both_implementations!(
    every_status_means_its_outcome,
    retry_after_is_read,
    no_answer_in_time_is_a_timeout,
    an_answer_that_starts_and_does_not_end_is_a_timeout,
    a_connection_that_breaks_before_the_answer_is_a_failure,
    a_connection_that_breaks_within_the_answer_is_a_failure,
    bodies_of_any_length_and_framing_are_read,
    a_server_that_is_not_there_is_unreachable,
    a_name_that_is_not_known_is_unreachable,
    a_server_that_does_not_shake_hands_is_unreachable,
    closing_a_connection_says_what_became_of_it,
);

async fn every_status_means_its_outcome<K: Kind>() {
    let throttled = Outcome::Throttled { retry_after: None };
    let forbidden = Outcome::Misconfigured(Misconfiguration::Forbidden);
    let answers = [
        (Scripted::ok(), Outcome::Delivered),
        (Scripted::gone(), Outcome::Gone),
        (Scripted::throttled(), throttled),
        (Scripted::forbidden(), forbidden),
        (Scripted::not_found(), Outcome::Misconfigured(Misconfiguration::NotFound)),
        (Scripted::payload_too_large(), Outcome::TooLarge),
        (Scripted::bad_request(), Outcome::Rejected),
        (Scripted::internal_error(), Outcome::Failed),
        (Scripted::answering(Reply::empty(500)), Outcome::Failed),
        (Scripted::answering(Reply::empty(429)), throttled),
        (Scripted::answering(Reply::empty(403)), forbidden),
    ];
    let server = server();
    let api = api::<K>(&server);
    for framing in [Framing::Length, Framing::Chunked] {
        for (number, (answer, outcome)) in answers.iter().enumerate() {
            let connection = format!("{framing:?}-{number}");
            server.script(&connection, Script::always(answer.clone().framed(framing)));
            assert_eq!(post(&api, &connection).await, *outcome, "{answer:?}, {framing:?}");
            assert_eq!(server.connection(&connection).posts, 1, "one attempt is one request: {answer:?}");
        }
    }
    assert_eq!(server.record().signature_errors, []);
}

async fn retry_after_is_read<K: Kind>() {
    let server = server();
    let api = api::<K>(&server);
    let values = [("2", Some(Duration::from_secs(2))), ("soon", None)];
    for (value, retry_after) in values {
        server.script("c", Script::always(Scripted::throttled().retry_after(value)));
        assert_eq!(post(&api, "c").await, Outcome::Throttled { retry_after }, "{value}");
    }
}

/// A timeout that is short for a test that waits for its end; other posts are answered within it on a busy machine too.
const SHORT_TIMEOUT: Duration = Duration::from_secs(3);

async fn no_answer_in_time_is_a_timeout<K: Kind>() {
    let server = server();
    let config = sdk_config(temporary_credentials());
    let api = K::api(&config, &server.endpoint(), SHORT_TIMEOUT);
    server.script("hangs", Script::always(Scripted::hang()));
    assert_eq!(post(&api, "before").await, Outcome::Delivered);
    let started = Instant::now();
    assert_eq!(post(&api, "hangs").await, Outcome::TimedOut);
    assert!(started.elapsed() >= SHORT_TIMEOUT.mul_f64(0.99), "{:?}", started.elapsed());
    assert_eq!(post(&api, "after").await, Outcome::Delivered);
    // A post that was given up is not left open.
    server.wait_until("no post is in flight", Duration::from_secs(60), |record| record.in_flight == 0).await;
    assert_eq!(server.connection("hangs").posts, 1);
}

async fn an_answer_that_starts_and_does_not_end_is_a_timeout<K: Kind>() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}/production", listener.local_addr().unwrap());
    let stalling = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let mut read = 0;
        while !request[..read].ends_with(br#"{"type":"messages"}"#) {
            read += stream.read(&mut request[read..]).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
        std::future::pending::<()>().await;
    });
    let api = K::api(&sdk_config(temporary_credentials()), &endpoint, SHORT_TIMEOUT);
    assert_eq!(post(&api, "c").await, Outcome::TimedOut);
    stalling.abort();
}

async fn a_connection_that_breaks_before_the_answer_is_a_failure<K: Kind>() {
    for breaks in [Scripted::reset(), Scripted::close()] {
        let server = server();
        let api = api::<K>(&server);
        server.script("breaks", Script::always(breaks.clone()));
        assert_eq!(post(&api, "breaks").await, Outcome::Failed, "{breaks:?}");
        assert_eq!(server.connection("breaks").posts, 1, "a new connection is no stale one: {breaks:?}");
        assert_eq!(post(&api, "after").await, Outcome::Delivered);
    }
}

async fn a_connection_that_breaks_within_the_answer_is_a_failure<K: Kind>() {
    for framing in [Framing::CutShort, Framing::ResetMidway] {
        let server = server();
        let api = api::<K>(&server);
        server.script("breaks", Script::always(Scripted::internal_error().framed(framing)));
        assert_eq!(post(&api, "breaks").await, Outcome::Failed, "{framing:?}");
        assert_eq!(post(&api, "after").await, Outcome::Delivered);
    }
}

async fn bodies_of_any_length_and_framing_are_read<K: Kind>() {
    // The long body exceeds the 16 KiB that the function reads in order to keep a connection.
    let long: &'static str = "x".repeat(100_000).leak();
    let server = server();
    let api = api::<K>(&server);
    let mut number = 0;
    for framing in [Framing::Length, Framing::Chunked] {
        for body in ["", "{}", long] {
            for (answer, outcome) in [(Scripted::ok(), Outcome::Delivered), (Scripted::gone(), Outcome::Gone)] {
                number += 1;
                let connection = format!("c{number}");
                server.script(&connection, Script::always(answer.body(body).framed(framing)));
                assert_eq!(post(&api, &connection).await, outcome, "{} bytes, {framing:?}", body.len());
                assert_eq!(server.connection(&connection).posts, 1);
            }
        }
    }
}

async fn a_server_that_is_not_there_is_unreachable<K: Kind>() {
    let endpoint = {
        let server = ConnectionsServer::start();
        server.endpoint()
    };
    let api = K::api(&sdk_config(temporary_credentials()), &endpoint, Duration::from_secs(5));
    assert_eq!(post(&api, "c").await, Outcome::Unreachable);
    assert_eq!(api.close(&shared::ConnectionId::new("c")).await, Outcome::Unreachable);
}

async fn a_name_that_is_not_known_is_unreachable<K: Kind>() {
    // The top-level domain `invalid` is reserved, so the name never exists (RFC 6761).
    let config = sdk_config(temporary_credentials());
    let api = K::api(&config, "http://nobody.invalid/production", Duration::from_secs(20));
    assert_eq!(post(&api, "c").await, Outcome::Unreachable);
}

async fn a_server_that_does_not_shake_hands_is_unreachable<K: Kind>() {
    let server = server();
    let endpoint = server.endpoint().replace("http://", "https://");
    let api = K::api(&sdk_config(temporary_credentials()), &endpoint, Duration::from_secs(5));
    assert_eq!(post(&api, "c").await, Outcome::Unreachable);
    assert_eq!(server.record().posts, 0);
}

async fn closing_a_connection_says_what_became_of_it<K: Kind>() {
    let server = server();
    let api = api::<K>(&server);
    let connection = shared::ConnectionId::new("L0SM9cOFvHcCIhw=");
    assert_eq!(api.close(&connection).await, Outcome::Delivered);
    assert_eq!(api.close(&connection).await, Outcome::Gone);
    assert_eq!(server.connection(connection.as_str()).deletes, 2);
    server.script_deletes("refused", Script::always(Scripted::forbidden()));
    let refused = api.close(&shared::ConnectionId::new("refused")).await;
    assert_eq!(refused, Outcome::Misconfigured(Misconfiguration::Forbidden));
    assert_eq!(server.record().signature_errors, []);
}
