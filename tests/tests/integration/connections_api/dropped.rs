//! Calls that are dropped before their answer, as at an invocation's deadline.

use std::pin::pin;
use std::time::Duration;

use fanout::connections_api::Outcome;
use testkit::connections_server::{ConnectionsServer, Record, Script, Scripted};

use super::http2_server::{Http2Server, http2_api};
use super::{Kind, api, post, server};

/// Calls dropped one after another.
const DROPPED: usize = 30;

const WITHIN: Duration = Duration::from_secs(10);

for_both_implementations!(dropped_posts_leave_nothing_behind);

async fn dropped_posts_leave_nothing_behind<K: Kind>() {
    let server = server();
    let api = api::<K>(&server);
    server.script("hangs", Script::always(Scripted::hang()));
    assert_eq!(post(&api, "before").await, Outcome::Delivered);
    for dropped in 1..=DROPPED {
        tokio::select! {
            outcome = post(&api, "hangs") => panic!("{outcome:?}"),
            () = until(&server, |record| record.connections.get("hangs").is_some_and(|c| c.posts == dropped)) => {}
        }
        // The connection of the dropped post is closed, so the server notices.
        until(&server, |record| record.in_flight == 0).await;
    }
    assert_eq!(post(&api, "after").await, Outcome::Delivered);
    // Each dropped post ends its connection, which makes 30; the last post needs another one, and one is to spare.
    assert!(server.tcp_connections() <= DROPPED as u64 + 2, "{} connections", server.tcp_connections());
}

async fn until(server: &ConnectionsServer, condition: impl Fn(&Record) -> bool) {
    server.wait_until("posts come and go", WITHIN, condition).await;
}

#[tokio::test]
async fn dropped_posts_reset_their_streams_and_keep_the_session() {
    let server = Http2Server::start().await;
    let api = http2_api(server.address);
    for dropped in 1..=DROPPED {
        tokio::select! {
            outcome = post(&api, "hangs") => panic!("{outcome:?}"),
            () = server.wait_until(|state| state.requests.len() == dropped) => {}
        }
        server.wait_until(|state| state.resets == dropped).await;
    }
    assert_eq!(post(&api, "after").await, Outcome::Delivered);
    assert_eq!(server.sessions(), 1);
}

#[tokio::test]
async fn posts_dropped_while_their_session_opens_leave_it_to_those_that_stay() {
    let server = Http2Server::start().await;
    let api = http2_api(server.address);
    {
        let mut dropped = pin!(post(&api, "dropped"));
        let mut stays = pin!(post(&api, "stays"));
        // The first opens the session, the second waits for it.
        assert!(futures::poll!(&mut dropped).is_pending() && futures::poll!(&mut stays).is_pending());
        dropped.set(post(&api, "dropped too"));
        assert_eq!(stays.await, Outcome::Delivered);
    }
    assert_eq!(server.sessions(), 1);
}
