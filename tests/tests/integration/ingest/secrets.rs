//! The secrets of HS256 tokens, in simulated time: rotation, and outages of Secrets Manager.

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use ingest::token::Verifier;
use ingest::token::claims::ClaimRules;
use ingest::token::error::TokenError;
use ingest::token::key_cache::KeyCache;
use ingest::token::secrets::{SecretError, SecretStore};
use serde_json::json;
use shared::clock::Clock;
use testkit::aws_endpoint::{Fault, Rule};
use testkit::aws_sdk::sdk_config;
use testkit::clock::TestClock;
use testkit::secrets_manager::{SECRET_ARN, SecretsManager};
use testkit::stack::mint;

const FIRST: &str = "the first secret, of at least 32 bytes";
const SECOND: &str = "the second secret, of at least 32 bytes";
const THIRD: &str = "the third secret, of at least 32 bytes";

/// An environment of the authorizer.
struct World {
    service: SecretsManager,
    clock: TestClock,
    verifier: Verifier<TestClock>,
}

fn store(service: &SecretsManager) -> SecretStore {
    SecretStore::new(Client::new(&sdk_config(&service.url())), SECRET_ARN)
}

impl World {
    async fn start() -> Self {
        let (service, clock) = (SecretsManager::start(FIRST), TestClock::start());
        let secrets = KeyCache::filled(store(&service), clock.clone()).await.unwrap();
        // The real patience is two seconds, which a busy machine may take for a good answer.
        let secrets = Some(secrets.read_within(Duration::from_mins(10)));
        let (rules, clock_of_verifier) = (ClaimRules::default(), clock.clone());
        let verifier = Verifier { secrets, issuer: None, rules, token_use: None, clock: clock_of_verifier };
        Self { service, clock, verifier }
    }

    async fn verify(&self, secret: &str) -> Result<(), TokenError> {
        let claims = json!({ "sub": "alice", "exp": self.clock.unix_seconds() + 60 });
        self.verifier
            .verify(Some(&mint(secret, &claims)))
            .await
            .map(|grant| assert_eq!(grant.subject.as_str(), "alice"))
    }

    async fn is_good(&self, secret: &str) -> bool {
        match self.verify(secret).await {
            Ok(()) => true,
            Err(TokenError::Signature) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_rotated_secret_works_at_once_and_the_one_before_it_until_the_next_rotation() {
    let world = World::start().await;
    assert!(world.is_good(FIRST).await);
    assert_eq!(world.service.reads(), 1, "good tokens ask nobody");
    world.clock.advance(seconds(10));
    world.service.put(SECOND);
    assert!(world.is_good(SECOND).await);
    assert!(world.is_good(FIRST).await);
    assert_eq!(world.service.reads(), 2);
    world.clock.advance(seconds(10));
    world.service.put(THIRD);
    assert!(world.is_good(FIRST).await, "nobody has shown the third yet");
    assert!(world.is_good(THIRD).await);
    assert!(world.is_good(SECOND).await);
    world.clock.advance(seconds(10));
    assert!(!world.is_good(FIRST).await);
}

#[tokio::test]
async fn a_flood_of_bad_signatures_reads_the_secret_once_in_ten_seconds() {
    let world = World::start().await;
    for expected in 1..4 {
        for _ in 0..20 {
            assert!(!world.is_good(SECOND).await);
        }
        // The read at the start counts as that of the first ten seconds.
        assert_eq!(world.service.reads(), expected);
        world.clock.advance(seconds(10));
    }
}

#[tokio::test]
async fn the_secret_is_read_again_after_five_minutes() {
    let world = World::start().await;
    world.service.put(SECOND);
    world.service.put(THIRD);
    world.clock.advance(seconds(299));
    assert!(world.is_good(FIRST).await);
    assert_eq!(world.service.reads(), 1);
    world.clock.advance(seconds(1));
    assert!(world.is_good(SECOND).await);
    assert_eq!(world.service.reads(), 2);
    assert!(!world.is_good(FIRST).await);
}

#[tokio::test]
async fn an_outage_keeps_the_secrets_for_an_hour_and_then_nobody_gets_in() {
    let world = World::start().await;
    world.service.fault(Rule::on("GetSecretValue", Fault::access_denied()));
    world.clock.advance(seconds(300));
    for _ in 0..5 {
        assert!(world.is_good(FIRST).await);
    }
    assert_eq!(world.service.reads(), 2, "one attempt in ten seconds");
    world.clock.advance(seconds(3_598));
    assert!(world.is_good(FIRST).await);
    world.clock.advance(seconds(3));
    let refused = world.verify(FIRST).await.unwrap_err();
    assert!(refused.is_outage() && refused.to_string().contains("secret could not be read"), "{refused}");
    // Without any secret there is no reason to wait for long.
    world.service.clear_faults();
    world.clock.advance(seconds(2));
    assert!(world.is_good(FIRST).await);
}

#[tokio::test]
async fn a_secret_that_became_too_short_changes_nothing() {
    let world = World::start().await;
    world.service.put("short");
    world.clock.advance(seconds(300));
    assert!(world.is_good(FIRST).await);
    // The secret is put right again: the short one is the previous one now, and is passed over.
    world.service.put(SECOND);
    world.clock.advance(seconds(10));
    assert!(world.is_good(SECOND).await);
    assert!(!world.is_good("short").await);
}

#[tokio::test]
async fn a_secret_is_used_byte_for_byte() {
    let world = World::start().await;
    let padded = " a secret with spaces around it, and a newline \n";
    world.service.put(padded);
    world.clock.advance(seconds(10));
    assert!(world.is_good(padded).await);
    assert!(!world.is_good(padded.trim()).await);
    world.service.put_binary("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    world.clock.advance(seconds(10));
    assert!(world.is_good("0123456789abcdef0123456789abcdef").await);
}

#[tokio::test]
async fn a_secret_of_no_use_is_an_error_that_does_not_tell_it() {
    let read =
        async |service: &SecretsManager| KeyCache::filled(store(service), TestClock::start()).await.err().unwrap();
    let short = read(&SecretsManager::start("hunter2-is-too-short")).await;
    assert!(matches!(short, SecretError::TooShort(20)), "{short}");
    assert!(!format!("{short} {short:?}").contains("hunter2"), "{short:?}");
    let service = SecretsManager::start(FIRST);
    service.fault(Rule::on("GetSecretValue", Fault::access_denied()));
    let denied = read(&service).await.to_string();
    assert!(denied.starts_with("the secret that AUTH_SECRET_ARN names cannot be read: AccessDenied"), "{denied}");
}
