//! The API over HTTP/2: a session for many posts, and what becomes of them when it breaks.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fanout::connections_api::{ConnectionsApi, Outcome};
use fanout::frame::EncodedFrame;
use futures::future::join_all;
use shared::ConnectionId;
use shared::limits::MAX_POST_BYTES;
use testkit::sigv4::verify;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::http2_server::{Http2Server, Refusal, http2_api, http2_api_with, refuse_the_first};
use super::{expected, post, temporary_credentials};

async fn post_to_all(api: &impl ConnectionsApi, ids: &[String]) -> Vec<Outcome> {
    join_all(ids.iter().map(|id| post(api, id))).await
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("L0SM9/+{number}=")).collect()
}

fn all_delivered(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| *outcome == Outcome::Delivered)
}

#[tokio::test]
async fn a_hundred_posts_share_a_session_and_every_request_is_signed() {
    let server = Http2Server::start().await;
    let api = http2_api(server.address);
    let outcomes = post_to_all(&api, &ids(150)).await;
    assert!(all_delivered(&outcomes), "{outcomes:?}");
    assert_eq!(server.sessions(), 2);
    assert_eq!(api.close(&ConnectionId::new("c=")).await, Outcome::Delivered);
    server.with_state(|state| {
        assert_eq!(state.requests.len(), 151);
        for request in &state.requests {
            verify(request, &expected(temporary_credentials())).unwrap();
            assert_eq!(request.body, if request.method == "POST" { r#"{"type":"messages"}"# } else { "" });
        }
    });
}

#[tokio::test]
async fn answers_mean_what_they_mean_over_http1() {
    let server = Http2Server::start().await;
    let outcomes =
        post_to_all(&http2_api(server.address), &["410", "429", "500", "400", "413"].map(str::to_owned)).await;
    let throttled = Outcome::Throttled { retry_after: Some(Duration::from_secs(2)) };
    assert_eq!(outcomes, [Outcome::Gone, throttled, Outcome::Failed, Outcome::Rejected, Outcome::TooLarge]);
}

#[tokio::test]
async fn the_largest_frame_and_the_smallest_arrive_as_they_are() {
    let server = Http2Server::start().await;
    let api = http2_api(server.address);
    let bytes: Vec<u8> = (0_u8..=255).cycle().take(MAX_POST_BYTES).collect();
    let frames = [EncodedFrame::new(bytes.into()), EncodedFrame::new("".into())];
    for frame in &frames {
        assert_eq!(api.post(&ConnectionId::new("c"), frame).await, Outcome::Delivered);
    }
    server.with_state(|state| {
        assert!(state.requests.iter().map(|request| &request.body).eq(frames.iter().map(EncodedFrame::body)));
    });
}

#[tokio::test]
async fn a_server_that_takes_one_stream_at_a_time_gets_a_session_for_each_post_and_refuses_none() {
    let server = Http2Server::start_with(Some(1)).await;
    let api = http2_api(server.address);
    for _ in 0..2 {
        let outcomes = post_to_all(&api, &ids(8)).await;
        assert!(all_delivered(&outcomes), "{outcomes:?}");
    }
    assert!(server.sessions() <= 8, "{} sessions", server.sessions());
    assert_eq!(server.with_state(|state| state.requests.len()), 16);
}

#[tokio::test]
async fn a_session_that_broke_while_idle_costs_no_post() {
    let server = Http2Server::start().await;
    let api = http2_api(server.address);
    for sessions in 1..=4 {
        let outcomes = post_to_all(&api, &ids(3)).await;
        assert!(all_delivered(&outcomes), "{outcomes:?}");
        assert_eq!(server.sessions(), sessions);
        server.break_connections();
    }
}

#[tokio::test]
async fn a_session_that_breaks_under_posts_fails_those_and_no_others() {
    let server = Http2Server::start().await;
    let api = http2_api(server.address);
    let posts = async { tokio::join!(post(&api, "hangs"), post(&api, "hangs")) };
    let breaking = async {
        server.wait_until(|state| state.requests.len() == 2).await;
        server.break_connections();
    };
    let (outcomes, ()) = tokio::join!(posts, breaking);
    assert_eq!(outcomes, (Outcome::Failed, Outcome::Failed));
    assert_eq!(post(&api, "after").await, Outcome::Delivered);
    assert_eq!(server.sessions(), 2);
}

#[tokio::test]
async fn a_server_that_goes_away_answers_what_it_has_and_gets_the_rest_on_a_new_session() {
    let server = Http2Server::start().await;
    let api = http2_api(server.address);
    let mut posts = ids(5);
    posts.insert(2, "goes-away".to_owned());
    for sessions in 2..=4 {
        let outcomes = post_to_all(&api, &posts).await;
        assert!(all_delivered(&outcomes), "{outcomes:?}");
        let outcomes = post_to_all(&api, &ids(5)).await;
        assert!(all_delivered(&outcomes), "{outcomes:?}");
        assert!(server.sessions() <= sessions, "{} sessions", server.sessions());
    }
    server.wait_until(|state| state.open_sessions() == 1).await;
}

/// A request that was reset for another reason may have been processed: sent again, it might arrive twice.
#[tokio::test]
async fn a_request_that_the_server_has_not_looked_at_is_sent_again_at_once() {
    for (refusal, outcome, sent) in [
        (Refusal::GoAway, Outcome::Delivered, 2),
        (Refusal::Stream, Outcome::Delivered, 2),
        (Refusal::Error, Outcome::Failed, 1),
    ] {
        let (address, requests) = refuse_the_first(refusal).await;
        assert_eq!(post(&http2_api(address), "c").await, outcome, "{refusal:?}");
        assert_eq!(requests.load(Ordering::Relaxed), sent, "{refusal:?}");
    }
}

#[tokio::test]
async fn a_session_on_which_nothing_is_answered_any_more_is_replaced() {
    let server = Http2Server::start().await;
    let api = http2_api_with(server.address, Duration::from_secs(3));
    assert_eq!(post(&api, "before").await, Outcome::Delivered);
    let mut outcomes = vec![post(&api, "stalls").await];
    while outcomes.len() <= 3 && matches!(outcomes.last(), Some(Outcome::TimedOut | Outcome::Failed)) {
        outcomes.push(post(&api, "c").await);
    }
    // The session is given up after three timeouts or an unanswered ping, whichever comes first.
    let (last, before) = outcomes.split_last().unwrap();
    assert_eq!(*last, Outcome::Delivered);
    assert!(before.len() <= 3, "{outcomes:?}");
    assert_eq!(server.sessions(), 2);
}

/// Pings are still answered on such a session, as by a proxy whose server is gone.
#[tokio::test]
async fn a_session_whose_posts_only_time_out_gets_no_more_of_them() {
    for (hanging, sessions) in [(2, 1), (3, 2)] {
        let server = Http2Server::start().await;
        let api = http2_api_with(server.address, Duration::from_secs(3));
        let outcomes = post_to_all(&api, &vec!["hangs".to_owned(); hanging]).await;
        assert_eq!(outcomes, vec![Outcome::TimedOut; hanging]);
        assert_eq!(post(&api, "after").await, Outcome::Delivered);
        assert_eq!(server.sessions(), sessions);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_for_all_that_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcomes = post_to_all(&http2_api(address), &ids(300)).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Unreachable), "{outcomes:?}");
}

#[tokio::test]
async fn a_server_that_never_says_hello_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            // The client's own hello is read, so that only the answer is missing.
            let _ = stream.read(&mut [0; 64]).await;
            taken.push(stream);
        }
    });
    let api = http2_api_with(address, Duration::from_millis(300));
    assert_eq!(post_to_all(&api, &ids(3)).await, [Outcome::Unreachable; 3]);
    silent.abort();
}
