//! Responses: the parts that matter here, and where an HTTP/1.1 response ends.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};

/// The most bytes of a response that are read so that its connection can be used again. With a longer response the
/// connection is closed.
pub(super) const DRAINED: usize = 16 * 1024;

/// The most headers that a response may have.
const HEADERS: usize = 64;

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PostResponse {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
}

/// The part of an HTTP/1.1 response that was received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// More of it is to come.
    Partly,
    /// It is whole, or too long to be read to its end.
    Wholly {
        response: PostResponse,
        /// The response ended with the last byte received, and the server keeps the connection open.
        is_reusable: bool,
    },
}

/// The received bytes are no HTTP/1.1 response.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the response is malformed: {0}")]
    Head(#[from] httparse::Error),
    #[error("the response is malformed: its length")]
    Length,
    #[error("the response's head is longer than {DRAINED} bytes")]
    Endless,
}

/// The mark of a response's end.
enum Extent {
    /// The number of bytes in its body.
    Length(usize),
    /// Its last chunk.
    Chunked,
    /// The end of the connection.
    Connection,
}

/// Reads a response from everything that was received since its request.
pub(super) fn read(received: &[u8]) -> Result<Received, Malformed> {
    let mut headers = [const { MaybeUninit::<Header>::uninit() }; HEADERS];
    let mut head = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut head, received, &mut headers)?;
    let Status::Complete(head_len) = parsed else {
        return if received.len() > DRAINED { Err(Malformed::Endless) } else { Ok(Received::Partly) };
    };
    let body = &received[head_len..];
    let status = head.code.unwrap_or_default();
    // An informational response, such as "100 Continue": the actual response comes after it.
    if (100..200).contains(&status) {
        return read(body);
    }
    let (extent, is_kept) = framing(&head, status)?;
    let end = match extent {
        Extent::Length(length) if length > DRAINED => Some(None),
        Extent::Length(length) => (length <= body.len()).then_some(Some(length)),
        Extent::Chunked => match chunked_len(body)? {
            Some(length) => Some(Some(length)),
            None => (body.len() > DRAINED).then_some(None),
        },
        Extent::Connection => Some(None),
    };
    let Some(end) = end else { return Ok(Received::Partly) };
    let retry_after = header(&head, "retry-after").map(str::to_owned);
    let response = PostResponse { status, retry_after };
    // Bytes after the end would be taken for the beginning of the next response.
    Ok(Received::Wholly { response, is_reusable: is_kept && end == Some(body.len()) })
}

/// The extent of a response, and whether the server keeps the connection open.
fn framing(head: &httparse::Response, status: u16) -> Result<(Extent, bool), Malformed> {
    let says = |name, token: &str| {
        header(head, name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    let is_kept = head.version == Some(1) && !says("connection", "close");
    let extent = if matches!(status, 204 | 304) {
        Extent::Length(0)
    } else if says("transfer-encoding", "chunked") {
        Extent::Chunked
    } else if let Some(length) = header(head, "content-length") {
        Extent::Length(length.trim().parse().map_err(|_| Malformed::Length)?)
    } else {
        Extent::Connection
    };
    Ok((extent, is_kept))
}

fn header<'a>(head: &httparse::Response<'_, 'a>, name: &str) -> Option<&'a str> {
    let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    str::from_utf8(header.value).ok()
}

/// The length of a chunked body, with its last chunk and trailers; `None` while some of it has not arrived.
fn chunked_len(body: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut at = 0;
    while let Some(rest) = body.get(at..) {
        let parsed = httparse::parse_chunk_size(rest).map_err(|_| Malformed::Length)?;
        let Status::Complete((start, size)) = parsed else { return Ok(None) };
        at += start;
        if size == 0 {
            return trailers_len(&body[at..]).map(|length| Some(at + length?));
        }
        let size = usize::try_from(size).map_err(|_| Malformed::Length)?;
        // The chunk and the line end after it.
        at = at.saturating_add(size).saturating_add(2);
    }
    Ok(None)
}

/// The length of the trailers: the lines after the last chunk, up to the empty one.
fn trailers_len(rest: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    match httparse::parse_headers(rest, &mut headers)? {
        Status::Complete((length, _)) => Ok(Some(length)),
        Status::Partial => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wholly(status: u16, is_reusable: bool) -> Received {
        Received::Wholly { response: PostResponse { status, retry_after: None }, is_reusable }
    }

    const CHUNKED: &str =
        "HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\n\r\n\r\n0\r\nx-trailer: y\r\n\r\n";

    #[test]
    fn a_response_is_whole_at_its_last_byte_and_not_before() {
        let responses = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", wholly(200, true)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{\"a\"}", wholly(200, true)),
            ("HTTP/1.1 204 No Content\r\n\r\n", wholly(204, true)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 410 Gone\r\ncontent-length: 2\r\n\r\n{}", wholly(410, true)),
            (CHUNKED, wholly(500, true)),
            ("HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 2\r\n\r\n{}", wholly(200, false)),
            ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", wholly(200, false)),
            ("HTTP/1.1 200 OK\r\n\r\n", wholly(200, false)),
        ];
        for (response, expected) in responses {
            for end in 0..response.len() {
                assert_eq!(read(&response.as_bytes()[..end]).unwrap(), Received::Partly, "{response:?} up to {end}");
            }
            assert_eq!(read(response.as_bytes()).unwrap(), expected, "{response:?}");
        }
    }

    #[test]
    fn bytes_after_a_response_are_never_taken_for_the_next_one() {
        for response in ["HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{}", &(CHUNKED.to_owned() + "H")] {
            let Received::Wholly { is_reusable, .. } = read(response.as_bytes()).unwrap() else { panic!("{response}") };
            assert!(!is_reusable, "{response}");
        }
    }

    #[test]
    fn retry_after_is_taken_along() {
        let response = "HTTP/1.1 429 x\r\nRetry-After: 2\r\ncontent-length: 0\r\n\r\n";
        let Received::Wholly { response, .. } = read(response.as_bytes()).unwrap() else { panic!("it is whole") };
        assert_eq!(response, PostResponse { status: 429, retry_after: Some("2".to_owned()) });
    }

    #[test]
    fn a_long_body_is_not_waited_for() {
        let long = "x".repeat(DRAINED + 1);
        let lengthy = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", long.len());
        assert_eq!(read(lengthy.as_bytes()).unwrap(), wholly(200, false));
        let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffff\r\n{long}");
        assert_eq!(read(chunked.as_bytes()).unwrap(), wholly(200, false));
        let head = format!("HTTP/1.1 200 OK\r\nx: {long}");
        assert!(matches!(read(head.as_bytes()), Err(Malformed::Endless)));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for response in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        ] {
            assert!(read(response.as_bytes()).is_err(), "{response}");
        }
    }

    proptest! {
        #[test]
        fn chunks_of_any_bytes_are_counted(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8)) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            for end in 0..body.len() {
                prop_assert_eq!(chunked_len(&body[..end]).unwrap(), None);
            }
            prop_assert_eq!(chunked_len(&body).unwrap(), Some(body.len()));
        }
    }
}
