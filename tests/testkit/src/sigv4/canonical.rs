//! The canonical form of a request, task 1 of Signature Version 4.

use std::fmt::Write;

use percent_encoding::percent_decode_str;

use crate::http_server::Request;

pub(super) fn request(request: &Request, signed_headers: &[&str], payload_hash: &str) -> String {
    let mut headers = String::new();
    for name in signed_headers {
        let values = request.headers.get_all(*name).iter();
        let values: Vec<_> = values.map(|value| single_spaced(&String::from_utf8_lossy(value.as_bytes()))).collect();
        writeln!(headers, "{name}:{}", values.join(",")).unwrap();
    }
    format!(
        "{}\n{}\n{}\n{headers}\n{}\n{payload_hash}",
        request.method,
        path(request.path()),
        query(request.query()),
        signed_headers.join(";"),
    )
}

/// Normalised (RFC 3986, section 6) and encoded once more: every service but S3 signs the path as it is on the
/// wire encoded again, so `%40connections` becomes `%2540connections`.
fn path(raw: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let mut path: String = segments.iter().flat_map(|segment| ["/".to_owned(), encode(segment.as_bytes())]).collect();
    if path.is_empty() || raw.ends_with('/') {
        path.push('/');
    }
    path
}

/// Names and values encoded once, sorted by name, then by value.
fn query(raw: &str) -> String {
    let encoded = |text: &str| encode(&percent_decode_str(text).collect::<Vec<_>>());
    let mut parameters: Vec<_> = raw
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    parameters.sort();
    let parameters: Vec<_> = parameters.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    parameters.join("&")
}

fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(*byte)),
            _ => write!(text, "%{byte:02X}").unwrap(),
        }
        text
    })
}

/// Trimmed, and every run of spaces made one.
fn single_spaced(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
