//! The way of the functions' calls to DynamoDB, SQS and Secrets Manager, with faults on it.

use std::sync::{Arc, Mutex};

use testkit::aws_endpoint::error_reply;
use testkit::http_server::{Answer, Handler, HttpServer, Reply, Request};

use crate::posts::Api;

/// A service, by the beginning of its calls' `x-amz-target`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Service {
    DynamoDb,
    Sqs,
    SecretsManager,
}

impl Service {
    /// The services that the functions call through the endpoint, as `AWS_ENDPOINT_URL_...` names them.
    pub(super) const NAMES: [&'static str; 3] = ["DYNAMODB", "SQS", "SECRETS_MANAGER"];

    fn of(request: &Request) -> Option<Self> {
        let (service, _) = request.header("x-amz-target")?.rsplit_once('.')?;
        match service {
            "DynamoDB_20120810" => Some(Self::DynamoDb),
            "AmazonSQS" => Some(Self::Sqs),
            "secretsmanager" => Some(Self::SecretsManager),
            _ => None,
        }
    }
}

/// The fate of a call that is in trouble.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// It is throttled.
    Throttled,
    /// It is answered with an internal error.
    Broken,
    /// It is neither answered nor carried out.
    Hangs,
    /// It is carried out, and its caller never learns of it.
    Unanswered,
}

/// Trouble for a share of a service's calls.
#[derive(Debug)]
struct Spell {
    service: Service,
    trouble: Trouble,
    share: f64,
    random: fastrand::Rng,
}

/// The running endpoint.
#[derive(Debug)]
pub(super) struct Services {
    server: HttpServer,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The emulator, when its port is known.
    emulator: Option<Arc<Api>>,
    spell: Option<Spell>,
    hit: u64,
}

impl Services {
    pub(super) fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let server = HttpServer::start(0, Way(Arc::clone(&state))).expect("a free port");
        Self { server, state }
    }

    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    /// Sets the URL that calls go to; before that they are answered 503.
    pub(super) fn lead_to(&self, url: &str) {
        self.state.lock().unwrap().emulator = Some(Arc::new(Api::at(url)));
    }

    /// Puts this share of a service's calls in trouble from now on.
    pub(super) fn trouble(&self, service: Service, trouble: Trouble, share: f64, random: fastrand::Rng) {
        self.state.lock().unwrap().spell = Some(Spell { service, trouble, share, random });
    }

    /// All calls pass again.
    pub(super) fn pass(&self) {
        self.state.lock().unwrap().spell = None;
    }

    /// Calls that were in trouble so far.
    pub(super) fn hit(&self) -> u64 {
        self.state.lock().unwrap().hit
    }
}

impl State {
    fn decide(&mut self, request: &Request) -> Option<Trouble> {
        let spell = self.spell.as_mut()?;
        let hit = Service::of(request) == Some(spell.service) && spell.random.f64() < spell.share;
        self.hit += u64::from(hit);
        hit.then_some(spell.trouble)
    }
}

struct Way(Arc<Mutex<State>>);

impl Handler for Way {
    async fn handle(&self, request: Request) -> Answer {
        let (emulator, trouble) = {
            let mut state = self.0.lock().unwrap();
            (state.emulator.clone(), state.decide(&request))
        };
        let Some(emulator) = emulator else { return Reply::empty(503).into() };
        match trouble {
            None => emulator.call(&request).await.into(),
            Some(Trouble::Throttled) => error_reply(400, "ThrottlingException", "Rate exceeded").into(),
            Some(Trouble::Broken) => error_reply(500, "InternalServerError", "The request failed").into(),
            Some(Trouble::Hangs) => Answer::Hang,
            Some(Trouble::Unanswered) => {
                emulator.call(&request).await;
                Answer::Reset
            }
        }
    }
}
