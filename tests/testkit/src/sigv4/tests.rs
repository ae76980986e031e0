//! The accepted signatures are from AWS's published test suite for Signature Version 4: the library signs in the same
//! way.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;

const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";

/// A request with a body, signed with the headers that it has.
fn request(method: Method, target: &str, headers: &[(&str, &str)], body: &'static str, signature: &str) -> Request {
    let mut all = vec![("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
    all.extend(headers);
    all.sort_unstable();
    let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={}, Signature={signature}",
        names.join(";")
    );
    all.push(("authorization", &authorization));
    let header = |(name, value): &(&str, &str)| (HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    let headers: HeaderMap = all.iter().map(header).collect();
    Request {
        method,
        target: target.to_owned(),
        headers,
        body: Bytes::from_static(body.as_bytes()),
        tcp_connection: 1,
        arrived: Instant::now(),
    }
}

fn get() -> Request {
    request(Method::GET, "/", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")
}

fn get_with_token() -> Request {
    let signature = "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8";
    request(Method::GET, "/", &[("x-amz-security-token", TOKEN)], "", signature)
}

fn post() -> Request {
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-length", "13"),
        ("x-amz-content-sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"),
    ];
    let signature = "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b";
    request(Method::POST, "/", &headers, "Param1=value1", signature)
}

fn expected(key: &str, secret: &str, token: Option<&str>) -> Expected {
    Expected {
        credentials: Credentials::new(key, secret, token.map(str::to_owned), None, "test"),
        region: "us-east-1".to_owned(),
        service: "service".to_owned(),
        now: None,
    }
}

fn published(token: Option<&str>) -> Expected {
    expected("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
}

#[test]
fn published_signatures_are_accepted() {
    assert_eq!(verify(&get(), &published(None)), Ok(()));
    assert_eq!(verify(&post(), &published(None)), Ok(()));
    assert_eq!(verify(&get_with_token(), &published(Some(TOKEN))), Ok(()));
    assert_eq!(access_key(&get()), Some("AKIDEXAMPLE"));
}

#[test]
fn what_was_changed_or_not_signed_is_noticed() {
    type Tamper = fn(&mut Request);
    let tampered: [(&str, Tamper); 8] = [
        ("method", |request| request.method = Method::PUT),
        ("path", |request| request.target = "/other".to_owned()),
        ("query", |request| request.target = "/?a=b".to_owned()),
        ("body", |request| request.body = Bytes::from_static(b"Param1=value2")),
        ("host", |request| set(request, "host", "example.com")),
        ("signed header", |request| set(request, "content-type", "x/y")),
        ("digest", |request| set(request, "x-amz-content-sha256", "0")),
        ("header of AWS that is not signed", |request| set(request, "x-amz-target", "Service.Operation")),
    ];
    for (what, tamper) in tampered {
        let mut request = post();
        tamper(&mut request);
        assert!(matches!(verify(&request, &published(None)), Err(SignatureError::Mismatch { .. })), "{what}");
    }
}

fn set(request: &mut Request, name: &'static str, value: &'static str) {
    request.headers.insert(name, HeaderValue::from_static(value));
}

#[test]
fn what_is_signed_with_or_for_something_else_is_refused() {
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let others = [
        ("key", get(), expected("AKIDOTHER", secret, None)),
        ("secret", get(), expected("AKIDEXAMPLE", "another", None)),
        ("service", get(), Expected { service: "execute-api".to_owned(), ..published(None) }),
        ("region", get(), Expected { region: "eu-west-1".to_owned(), ..published(None) }),
        ("no token", get(), published(Some(TOKEN))),
        ("a token", get_with_token(), published(None)),
        ("another token", get_with_token(), published(Some("another"))),
    ];
    for (what, request, expected) in others {
        assert!(matches!(verify(&request, &expected), Err(SignatureError::Mismatch { .. })), "{what}");
    }
    for missing in ["authorization", "x-amz-date"] {
        let mut request = get();
        request.headers.remove(missing);
        assert_eq!(verify(&request, &published(None)), Err(SignatureError::Malformed(missing)));
    }
}

#[test]
fn the_date_must_be_near_the_clock() {
    let signed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
    let at = |now| verify(&get(), &Expected { now: Some(now), ..published(None) });
    let skewed = Err(SignatureError::Skewed("20150830T123600Z".to_owned()));
    let second = Duration::from_secs(1);
    assert_eq!([at(signed_at + MAX_SKEW), at(signed_at - MAX_SKEW)], [Ok(()), Ok(())]);
    assert_eq!([at(signed_at + MAX_SKEW + second), at(signed_at - MAX_SKEW - second)], [skewed.clone(), skewed]);
}
