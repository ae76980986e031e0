//! Origins: which web pages may connect. A browser lets any page open a WebSocket to anywhere, and names the page's
//! site in the header `Origin`. Only this check keeps the page of another site from connecting as its visitor.

use std::net::Ipv6Addr;

/// The pages that may connect: `ALLOWED_ORIGINS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins(Vec<Origin>);

/// The value of an `Origin` header, in the form in which two of them are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// `null`: a page that has no origin, such as a local file or a sandboxed frame.
    Opaque,
    /// Scheme and host in lower case, and the port unless it is the scheme's default.
    Page { scheme: String, host: String, port: Option<u16> },
}

/// An entry of the list that is no origin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("has the entry {0:?}, which is no origin such as https://app.example.com or http://localhost:8080, nor null")]
pub struct InvalidOrigin(String);

impl AllowedOrigins {
    /// Reads a list with commas; an empty one allows any page.
    ///
    /// # Errors
    /// When an entry is no origin. An entry with a path, even `/`, is none: no browser sends a path.
    pub fn parse(list: &str) -> Result<Self, InvalidOrigin> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let origins = entries.map(|entry| Origin::parse(entry).ok_or_else(|| InvalidOrigin(entry.to_owned())));
        origins.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a page with this `Origin` header may connect.
    #[must_use]
    pub fn allow(&self, header: &[u8]) -> bool {
        let origin = std::str::from_utf8(header).ok().and_then(Origin::parse);
        self.0.is_empty() || origin.is_some_and(|origin| self.0.contains(&origin))
    }
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Opaque);
        }
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        // The colons within an IPv6 address stand before its bracket.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
            None => None,
        };
        if !is_host(host) {
            return None;
        }
        let default_port = match scheme.as_str() {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        };
        Some(Self::Page { host: host.to_ascii_lowercase(), port: port.filter(|_| port != default_port), scheme })
    }
}

/// A name as browsers send it (an international one in its ASCII form), an IPv4 address, or an IPv6 address in
/// brackets.
fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.bytes().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_by_scheme_host_and_port() {
        let list = "https://app.example.com, HTTP://LocalHost:8080,https://[::1]:8443 ,capacitor://localhost,";
        let origins = AllowedOrigins::parse(list).unwrap();
        for allowed in [
            "https://app.example.com",
            "https://app.example.com:443",
            "HTTPS://APP.example.COM",
            "http://localhost:8080",
            "https://[::1]:8443",
            "capacitor://localhost",
        ] {
            assert!(origins.allow(allowed.as_bytes()), "{allowed}");
        }
        for refused in [
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com:80",
            "https://example.com",
            "https://evil.app.example.com",
            "https://app.example.com.evil.example",
            "https://app.example.com/",
            "https://app.example.com@evil.example",
            "https://evil.example#https://app.example.com",
            "https://app.example.com https://evil.example",
            "https://[::1]",
            "http://localhost",
            "app.example.com",
            "null",
            "",
        ] {
            assert!(!origins.allow(refused.as_bytes()), "{refused}");
        }
        assert!(!origins.allow(b"https://app.example.com\xff"));
    }

    #[test]
    fn an_empty_list_allows_any_page_and_null_only_if_it_is_listed() {
        let any = AllowedOrigins::parse(" , ").unwrap();
        assert_eq!(any, AllowedOrigins::default());
        assert!(any.allow(b"https://anything.example") && any.allow(b"null") && any.allow(b"\xff"));
        let with_null = AllowedOrigins::parse("null").unwrap();
        assert!(with_null.allow(b"null") && !with_null.allow(b"https://anything.example"));
    }

    #[test]
    fn a_bad_entry_is_named() {
        for entry in [
            "*",
            "https://*.example.com",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com:",
            "https://app.example.com:99999",
            "https://app.example.com:+443",
            "https://user@app.example.com",
            "https://b\u{fc}cher.example",
            "https://[::1",
            "https://::1",
            "1http://x",
        ] {
            let refused = AllowedOrigins::parse(&format!("https://good.example,{entry}"));
            assert_eq!(refused, Err(InvalidOrigin(entry.to_owned())), "{entry}");
        }
    }
}
