use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::*;

struct Fixed(Answer);

impl Handler for Fixed {
    async fn handle(&self, _: Request) -> Answer {
        self.0.clone()
    }
}

struct Echo;

impl Handler for Echo {
    async fn handle(&self, request: Request) -> Answer {
        let text = format!("{} {} {}", request.method, request.target, request.body.len());
        Reply::with_body(200, "text/plain", text).into()
    }
}

fn connect(server: &HttpServer) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

const POST: &[u8] = b"POST /a%3D?b=c HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi";

fn exchange(answer: impl Into<Answer>) -> (String, std::io::Result<usize>) {
    let server = HttpServer::start(0, Fixed(answer.into())).unwrap();
    let mut stream = connect(&server);
    stream.write_all(POST).unwrap();
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (String::from_utf8(received).unwrap(), Ok(0)),
            Ok(length) => received.extend_from_slice(&buffer[..length]),
            Err(error) => return (String::from_utf8(received).unwrap(), Err(error)),
        }
        if received.ends_with(b"\r\n\r\nwhole") || received.ends_with(b"0\r\n\r\n") {
            let length = received.len();
            return (String::from_utf8(received).unwrap(), Ok(length));
        }
    }
}

fn whole() -> Reply {
    Reply::with_body(200, "text/plain", "whole")
}

#[test]
fn a_reply_carries_its_length_and_headers() {
    let (text, end) = exchange(whole().header("x-a", "b"));
    assert!(end.is_ok_and(|length| length > 0));
    let head = text.to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{text}");
    assert!(head.contains("content-length: 5\r\n") && head.contains("x-a: b\r\n"), "{text}");
}

#[test]
fn a_chunked_body_has_no_length() {
    let (text, _) = exchange(Reply { framing: Framing::Chunked, ..whole() });
    assert!(text.to_lowercase().contains("transfer-encoding: chunked"), "{text}");
    assert!(text.ends_with("2\r\nwh\r\n3\r\nole\r\n0\r\n\r\n"), "{text}");
}

#[test]
fn a_body_cut_short_ends_with_fin() {
    let (text, end) = exchange(Reply { framing: Framing::CutShort, body: "part".into(), ..whole() });
    assert!(text.to_lowercase().contains("content-length: 68\r\n") && text.ends_with("\r\n\r\npart"), "{text}");
    assert_eq!(end.unwrap(), 0);
}

#[test]
fn a_body_can_be_reset_midway() {
    let (text, end) = exchange(Reply { framing: Framing::ResetMidway, body: "part".into(), ..whole() });
    assert!(text.ends_with("\r\n\r\npart"), "{text}");
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn close_and_reset_give_no_answer() {
    let (text, end) = exchange(Answer::Close);
    assert_eq!((text.as_str(), end.unwrap()), ("", 0));
    let (text, end) = exchange(Answer::Reset);
    assert_eq!((text.as_str(), end.unwrap_err().kind()), ("", ErrorKind::ConnectionReset));
}

#[test]
fn hanging_keeps_the_connection_open() {
    let server = HttpServer::start(0, Fixed(Answer::Hang)).unwrap();
    let mut stream = connect(&server);
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    stream.write_all(POST).unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    drop(server);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)), "dropping the server ends its connections");
}

#[test]
fn pipelined_requests_are_answered_in_order_with_their_raw_target() {
    let server = HttpServer::start(0, Echo).unwrap();
    let mut stream = connect(&server);
    stream.write_all(&[POST, b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"].concat()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let first = text.find("POST /a%3D?b=c 2").expect("the first answer");
    let second = text.find("GET /last 0").expect("the second answer");
    assert!(first < second);
    assert_eq!(server.accepted(), 1);
}

/// Sends requests on one connection until it ends; returns how many were answered and the last answer.
fn requests_until_closed(keep_alive: KeepAlive) -> (usize, String) {
    let server = HttpServer::start(0, Fixed(whole().into())).unwrap();
    server.set_keep_alive(keep_alive);
    let mut stream = connect(&server);
    let (mut answered, mut last) = (0, String::new());
    // The end of a connection may arrive with the answer or after the next request; in either case the next request has
    // no answer.
    while let Some(answer) = stream.write_all(POST).ok().and_then(|()| read_answer(&mut stream)) {
        answered += 1;
        last = answer;
    }
    (answered, last)
}

/// Reads one answer with a content length; `None` when the connection ends first.
fn read_answer(stream: &mut TcpStream) -> Option<String> {
    let (mut answer, mut byte) = (Vec::new(), [0]);
    loop {
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
            if body.len() == length.trim().parse::<usize>().unwrap() {
                return Some(text);
            }
        }
        stream.read_exact(&mut byte).ok()?;
        answer.push(byte[0]);
    }
}

#[test]
fn keep_alive_ends_announced_or_silently() {
    let (answered, last) = requests_until_closed(KeepAlive::Announced(3));
    assert_eq!(answered, 3);
    assert!(last.contains("connection: close"), "{last}");

    let (answered, last) = requests_until_closed(KeepAlive::Silent(3));
    assert_eq!(answered, 3);
    assert!(!last.contains("connection: close"), "{last}");
}
