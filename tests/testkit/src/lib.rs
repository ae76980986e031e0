//! The harness of Roomcast's tests: fakes of the AWS services it talks to, the Lambda Runtime API, the local stack
//! with real WebSocket clients, and checkers of what was seen.
//!
//! Each fake listens on a free loopback port on a thread of its own, records what reached it, and can be told to
//! fail; the production code reaches it as it reaches AWS, by URL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "in a test a broken expectation must stop the test, loudly and where it broke"
)]
#![allow(clippy::must_use_candidate, reason = "a getter whose value is not used harms no test")]

pub mod application;
pub mod aws_endpoint;
pub mod aws_sdk;
pub mod aws_server;
pub mod bounded_queue;
pub mod clock;
pub mod connections_server;
pub mod delayed_queue;
pub mod dynamodb;
pub mod emf;
pub mod events;
pub mod fast_server;
pub mod fifo_queue;
pub mod history;
pub mod http_server;
pub mod issuer;
pub mod plot;
pub mod presence_view;
pub mod programs;
pub mod runtime_api;
pub mod secrets_manager;
pub mod seeds;
pub mod sigv4;
pub mod stack;
pub mod steps;
pub mod tls;
pub mod token_bucket;
pub mod websocket;
