//! The requests as they reach the server.

use aws_credential_types::Credentials;
use fanout::connections_api::{ConnectionsApi, Outcome};
use fanout::frame::EncodedFrame;
use futures::future::join_all;
use shared::ConnectionId;
use shared::limits::MAX_POST_BYTES;
use testkit::connections_server::ConnectionsServer;
use testkit::sigv4::{self, SignatureError};

use super::{Kind, api, expected, frame, post, sdk_config, server, temporary_credentials};

for_both_implementations!(
    a_frame_arrives_as_it_is,
    connection_ids_of_all_characters_are_signed_and_arrive,
    an_endpoint_with_a_deeper_path_and_a_slash_is_kept,
    credentials_without_a_session_token_are_signed_with,
    a_wrong_secret_is_refused_by_the_verifier,
    posts_go_side_by_side,
);

async fn a_frame_arrives_as_it_is<K: Kind>() {
    let server = server();
    let api = api::<K>(&server);
    let bytes: Vec<u8> = (0_u8..=255).cycle().take(MAX_POST_BYTES).collect();
    let frames = [EncodedFrame::new(bytes.into()), frame(""), frame("{\"text\":\"Gr\u{fc}\u{df}e \u{1f600}\"}")];
    for frame in &frames {
        assert_eq!(api.post(&ConnectionId::new("c"), frame).await, Outcome::Delivered);
    }
    let received = server.connection("c").bodies();
    assert!(received.iter().eq(frames.iter().map(EncodedFrame::body)));
    for attempt in server.connection("c").attempts {
        assert_eq!(attempt.request.header("content-type"), Some("application/octet-stream"));
        assert_eq!(attempt.request.header("x-amz-security-token"), Some("session/token+with=signs"));
    }
    assert_eq!(server.record().signature_errors, []);
}

async fn connection_ids_of_all_characters_are_signed_and_arrive<K: Kind>() {
    let server = server();
    let api = api::<K>(&server);
    let ids = ["L0SM9cOFvHcCIhw=", "a+b/c==", "-._~", "with space", "100%", "a%2Fb", "caf\u{e9}", "a&b?c#d"];
    for id in ids {
        assert_eq!(post(&api, id).await, Outcome::Delivered, "{id}");
        assert_eq!(server.connection(id).delivered, 1, "{id}");
    }
    assert_eq!((server.record().connections.len(), server.record().signature_errors), (ids.len(), Vec::new()));
}

async fn an_endpoint_with_a_deeper_path_and_a_slash_is_kept<K: Kind>() {
    let server = server();
    let endpoint = format!("{}/deeper/", server.endpoint());
    let api = K::api(&sdk_config(temporary_credentials()), &endpoint, super::TIMEOUT);
    assert_eq!(post(&api, "c").await, Outcome::Delivered);
    let path = server.connection("c").attempts[0].request.path().replace("%40", "@");
    assert_eq!(path, "/production/deeper/@connections/c");
}

async fn credentials_without_a_session_token_are_signed_with<K: Kind>() {
    let server = ConnectionsServer::start();
    let credentials = Credentials::new("AKIDLONG", "long-term", None, None, "test");
    server.verify_signatures(expected(credentials.clone()));
    let api = K::api(&sdk_config(credentials), &server.endpoint(), super::TIMEOUT);
    assert_eq!(post(&api, "c=").await, Outcome::Delivered);
    assert_eq!(server.record().signature_errors, []);
}

/// The verifier itself is on trial here: one that takes everything would prove nothing.
async fn a_wrong_secret_is_refused_by_the_verifier<K: Kind>() {
    let server = server();
    let token = Some("session/token+with=signs".to_owned());
    let credentials = Credentials::new("AKIDTEMPORARY", "another", token, None, "test");
    let api = K::api(&sdk_config(credentials), &server.endpoint(), super::TIMEOUT);
    assert_ne!(post(&api, "c").await, Outcome::Delivered);
    assert!(matches!(server.record().signature_errors[..], [SignatureError::Mismatch { .. }]));
    let attempt = &server.connection("c").attempts[0];
    assert_eq!(sigv4::access_key(&attempt.request), Some("AKIDTEMPORARY"));
}

async fn posts_go_side_by_side<K: Kind>() {
    let server = server();
    let api = api::<K>(&server);
    server.hold();
    let posts = join_all((0..8).map(|number| {
        let api = &api;
        async move { post(api, &format!("c{number}")).await }
    }));
    let check = async {
        let within = std::time::Duration::from_secs(60);
        server.wait_until("eight posts are in flight", within, |record| record.in_flight == 8).await;
        server.release();
    };
    let (outcomes, ()) = tokio::join!(posts, check);
    assert_eq!(outcomes, [Outcome::Delivered; 8]);
}
