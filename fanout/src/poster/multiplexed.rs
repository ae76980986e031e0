//! HTTP/2 connections, each shared by many workers. Behind a setting: a request costs about as much CPU as over HTTP/1.1
//! (`make bench` measures both), and a connection that breaks takes the requests of all its workers with it.

use std::cell::RefCell;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::TokioExecutor;
use tokio::sync::Mutex;

use super::wire::{Answer, Target, WireError, read_answer};

/// Workers that share a connection: a server allows a hundred streams at least (RFC 9113, section 6.5.2, recommends no less).
const WORKERS: usize = 100;

type Sender = SendRequest<Full<Bytes>>;

/// The connections of all workers.
#[derive(Default)]
pub(super) struct Multiplexed {
    connections: RefCell<Vec<Option<Sender>>>,
    /// Held while a connection is opened: workers that share it wait for the same one.
    opening: Mutex<()>,
}

impl Multiplexed {
    /// Sends a worker's request and reads the response to its end. A connection that the server has closed since it
    /// was last used is replaced once.
    pub(super) async fn exchange(
        &self,
        target: &Target,
        worker: usize,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, WireError> {
        let number = worker / WORKERS;
        if let Some(sender) = self.open(number) {
            match send(sender, request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    self.forget(number);
                    if matches!(error, WireError::Midway(_)) {
                        return Err(error);
                    }
                }
            }
        }
        let sender = self.connect(target, number).await?;
        let answer = send(sender, request).await;
        if answer.is_err() {
            self.forget(number);
        }
        answer
    }

    fn open(&self, number: usize) -> Option<Sender> {
        let connections = self.connections.borrow();
        connections.get(number)?.clone().filter(|sender| !sender.is_closed())
    }

    /// Forgets a connection that broke, unless another worker has replaced it already.
    fn forget(&self, number: usize) {
        if let Some(connection) = self.connections.borrow_mut().get_mut(number) {
            connection.take_if(|sender| sender.is_closed());
        }
    }

    async fn connect(&self, target: &Target, number: usize) -> Result<Sender, WireError> {
        let _opening = self.opening.lock().await;
        if let Some(sender) = self.open(number) {
            return Ok(sender);
        }
        let (sender, connection) = handshake(TokioExecutor::new(), target.open().await?).await?;
        // It ends when its last sender is dropped, or breaks; every request over it learns of that by itself.
        tokio::spawn(connection);
        let mut connections = self.connections.borrow_mut();
        if connections.len() <= number {
            connections.resize_with(number + 1, || None);
        }
        connections[number] = Some(sender.clone());
        Ok(sender)
    }
}

async fn send(mut sender: Sender, request: Request<Full<Bytes>>) -> Result<Answer, WireError> {
    sender.ready().await?;
    read_answer(sender.send_request(request).await?).await
}
