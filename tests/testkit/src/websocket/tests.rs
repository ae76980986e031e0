//! Tests of the client with a WebSocket server that does what each test says.

use std::future::Future;

use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::*;

type ServerSide = WebSocketStream<TcpStream>;

/// Serves one connection; the work gets the handshake's URI too.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    work: impl FnOnce(ServerSide, String) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("ws://{}/stage", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut seen = String::new();
        #[allow(clippy::result_large_err, reason = "the signature is the library's")]
        let look = |request: &Request, response: Response| {
            let bearer = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap());
            seen = format!("{} {bearer}", request.uri());
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, look).await.unwrap();
        work(socket, seen).await;
    });
    endpoint
}

async fn next_json(socket: &mut ServerSide) -> Value {
    serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap()
}

async fn send(socket: &mut ServerSide, frame: Value) {
    socket.send(Message::text(frame.to_string())).await.unwrap();
}

#[tokio::test]
async fn replies_are_matched_and_frames_kept_in_order() {
    let endpoint = serve(|mut socket, seen| async move {
        assert_eq!(seen, "/stage?token=a%2Eb%2Ec&roomId=user%3Aalice Bearer x");
        let request = next_json(&mut socket).await;
        let message = |seq: u64| json!({ "seq": seq, "id": format!("m{seq}") });
        send(&mut socket, json!({ "type": "messages", "roomId": "r", "messages": [message(7), message(8)] })).await;
        send(&mut socket, json!({ "type": "joined", "requestId": "other" })).await;
        let reply =
            json!({ "type": "joined", "requestId": request["requestId"], "roomId": request["roomId"], "seq": 8 });
        send(&mut socket, reply).await;
        send(&mut socket, json!({ "type": "messages", "roomId": "s", "messages": [message(1)] })).await;
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("not json"));
        socket.close(Some(CloseFrame { code: 1001.into(), reason: "going".into() })).await.unwrap();
    })
    .await;
    let handshake = Handshake::token("a.b.c").room("user:alice").header("authorization", "Bearer x");
    let client = Client::connect(&endpoint, &handshake).await.unwrap();
    assert_eq!(client.join("r").await["seq"], 8);
    let messages = client.expect_messages("s", 1, Duration::from_secs(60)).await;
    assert_eq!(messages[0]["id"], "m1");
    assert_eq!(client.seen(), [Seen::new("r", 7, "m7"), Seen::new("r", 8, "m8"), Seen::new("s", 1, "m1")]);
    assert_eq!(client.received().len(), 4);
    assert_eq!(client.end(), None);
    client.send_text("not json");
    assert_eq!(client.ended().await, End::Closed(1001, "going".to_owned()));
}

#[tokio::test]
async fn killing_sends_no_close_frame_and_closing_does() {
    let (report, mut reported) = mpsc::unbounded_channel();
    let work = |report: mpsc::UnboundedSender<bool>| {
        |mut socket: ServerSide, _| async move {
            let mut closed = false;
            while let Some(Ok(message)) = socket.next().await {
                closed |= message.is_close();
            }
            report.send(closed).unwrap();
        }
    };
    let endpoint = serve(work(report.clone())).await;
    Client::connect(&endpoint, &Handshake::default()).await.unwrap().kill().await;
    assert_eq!(reported.recv().await, Some(false));

    let endpoint = serve(work(report.clone())).await;
    drop(Client::connect(&endpoint, &Handshake::default()).await.unwrap());
    assert_eq!(reported.recv().await, Some(false));

    let endpoint = serve(work(report)).await;
    Client::connect(&endpoint, &Handshake::default()).await.unwrap().close().await;
    assert_eq!(reported.recv().await, Some(true));
}

#[tokio::test]
async fn a_refused_handshake_has_its_status() {
    use crate::http_server::{Answer, Handler, HttpServer, Reply, Request};
    struct Refuse;
    impl Handler for Refuse {
        async fn handle(&self, _: Request) -> Answer {
            Reply::empty(401).into()
        }
    }
    let server = HttpServer::start(0, Refuse).unwrap();
    let endpoint = server.url().replace("http", "ws");
    assert_eq!(Client::connect(&endpoint, &Handshake::default()).await.unwrap_err(), Refused(Some(401)));
    drop(server);
    assert_eq!(Client::connect(&endpoint, &Handshake::default()).await.unwrap_err(), Refused(None));
}

#[tokio::test]
#[should_panic(expected = "the connection ended while waiting for two messages; received: 1 frames")]
async fn waiting_in_vain_fails_with_what_was_received() {
    let endpoint = serve(|mut socket, _| async move { send(&mut socket, json!({ "type": "left" })).await }).await;
    let client = Client::connect(&endpoint, &Handshake::default()).await.unwrap();
    client.expect("two messages", |frame| frame["type"] == "messages").await;
}

#[tokio::test]
async fn whoever_asks_on_a_connection_that_fails_is_not_answered() {
    let endpoint = serve(|mut socket, _| async move {
        let asked = next_json(&mut socket).await;
        send(&mut socket, json!({ "type": "messages" })).await;
        send(&mut socket, json!({ "type": "error", "requestId": asked["requestId"] })).await;
        // The second request is read, and answered by closing the connection.
        next_json(&mut socket).await;
    })
    .await;
    let client = Client::connect(&endpoint, &Handshake::default()).await.unwrap();
    let long = Duration::from_secs(60);
    assert_eq!(client.ask(json!({ "action": "sync" }), long).await.unwrap()["type"], "error");
    assert_eq!(client.received_from(1).len(), 1);
    assert_eq!(client.received_from(5).len(), 0);
    assert_eq!(client.ask(json!({ "action": "sync" }), long).await, None);
    assert!(client.end().is_some());
}
