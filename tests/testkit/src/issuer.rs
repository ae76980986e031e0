//! An issuer of tokens with keys of its own: signs RS256 and ES256 tokens, and publishes a JWKS document.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use crate::http_server::{Answer, Handler, HttpServer, Reply, Request};

/// The path of the document.
pub const PATH: &str = "/.well-known/jwks.json";

/// Bytes of the header of an RSA key of 2,048 bits in PKCS#8.
const PKCS8_HEADER: usize = 26;

/// A key pair.
pub struct SigningKey {
    /// The name of the key in its tokens and in its published half, if any.
    pub id: Option<String>,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl SigningKey {
    /// A new RSA key of 2,048 bits, for RS256.
    pub fn rsa(id: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        // The library reads PKCS#1, which follows the header of a PKCS#8 key.
        let pkcs1 = &pair.serialize_der()[PKCS8_HEADER..];
        Self::new(id, Algorithm::RS256, EncodingKey::from_rsa_der(pkcs1))
    }

    /// A new key on P-256, for ES256.
    pub fn ec(id: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self::new(id, Algorithm::ES256, EncodingKey::from_ec_der(&pair.serialize_der()))
    }

    fn new(id: &str, algorithm: Algorithm, key: EncodingKey) -> Self {
        Self { id: Some(id.to_owned()), algorithm, key }
    }

    /// The same key under another name, or none.
    #[must_use]
    pub fn named(&self, id: Option<&str>) -> Self {
        Self { id: id.map(str::to_owned), algorithm: self.algorithm, key: self.key.clone() }
    }

    /// The public half as it is published in a document.
    pub fn public(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["use"] = json!("sig");
        if let Some(id) = &self.id {
            jwk["kid"] = json!(id);
        }
        jwk
    }

    /// A token with any claims, which names this key.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: self.id.clone(), ..Header::new(self.algorithm) };
        self.sign_with(&header, claims)
    }

    /// A token with any header that names an algorithm of the same family.
    pub fn sign_with(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.key).unwrap()
    }
}

/// The server of the document; dropping it closes every connection.
pub struct Issuer {
    server: HttpServer,
    answer: Arc<Mutex<Answer>>,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    /// Starts on a free port, with these keys.
    pub fn start(keys: &[&SigningKey]) -> Self {
        let answer = Arc::new(Mutex::new(document(keys).into()));
        let fetches = Arc::default();
        let server = HttpServer::start(0, Document { answer: Arc::clone(&answer), fetches: Arc::clone(&fetches) });
        Self { server: server.unwrap(), answer, fetches }
    }

    /// The URL of the document.
    pub fn url(&self) -> String {
        format!("{}{PATH}", self.server.url())
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Publishes these keys from now on, and no others.
    pub fn publish(&self, keys: &[&SigningKey]) {
        self.answer(document(keys));
    }

    /// Answers every request with this from now on.
    pub fn answer(&self, answer: impl Into<Answer>) {
        *self.answer.lock().unwrap() = answer.into();
    }

    /// The number of requests for the document.
    pub fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

/// A response with the public halves of these keys.
pub fn document(keys: &[&SigningKey]) -> Reply {
    let keys: Vec<_> = keys.iter().map(|key| key.public()).collect();
    Reply::with_body(200, "application/json", json!({ "keys": keys }).to_string())
}

struct Document {
    answer: Arc<Mutex<Answer>>,
    fetches: Arc<AtomicUsize>,
}

impl Handler for Document {
    async fn handle(&self, request: Request) -> Answer {
        if request.path() != PATH {
            return Reply::empty(404).into();
        }
        self.fetches.fetch_add(1, Ordering::SeqCst);
        self.answer.lock().unwrap().clone()
    }
}
