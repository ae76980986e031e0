//! The way of the functions' posts to the emulator's `@connections` API, with faults on it.

use std::sync::{Arc, Mutex};

use http::header::CONNECTION;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use testkit::http_server::{Answer, Handler, HttpServer, Reply, Request};

/// The behaviour of the endpoint towards posts.
#[derive(Debug)]
pub(crate) enum Behaviour {
    /// They arrive.
    Pass,
    /// They are never answered and do not arrive.
    Hang,
    /// They are answered 410 and do not arrive, though the connections live. Everything else passes.
    SayGone,
    /// The next so many arrive, the others hang.
    HangAfter(usize),
    /// This share of the posts is answered with this status and does not arrive. Everything else passes.
    Refuse { status: u16, share: f64, random: fastrand::Rng },
    /// This share of them fails; half of those arrive all the same.
    Lose { share: f64, random: fastrand::Rng },
}

/// The fate of one request.
enum Fate {
    Arrives,
    Hangs,
    Refused(u16),
    Lost { arrives: bool },
}

/// The running endpoint.
#[derive(Debug)]
pub(crate) struct Posts {
    server: HttpServer,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// The emulator, when its port is known.
    api: Option<Arc<Api>>,
    behaviour: Behaviour,
    hanging: usize,
}

impl Posts {
    pub(crate) fn start() -> Self {
        let state = State { api: None, behaviour: Behaviour::Pass, hanging: 0 };
        let state = Arc::new(Mutex::new(state));
        let server = HttpServer::start(0, Way(Arc::clone(&state))).expect("a free port");
        Self { server, state }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// Sets the URL that posts go to; before that they are answered 503.
    pub(crate) fn lead_to(&self, url: &str) {
        self.state.lock().unwrap().api = Some(Arc::new(Api::at(url)));
    }

    /// Sets the behaviour from now on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        let mut state = self.state.lock().unwrap();
        state.behaviour = behaviour;
        state.hanging = 0;
    }

    /// Posts that hang since the behaviour was set.
    pub(crate) fn hanging(&self) -> usize {
        self.state.lock().unwrap().hanging
    }
}

impl State {
    fn decide(&mut self, request: &Request) -> Fate {
        let fate = match &mut self.behaviour {
            Behaviour::SayGone if request.method == http::Method::POST => Fate::Refused(410),
            Behaviour::Refuse { status, share, random } if request.method == http::Method::POST => {
                if random.f64() < *share { Fate::Refused(*status) } else { Fate::Arrives }
            }
            Behaviour::Pass | Behaviour::SayGone | Behaviour::Refuse { .. } => Fate::Arrives,
            Behaviour::Hang | Behaviour::HangAfter(0) => Fate::Hangs,
            Behaviour::HangAfter(left) => {
                *left -= 1;
                Fate::Arrives
            }
            Behaviour::Lose { share, random } => {
                if random.f64() < *share {
                    Fate::Lost { arrives: random.bool() }
                } else {
                    Fate::Arrives
                }
            }
        };
        self.hanging += usize::from(matches!(fate, Fate::Hangs));
        fate
    }
}

/// The emulator. Requests pass as they came: their signature covers the `Host`, and is verified.
#[derive(Debug)]
pub(crate) struct Api {
    client: Client<HttpConnector, Full<bytes::Bytes>>,
    url: String,
}

impl Api {
    pub(crate) fn at(url: &str) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), url: url.to_owned() }
    }

    pub(crate) async fn call(&self, request: &Request) -> Reply {
        let mut outgoing = http::Request::new(Full::new(request.body.clone()));
        *outgoing.method_mut() = request.method.clone();
        *outgoing.uri_mut() = format!("{}{}", self.url, request.target).parse().expect("a URL");
        *outgoing.headers_mut() = request.headers.clone();
        outgoing.headers_mut().remove(CONNECTION);
        // Only a stack that is being stopped does not answer.
        let Ok(response) = self.client.request(outgoing).await else { return Reply::empty(502) };
        let (head, body) = response.into_parts();
        let Ok(body) = body.collect().await else { return Reply::empty(502) };
        let mut reply = Reply::with_body(head.status.as_u16(), "application/json", body.to_bytes());
        // The header `x-amzn-errortype` names an error.
        for (name, value) in head.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-amzn-")) {
            reply = reply.header(name.as_str(), value.to_str().expect("text"));
        }
        reply
    }
}

struct Way(Arc<Mutex<State>>);

impl Handler for Way {
    async fn handle(&self, request: Request) -> Answer {
        let (api, fate) = {
            let mut state = self.0.lock().unwrap();
            (state.api.clone(), state.decide(&request))
        };
        let Some(api) = api else { return Reply::empty(503).into() };
        let pass = async || api.call(&request).await;
        match fate {
            Fate::Arrives => pass().await.into(),
            Fate::Hangs => Answer::Hang,
            Fate::Refused(410) => Reply::empty(410).header("x-amzn-errortype", "GoneException").into(),
            Fate::Refused(status) => Reply::empty(status).into(),
            Fate::Lost { arrives } => {
                if arrives {
                    pass().await;
                }
                Answer::Reset
            }
        }
    }
}
