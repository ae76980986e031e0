//! HTTP connections are kept, and replaced when the server does not keep them.

use std::time::Duration;

use fanout::outcome::Outcome;
use fanout::poster::Poster;
use tests::connections_server::{Outcome as Scripted, Script};
use tests::http_server::KeepAlive;

use super::{Direct, Kind, post, poster, server};

for_both_posters!(
    a_lane_keeps_its_connection,
    a_lane_that_was_put_back_is_used_again,
    a_server_that_announces_the_end_of_a_connection_gets_every_post_once,
    a_connection_that_ended_while_idle_costs_no_post,
);

async fn a_lane_keeps_its_connection<K: Kind>() {
    let server = server();
    let mut lane = poster::<K>(&server).lane();
    server.script("gone", Script::always(Scripted::gone()));
    server.script("refused", Script::always(Scripted::payload_too_large()));
    for connection in ["c", "gone", "c", "refused", "c"] {
        post(&mut lane, connection).await;
    }
    assert_eq!((server.record().posts, server.tcp_connections()), (5, 1));
}

async fn a_lane_that_was_put_back_is_used_again<K: Kind>() {
    let server = server();
    let poster = poster::<K>(&server);
    for _ in 0..3 {
        let mut lane = poster.lane();
        assert_eq!(post(&mut lane, "c").await, Outcome::Delivered);
        poster.put_back(lane);
    }
    assert_eq!(server.tcp_connections(), 1);
}

async fn a_server_that_announces_the_end_of_a_connection_gets_every_post_once<K: Kind>() {
    for requests in [1, 3] {
        let server = server();
        server.set_keep_alive(KeepAlive::Announced(requests));
        let mut lane = poster::<K>(&server).lane();
        for number in 0..9 {
            assert_eq!(post(&mut lane, &format!("c{number}")).await, Outcome::Delivered);
        }
        assert_eq!(server.record().posts, 9);
        assert_eq!(server.tcp_connections(), u64::from(9 / requests));
    }
}

async fn a_connection_that_ended_while_idle_costs_no_post<K: Kind>() {
    let server = server();
    server.set_keep_alive(KeepAlive::Silent(2));
    let mut lane = poster::<K>(&server).lane();
    for number in 0..8 {
        assert_eq!(post(&mut lane, &format!("c{number}")).await, Outcome::Delivered, "post {number}");
        // As between two broadcasts: the end of every second post's connection has arrived by the next.
        while number % 2 == 1 && server.open_tcp_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!((server.record().posts, server.record().delivered()), (8, 8));
}

/// The stock client may lose this race; a fan-out that posts without a pause would lose it all the time.
#[tokio::test]
async fn a_connection_that_ends_without_a_word_in_mid_broadcast_costs_no_post() {
    for requests in [1, 3] {
        let server = server();
        server.set_keep_alive(KeepAlive::Silent(requests));
        let mut lane = poster::<Direct>(&server).lane();
        for number in 0..30 {
            assert_eq!(post(&mut lane, &format!("c{number}")).await, Outcome::Delivered, "post {number}");
        }
        assert_eq!(server.record().delivered(), 30);
    }
}

/// A request that meets the end of an old connection is sent again, once, and then it is a failure.
#[tokio::test]
async fn a_connection_that_keeps_breaking_is_tried_on_a_new_one_once() {
    let server = server();
    let mut lane = poster::<Direct>(&server).lane();
    assert_eq!(post(&mut lane, "before").await, Outcome::Delivered);
    server.script("breaks", Script::always(Scripted::reset()));
    assert_eq!(post(&mut lane, "breaks").await, Outcome::Failed);
    assert_eq!(server.connection("breaks").posts, 2);
    assert_eq!(post(&mut lane, "after").await, Outcome::Delivered);
}
