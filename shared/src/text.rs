//! Text as the services around want it.

use std::fmt::Write as _;

/// Bytes in lowercase hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes U+FFFE and U+FFFF as JSON escapes: SQS refuses a body that has them ("SendMessage": invalid characters). In a
/// JSON text they can only stand inside strings, where the escape means the same.
#[must_use]
pub fn escape_noncharacters(json: String) -> String {
    if json.contains(['\u{fffe}', '\u{ffff}']) {
        json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
    } else {
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_digits() {
        assert_eq!(hex(&[0, 0x0f, 0xa5]), "000fa5");
    }

    #[test]
    fn characters_that_sqs_refuses_are_escaped() {
        assert_eq!(escape_noncharacters("[\"\u{fffe}a\u{ffff}\"]".into()), r#"["\ufffea\uffff"]"#);
        assert_eq!(escape_noncharacters("\"\u{fffd}\"".into()), "\"\u{fffd}\"");
    }
}
