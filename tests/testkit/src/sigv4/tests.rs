//! The vectors are AWS's published test suite for Signature Version 4.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

const SESSION_TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";

fn request(request_line: &str, headers: &[(&str, &str)], body: &'static str) -> Request {
    let (method, rest) = request_line.split_once(' ').unwrap();
    let mut map = HeaderMap::new();
    map.append("host", HeaderValue::from_static("example.amazonaws.com"));
    map.append("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
    for (name, value) in headers {
        map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Request {
        method: method.parse().unwrap(),
        target: rest.to_owned(),
        headers: map,
        body: Bytes::from_static(body.as_bytes()),
        arrived: Instant::now(),
    }
}

fn signed(mut request: Request, signed_headers: &str, signature: &str) -> Request {
    let value = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders={signed_headers}, Signature={signature}"
    );
    request.headers.insert("authorization", HeaderValue::from_str(&value).unwrap());
    request
}

fn expected() -> Expected {
    Expected {
        credentials: Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        region: "us-east-1".to_owned(),
        service: "service".to_owned(),
        now: None,
    }
}

fn get_vanilla() -> Request {
    signed(
        request("GET /", &[], ""),
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    )
}

fn post_with_body() -> Request {
    let hash = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-length", "13"),
        ("x-amz-content-sha256", hash),
    ];
    signed(
        request("POST /", &headers, "Param1=value1"),
        "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
        "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
    )
}

fn with_session_token() -> (Request, Expected) {
    let request = signed(
        request("GET /", &[("x-amz-security-token", SESSION_TOKEN)], ""),
        "host;x-amz-date;x-amz-security-token",
        "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
    );
    let mut expected = expected();
    expected.credentials.session_token = Some(SESSION_TOKEN.to_owned());
    (request, expected)
}

#[test]
fn published_requests_without_a_body() {
    let vectors = [
        ("GET /", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("GET /?Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        ("POST /?Param1=value1", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
        ("GET /ሴ", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        ("GET /?ሴ=bar", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        ("GET /example/..", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("GET /./example", "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"),
        ("GET /example space/", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
    ];
    for (line, signature) in vectors {
        let request = signed(request(line, &[], ""), "host;x-amz-date", signature);
        verify(&request, &expected()).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn published_requests_with_headers_and_a_body() {
    verify(&post_with_body(), &expected()).unwrap();

    let (request_with_token, expected_token) = with_session_token();
    verify(&request_with_token, &expected_token).unwrap();

    let headers = [("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")];
    let duplicates = signed(
        request("GET /", &headers, ""),
        "host;my-header1;x-amz-date",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    );
    verify(&duplicates, &expected()).unwrap();

    let spaces = signed(
        request("GET /", &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")], ""),
        "host;my-header1;my-header2;x-amz-date",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    );
    verify(&spaces, &expected()).unwrap();
}

/// The canonical path that AWS gives for a post to a connection.
#[test]
fn the_path_of_a_connection_is_encoded_once_more() {
    let request = signed(request("POST /test/@connections/JBDvjfGEIAMCERw%3D", &[], ""), "host;x-amz-date", "0");
    let Err(SignatureError::Mismatch { canonical_request, .. }) = verify(&request, &expected()) else {
        panic!("a wrong signature was accepted");
    };
    assert!(
        canonical_request.starts_with("POST\n/test/%40connections/JBDvjfGEIAMCERw%253D\n\n"),
        "{canonical_request}"
    );
}

#[test]
fn tampering_with_any_part_is_noticed() {
    type Tamper = fn(&mut Request);
    let tampered: [(&str, Tamper); 4] = [
        ("method", |request| request.method = http::Method::PUT),
        ("path", |request| request.target = "/other".to_owned()),
        ("query", |request| request.target = "/?a=b".to_owned()),
        ("signed header", |request| drop(request.headers.insert("content-type", HeaderValue::from_static("x/y")))),
    ];
    for (what, tamper) in tampered {
        let mut request = post_with_body();
        tamper(&mut request);
        assert!(matches!(verify(&request, &expected()), Err(SignatureError::Mismatch { .. })), "{what}");
    }
    let mut request = post_with_body();
    request.body = Bytes::from_static(b"Param1=value2");
    assert_eq!(verify(&request, &expected()), Err(SignatureError::WrongPayloadHash));

    let mut wrong_secret = expected();
    wrong_secret.credentials.secret_key.push('x');
    assert!(matches!(verify(&get_vanilla(), &wrong_secret), Err(SignatureError::Mismatch { .. })));
}

#[test]
fn what_must_be_signed_must_be_signed() {
    let mut request = get_vanilla();
    request.headers.insert("x-amz-target", HeaderValue::from_static("Service.Operation"));
    assert_eq!(verify(&request, &expected()), Err(SignatureError::Unsigned("x-amz-target".to_owned())));

    let request = signed(get_vanilla(), "x-amz-date", "0");
    assert_eq!(verify(&request, &expected()), Err(SignatureError::Unsigned("host".to_owned())));

    let (_, expected_token) = with_session_token();
    assert_eq!(verify(&get_vanilla(), &expected_token), Err(SignatureError::WrongSessionToken));
}

#[test]
fn another_key_scope_or_form_is_refused() {
    let mut other = expected();
    other.credentials.access_key = "AKIDOTHER".to_owned();
    assert_eq!(verify(&get_vanilla(), &other), Err(SignatureError::WrongAccessKey("AKIDEXAMPLE".to_owned())));
    assert!(matches!(
        verify(&get_vanilla(), &Expected { service: "execute-api".to_owned(), ..expected() }),
        Err(SignatureError::WrongScope(_))
    ));
    assert_eq!(verify(&request("GET /", &[], ""), &expected()), Err(SignatureError::Missing("authorization")));
    let mut request = get_vanilla();
    request.headers.insert("authorization", HeaderValue::from_static("Bearer x"));
    assert!(matches!(verify(&request, &expected()), Err(SignatureError::Malformed(_))));
    assert_eq!(access_key(&get_vanilla()), Some("AKIDEXAMPLE"));
}

#[test]
fn the_date_must_be_near_the_clock() {
    // 2015-08-30T12:36:00Z.
    let signed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
    let at = |now| verify(&get_vanilla(), &Expected { now: Some(now), ..expected() });
    assert_eq!(at(signed_at), Ok(()));
    assert_eq!(at(signed_at + MAX_SKEW), Ok(()));
    assert!(matches!(at(signed_at + MAX_SKEW * 2), Err(SignatureError::Skewed(_))));
    assert!(matches!(at(signed_at - MAX_SKEW * 2), Err(SignatureError::Skewed(_))));
}

#[test]
fn what_is_signed_here_is_accepted_and_is_no_other_request() {
    let expected = expected();
    let signed = |body: &'static str| {
        let mut request = request("POST /", &[], body);
        let authorization = sign(&request, &expected.credentials, &expected.region, &expected.service);
        request.headers.insert("authorization", HeaderValue::from_str(&authorization).unwrap());
        request
    };
    assert_eq!(verify(&signed("Action=ListRoles"), &expected), Ok(()));
    let other = Request { body: Bytes::from_static(b"Action=DeleteRole"), ..signed("Action=ListRoles") };
    assert!(matches!(verify(&other, &expected), Err(SignatureError::Mismatch { .. })));
}
