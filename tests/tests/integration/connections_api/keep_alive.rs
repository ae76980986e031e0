//! HTTP connections are kept, and replaced when the server does not keep them.

use std::collections::BTreeSet;
use std::time::Duration;

use fanout::connections_api::Outcome;
use futures::future::join_all;
use testkit::connections_server::{Script, Scripted};
use testkit::http_server::KeepAlive;

use super::{Kind, Signed, api, post, server};

for_both_implementations!(
    a_connection_is_kept_after_every_answer,
    connections_are_used_again_the_last_one_first,
    a_server_that_announces_the_end_of_a_connection_gets_every_post_once,
);

async fn a_connection_is_kept_after_every_answer<K: Kind>() {
    let server = server();
    let api = api::<K>(&server);
    server.script("gone", Script::always(Scripted::gone()));
    server.script("refused", Script::always(Scripted::payload_too_large()));
    for connection in ["c", "gone", "c", "refused", "c"] {
        post(&api, connection).await;
    }
    assert_eq!((server.record().posts, server.tcp_connections()), (5, 1));
}

async fn connections_are_used_again_the_last_one_first<K: Kind>() {
    let server = server();
    let api = api::<K>(&server);
    server.hold();
    let four = join_all(["a", "b", "c", "d"].map(|connection| post(&api, connection)));
    let check = async {
        let within = Duration::from_secs(60);
        server.wait_until("four posts are in flight", within, |record| record.in_flight == 4).await;
        server.release();
    };
    let (outcomes, ()) = tokio::join!(four, check);
    assert_eq!(outcomes, [Outcome::Delivered; 4]);
    for _ in 0..8 {
        assert_eq!(post(&api, "last").await, Outcome::Delivered);
    }
    assert_eq!(server.tcp_connections(), 4);
    let used: BTreeSet<_> =
        server.connection("last").attempts.iter().map(|attempt| attempt.request.tcp_connection).collect();
    assert_eq!(used.len(), 1, "by turns {used:?}");
}

async fn a_server_that_announces_the_end_of_a_connection_gets_every_post_once<K: Kind>() {
    for requests in [1, 3] {
        let server = server();
        server.set_keep_alive(KeepAlive::Announced(requests));
        let api = api::<K>(&server);
        for number in 0..9 {
            assert_eq!(post(&api, &format!("c{number}")).await, Outcome::Delivered);
        }
        assert_eq!(server.record().posts, 9);
        assert_eq!(server.tcp_connections(), u64::from(9 / requests));
    }
}

/// A post and the end of its connection may cross on the way. The stock client may lose such a post; a fan-out that
/// posts without a pause would lose posts all the time.
#[tokio::test]
async fn a_connection_that_ends_without_a_word_in_mid_broadcast_costs_no_post() {
    for requests in [1, 3] {
        let server = server();
        server.set_keep_alive(KeepAlive::Silent(requests));
        let api = api::<Signed>(&server);
        for number in 0..30 {
            assert_eq!(post(&api, &format!("c{number}")).await, Outcome::Delivered, "post {number}");
        }
        assert_eq!(server.record().delivered(), 30);
    }
}

/// A request that meets the end of an old connection is sent again, once, and then it is a failure.
#[tokio::test]
async fn a_connection_that_keeps_breaking_is_tried_on_a_new_one_once() {
    let server = server();
    let api = api::<Signed>(&server);
    assert_eq!(post(&api, "before").await, Outcome::Delivered);
    server.script("breaks", Script::always(Scripted::reset()));
    assert_eq!(post(&api, "breaks").await, Outcome::Failed);
    assert_eq!(server.connection("breaks").posts, 2);
    assert_eq!(post(&api, "after").await, Outcome::Delivered);
}

/// Connections take descriptors and threads to open, while those that are open are soon free.
#[tokio::test]
async fn many_posts_at_once_wait_for_connections_rather_than_open_one_each() {
    let server = server();
    let api = api::<Signed>(&server);
    let posts = join_all((0..400).map(|number| {
        let api = &api;
        async move { post(api, &format!("c{number}")).await }
    }));
    assert_eq!(posts.await, [Outcome::Delivered; 400]);
    assert!(server.tcp_connections() < 400, "{} connections", server.tcp_connections());
}
