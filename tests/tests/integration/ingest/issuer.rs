//! Another issuer's tokens, in simulated time: the keys that verify them, rotation, and outages of the issuer.

use std::time::Duration;

use ingest::token::Verifier;
use ingest::token::claims::ClaimRules;
use ingest::token::error::TokenError;
use ingest::token::issuer::Issuer as Jwks;
use ingest::token::key_cache::KeyCache;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use shared::clock::Clock;
use testkit::clock::TestClock;
use testkit::http_server::{Answer, Framing, Reply};
use testkit::issuer::{Issuer, SigningKey, document};

/// An environment of the authorizer that takes an issuer's tokens and no others.
struct World {
    issuer: Issuer,
    clock: TestClock,
    verifier: Verifier<TestClock>,
}

impl World {
    fn start(keys: &[&SigningKey]) -> Self {
        Self::with_patience(keys, Duration::from_mins(10))
    }

    /// The real patience is two seconds, which a busy machine may take for a good answer.
    fn with_patience(keys: &[&SigningKey], patience: Duration) -> Self {
        let (issuer, clock) = (Issuer::start(keys), TestClock::start());
        let jwks = Jwks::new(issuer.url().parse().unwrap()).unwrap();
        let cache = KeyCache::empty(jwks, clock.clone()).read_within(patience);
        let verifier = Verifier {
            secrets: None,
            issuer: Some(cache),
            rules: ClaimRules::default(),
            token_use: Some("access".to_owned()),
            clock: clock.clone(),
        };
        Self { issuer, clock, verifier }
    }

    fn claims(&self) -> Value {
        json!({ "sub": "alice", "exp": self.clock.unix_seconds() + 60, "token_use": "access" })
    }

    async fn verify(&self, key: &SigningKey) -> Result<(), TokenError> {
        self.verify_token(&key.sign(&self.claims())).await
    }

    async fn verify_token(&self, token: &str) -> Result<(), TokenError> {
        self.verifier.verify(Some(token)).await.map(|grant| assert_eq!(grant.subject.as_str(), "alice"))
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn rs256_and_es256_tokens_are_verified_by_the_key_that_they_name() {
    let (rsa, ec, other) = (SigningKey::rsa("r"), SigningKey::ec("e"), SigningKey::ec("other"));
    let world = World::start(&[&rsa, &ec]);
    world.verify(&rsa).await.unwrap();
    world.verify(&ec).await.unwrap();
    assert_eq!(world.issuer.fetches(), 1);
    assert!(matches!(world.verify(&other).await, Err(TokenError::UnknownKey)));
    assert!(matches!(world.verify(&other.named(Some("e"))).await, Err(TokenError::Signature)));
    assert!(matches!(world.verify(&rsa.named(None)).await, Err(TokenError::NoKeyId)));
    assert_eq!(world.issuer.fetches(), 1);
}

#[tokio::test]
async fn a_token_that_names_no_key_is_verified_by_the_only_one() {
    let (ec, oct) = (SigningKey::ec("e"), json!({ "kty": "oct", "k": "A".repeat(43) }));
    let world = World::start(&[]);
    let body = json!({ "keys": [oct, ec.public()] }).to_string();
    world.issuer.answer(Reply::with_body(200, "application/json", body));
    world.verify(&ec.named(None)).await.unwrap();
    // The key is replaced, which only the signature of its token shows.
    let next = SigningKey::ec("next");
    world.issuer.publish(&[&next]);
    world.clock.advance(seconds(30));
    world.verify(&next.named(None)).await.unwrap();
}

#[tokio::test]
async fn the_algorithm_is_the_keys_and_never_the_tokens() {
    let (rsa, ec) = (SigningKey::rsa("r"), SigningKey::ec("e"));
    let world = World::start(&[&rsa, &ec]);
    world.verify(&rsa).await.unwrap();
    // The public half of the key, used as a secret.
    for public in [rsa.public().to_string(), rsa.public()["n"].as_str().unwrap().to_owned(), String::new()] {
        let header = Header { kid: Some("r".to_owned()), ..Header::new(Algorithm::HS256) };
        let token = encode(&header, &world.claims(), &EncodingKey::from_secret(public.as_bytes())).unwrap();
        assert!(matches!(world.verify_token(&token).await, Err(TokenError::Algorithm)));
    }
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
        let header = Header { kid: Some("r".to_owned()), ..Header::new(algorithm) };
        assert!(matches!(
            world.verify_token(&rsa.sign_with(&header, &world.claims())).await,
            Err(TokenError::Algorithm)
        ));
    }
    // An ES256 token that names the RSA key, and the other way round.
    assert!(matches!(world.verify(&ec.named(Some("r"))).await, Err(TokenError::OtherAlgorithm)));
    assert!(matches!(world.verify(&rsa.named(Some("e"))).await, Err(TokenError::OtherAlgorithm)));
    let unsigned =
        format!("eyJhbGciOiJub25lIiwia2lkIjoiciJ9.{}.", rsa.sign(&world.claims()).split('.').nth(1).unwrap());
    assert!(matches!(world.verify_token(&unsigned).await, Err(TokenError::NoJwt)));
    // A key of the token's own, and a header that must be understood.
    let own = Header { jwk: Some(serde_json::from_value(ec.public()).unwrap()), ..Header::new(Algorithm::ES256) };
    assert!(matches!(world.verify_token(&ec.sign_with(&own, &world.claims())).await, Err(TokenError::NoKeyId)));
    let critical = Header { crit: Some(vec!["b64".to_owned()]), ..own };
    assert!(matches!(world.verify_token(&ec.sign_with(&critical, &world.claims())).await, Err(TokenError::Critical)));
}

#[tokio::test]
async fn a_token_must_be_of_the_use_that_is_configured() {
    let key = SigningKey::ec("e");
    let world = World::start(&[&key]);
    for token_use in [json!("id"), Value::Null] {
        let mut claims = world.claims();
        claims["token_use"] = token_use;
        let refused = world.verify_token(&key.sign(&claims)).await.unwrap_err();
        assert_eq!(refused.to_string(), "the token of \"alice\" is for another use (`token_use`)");
    }
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it_at_most_every_thirty_seconds() {
    let (first, second) = (SigningKey::ec("first"), SigningKey::ec("second"));
    let world = World::start(&[&first]);
    world.verify(&first).await.unwrap();
    world.issuer.publish(&[&second]);
    world.clock.advance(seconds(29));
    for _ in 0..20 {
        assert!(matches!(world.verify(&second).await, Err(TokenError::UnknownKey)));
    }
    assert_eq!(world.issuer.fetches(), 1);
    world.clock.advance(seconds(1));
    world.verify(&second).await.unwrap();
    assert_eq!(world.issuer.fetches(), 2);
    assert!(matches!(world.verify(&first).await, Err(TokenError::UnknownKey)), "it was taken back");
}

#[tokio::test]
async fn a_document_is_fetched_again_when_its_time_is_over() {
    let key = SigningKey::ec("e");
    let world = World::start(&[&key]);
    world.issuer.answer(document(&[&key]).header("cache-control", "public, max-age=600"));
    world.verify(&key).await.unwrap();
    world.clock.advance(seconds(599));
    world.verify(&key).await.unwrap();
    assert_eq!(world.issuer.fetches(), 1);
    world.clock.advance(seconds(1));
    world.verify(&key).await.unwrap();
    assert_eq!(world.issuer.fetches(), 2);
}

#[tokio::test]
async fn an_outage_keeps_the_keys_for_an_hour_beyond_their_time() {
    let key = SigningKey::ec("e");
    let world = World::start(&[&key]);
    world.verify(&key).await.unwrap();
    world.issuer.answer(Reply::empty(503));
    world.clock.advance(seconds(3_600));
    for _ in 0..5 {
        world.verify(&key).await.unwrap();
    }
    assert_eq!(world.issuer.fetches(), 2, "one attempt in thirty seconds");
    world.clock.advance(seconds(3_599));
    world.verify(&key).await.unwrap();
    world.clock.advance(seconds(1));
    let refused = world.verify(&key).await.unwrap_err();
    assert!(refused.is_outage() && refused.to_string().contains("JWKS could not be read"), "{refused}");
    world.issuer.publish(&[&key]);
    world.clock.advance(seconds(2));
    world.verify(&key).await.unwrap();
}

#[tokio::test]
async fn a_response_of_no_use_is_no_document_and_the_next_good_one_is() {
    let key = SigningKey::ec("e");
    let elsewhere = Issuer::start(&[&key]);
    let good = document(&[&key]);
    let mut large = good.clone();
    large.body = [&good.body[..], &vec![b' '; 256 * 1024]].concat().into();
    let answers: [Answer; 10] = [
        Reply::empty(404).into(),
        Reply { status: 201, ..good.clone() }.into(),
        Reply::empty(302).header("location", &elsewhere.url()).into(),
        Reply::with_body(200, "text/html", "<html>").into(),
        Reply::with_body(200, "application/json", r#"{"keys":[]}"#).into(),
        large.into(),
        Reply { framing: Framing::CutShort, ..good.clone() }.into(),
        Reply { framing: Framing::ResetMidway, ..good.clone() }.into(),
        Answer::Close,
        Answer::Reset,
    ];
    let world = World::start(&[&key]);
    for answer in answers {
        world.issuer.answer(answer.clone());
        let refused = world.verify(&key).await.unwrap_err();
        assert!(refused.is_outage(), "{answer:?}: {refused}");
        world.clock.advance(seconds(2));
    }
    assert_eq!(elsewhere.fetches(), 0, "redirections are not followed");
    world.issuer.answer(Reply { framing: Framing::Chunked, ..good });
    world.verify(&key).await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_never_answers_is_given_up() {
    let key = SigningKey::ec("e");
    let world = World::with_patience(&[&key], Duration::from_millis(20));
    world.issuer.answer(Answer::Hang);
    assert!(world.verify(&key).await.unwrap_err().is_outage());
}
