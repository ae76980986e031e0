//! The X-Ray header of an invocation. A queue or bus hands it on with a record, so that later work belongs to the same
//! trace.

use std::rc::Rc;

/// Characters of a header at the most; those that Lambda makes have about a hundred.
const MOST_CHARS: usize = 512;

/// The header of a request that is traced, such as
/// `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceHeader(Rc<str>);

impl TraceHeader {
    /// Reads a header. `None` if nobody traces the request, or the header is malformed: a queue would refuse a record
    /// with such a one.
    #[must_use]
    pub fn sampled(header: Option<&str>) -> Option<Self> {
        let header =
            header.filter(|header| header.len() <= MOST_CHARS && header.bytes().all(|byte| byte.is_ascii_graphic()))?;
        let part = |name: &str| header.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        (part("Sampled") == Some("1") && part("Root").is_some_and(is_root)).then(|| Self(header.into()))
    }

    /// The header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text is the id of a trace: `1-`, eight hexadecimal digits of time, and 24 that are random.
fn is_root(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(parts[..], ["1", time, random] if is_hex(time, 8) && is_hex(random, 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";

    fn read(header: &str) -> Option<String> {
        TraceHeader::sampled(Some(header)).map(|header| header.as_str().to_owned())
    }

    #[test]
    fn a_traced_requests_header_is_handed_on_as_it_is() {
        for rest in [";Parent=53995c3f42cd8ad8;Sampled=1", ";Sampled=1;Lineage=1:a87bd80c:0"] {
            assert_eq!(read(&format!("{ROOT}{rest}")), Some(format!("{ROOT}{rest}")));
        }
    }

    #[test]
    fn what_nobody_traces_has_none() {
        assert_eq!((TraceHeader::sampled(None), read(""), read(ROOT)), (None, None, None));
        for sampled in ["0", "?", "", "11"] {
            assert_eq!(read(&format!("{ROOT};Sampled={sampled}")), None);
        }
    }

    #[test]
    fn what_is_no_header_is_not_handed_on() {
        for header in [
            "Sampled=1".to_owned(),
            "Root=1-5759e988-bd862e3fe1be46a99427279;Sampled=1".to_owned(),
            "Root=2-5759e988-bd862e3fe1be46a994272793;Sampled=1".to_owned(),
            format!("{ROOT};Sampled=1;X=\u{e9}"),
            format!("{ROOT};Sampled=1;X= "),
            format!("{ROOT};Sampled=1;X={}", "x".repeat(MOST_CHARS)),
        ] {
            assert_eq!(read(&header), None, "{header}");
        }
    }
}
