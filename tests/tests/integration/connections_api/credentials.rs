//! Credentials: where they come from, when they are replaced.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_credential_types::provider::{self, ProvideCredentials};
use fanout::connections_api::{Misconfiguration, Outcome};
use futures::future::join_all;
use testkit::connections_server::ConnectionsServer;
use testkit::sigv4;

use super::{Kind, Signed, TIMEOUT, post, sdk_config};

for_both_implementations!(
    without_credentials_nothing_is_posted,
    credentials_that_stay_refused_are_a_misconfiguration,
    credentials_are_fetched_once_for_many_posts,
    credentials_are_replaced_before_they_expire,
);

/// A provider that hands out credentials one after another, the last of them for ever.
#[derive(Clone, Debug)]
struct Sequence(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    asked: AtomicUsize,
    sequence: Mutex<Vec<Result<Credentials, &'static str>>>,
}

impl Sequence {
    fn new(sequence: impl IntoIterator<Item = Result<Credentials, &'static str>>) -> Self {
        let sequence = Mutex::new(sequence.into_iter().collect());
        Self(Arc::new(Shared { asked: AtomicUsize::new(0), sequence }))
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::Relaxed)
    }

    fn config(&self) -> SdkConfig {
        sdk_config(self.clone())
    }

    fn next(&self) -> provider::Result {
        let number = self.0.asked.fetch_add(1, Ordering::Relaxed);
        let sequence = self.0.sequence.lock().unwrap();
        sequence[number.min(sequence.len() - 1)].clone().map_err(CredentialsError::not_loaded)
    }
}

impl ProvideCredentials for Sequence {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        let this = self.clone();
        Provided::new(async move {
            // The answer takes a moment, as from a metadata service, so that other calls come to wait for the same
            // fetch.
            tokio::time::sleep(Duration::from_millis(20)).await;
            this.next()
        })
    }
}

fn credentials(access_key: &str) -> Credentials {
    Credentials::new(access_key, "secret", None, None, "test")
}

fn expiring(access_key: &str, in_seconds: u64) -> Credentials {
    let expiry = SystemTime::now() + Duration::from_secs(in_seconds);
    Credentials::new(access_key, "secret", None, Some(expiry), "test")
}

/// The access keys of a connection's posts, in order.
fn keys(server: &ConnectionsServer, connection: &str) -> Vec<String> {
    let attempts = server.connection(connection).attempts;
    attempts.iter().map(|attempt| sigv4::access_key(&attempt.request).unwrap().to_owned()).collect()
}

async fn without_credentials_nothing_is_posted<K: Kind>() {
    let server = ConnectionsServer::start();
    let provider = Sequence::new([Err("there are none")]);
    let api = K::api(&provider.config(), &server.endpoint(), TIMEOUT);
    assert_eq!(post(&api, "c").await, Outcome::Misconfigured(Misconfiguration::Credentials));
    assert_eq!(server.record().posts, 0);
}

async fn credentials_that_stay_refused_are_a_misconfiguration<K: Kind>() {
    let server = ConnectionsServer::start();
    server.expire_access_key("OLD");
    let provider = Sequence::new([Ok(credentials("OLD"))]);
    let api = K::api(&provider.config(), &server.endpoint(), TIMEOUT);
    assert_eq!(post(&api, "c").await, Outcome::Misconfigured(Misconfiguration::Forbidden));
    assert_eq!(keys(&server, "c"), ["OLD"], "the same would be refused again");
}

async fn credentials_are_fetched_once_for_many_posts<K: Kind>() {
    for credentials in [credentials("KEY"), expiring("KEY", 3_600)] {
        let server = ConnectionsServer::start();
        let provider = Sequence::new([Ok(credentials)]);
        let api = K::api(&provider.config(), &server.endpoint(), TIMEOUT);
        let posts = join_all((0..8).map(|number| {
            let api = &api;
            async move { post(api, &format!("c{number}")).await }
        }));
        assert_eq!(posts.await, [Outcome::Delivered; 8]);
        assert_eq!(provider.asked(), 1);
    }
}

async fn credentials_are_replaced_before_they_expire<K: Kind>() {
    let server = ConnectionsServer::start();
    let provider = Sequence::new([Ok(expiring("FIRST", 5)), Ok(expiring("SECOND", 3_600))]);
    let api = K::api(&provider.config(), &server.endpoint(), TIMEOUT);
    for _ in 0..3 {
        assert_eq!(post(&api, "c").await, Outcome::Delivered);
    }
    assert_eq!(keys(&server, "c"), ["FIRST", "SECOND", "SECOND"]);
    assert_eq!(provider.asked(), 2);
}

/// The stock client would use revoked credentials until they expire.
#[tokio::test]
async fn revoked_credentials_are_replaced_and_the_post_made_once_more() {
    let server = ConnectionsServer::start();
    server.expire_access_key("OLD");
    let provider = Sequence::new([Ok(credentials("OLD")), Ok(credentials("NEW"))]);
    let api = Signed::api(&provider.config(), &server.endpoint(), TIMEOUT);
    assert_eq!(post(&api, "c").await, Outcome::Delivered);
    assert_eq!(post(&api, "c").await, Outcome::Delivered);
    assert_eq!(keys(&server, "c"), ["OLD", "NEW", "NEW"]);
}

#[tokio::test]
async fn new_credentials_that_are_refused_too_are_a_misconfiguration() {
    let server = ConnectionsServer::start();
    server.expire_access_key("OLD");
    server.expire_access_key("NEW");
    let provider = Sequence::new([Ok(credentials("OLD")), Ok(credentials("NEW")), Ok(credentials("NEWEST"))]);
    let api = Signed::api(&provider.config(), &server.endpoint(), TIMEOUT);
    assert_eq!(post(&api, "c").await, Outcome::Misconfigured(Misconfiguration::Forbidden));
    assert_eq!(keys(&server, "c"), ["OLD", "NEW"], "once more, and not for ever");
}

#[tokio::test]
async fn calls_that_are_refused_together_fetch_new_credentials_together() {
    let server = ConnectionsServer::start();
    server.expire_access_key("OLD");
    let provider = Sequence::new([Ok(credentials("OLD")), Ok(credentials("NEW"))]);
    let api = Signed::api(&provider.config(), &server.endpoint(), TIMEOUT);
    let posts = join_all((0..8).map(|number| {
        let api = &api;
        async move { post(api, &format!("c{number}")).await }
    }));
    assert_eq!(posts.await, [Outcome::Delivered; 8]);
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn credentials_that_cannot_be_replaced_are_used_until_they_expire() {
    let server = ConnectionsServer::start();
    let provider = Sequence::new([Ok(expiring("FIRST", 120)), Err("not now"), Ok(expiring("SECOND", 3_600))]);
    let api = Signed::api(&provider.config(), &server.endpoint(), TIMEOUT);
    for _ in 0..3 {
        assert_eq!(post(&api, "c").await, Outcome::Delivered);
    }
    assert_eq!(keys(&server, "c"), ["FIRST", "FIRST", "SECOND"]);
}
