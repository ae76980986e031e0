//! Text as the services around want it.

/// A text's beginning of at most `bytes` bytes, cut between two characters; an ellipsis says that there was more.
#[must_use]
pub fn cut(text: &str, bytes: usize) -> String {
    const ELLIPSIS: char = '\u{2026}';
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut beginning = text[..text.floor_char_boundary(bytes.saturating_sub(ELLIPSIS.len_utf8()))].to_owned();
    beginning.push(ELLIPSIS);
    beginning
}

/// Bytes by which a JSON text grows when [`escape_noncharacters`] has escaped it.
#[must_use]
pub(crate) fn escape_growth(json: &[u8]) -> usize {
    // The first byte of both characters in UTF-8; most texts have none, and looking for one byte is quick.
    if !json.contains(&0xef) {
        return 0;
    }
    let escaped = json.windows(3).filter(|bytes| matches!(bytes, [0xef, 0xbf, 0xbe | 0xbf])).count();
    escaped * (r"\ufffe".len() - '\u{fffe}'.len_utf8())
}

/// Writes U+FFFE and U+FFFF as JSON escapes: SQS refuses a body that has them ("SendMessage": invalid characters). In a
/// JSON text they can only stand inside strings, where the escape means the same.
#[must_use]
pub fn escape_noncharacters(json: String) -> String {
    if escape_growth(json.as_bytes()) == 0 {
        return json;
    }
    json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abc\u{2026}");
        assert_eq!(cut("\u{e9}\u{e9}\u{e9}\u{e9}", 6), "\u{e9}\u{2026}");
    }

    #[test]
    fn characters_that_sqs_refuses_are_escaped() {
        let json = "[\"\u{fffe}a\u{ffff}\"]";
        let escaped = escape_noncharacters(json.to_owned());
        assert_eq!(escaped, r#"["\ufffea\uffff"]"#);
        assert_eq!(escaped.len(), json.len() + escape_growth(json.as_bytes()));
        assert_eq!(escape_noncharacters("\"\u{fffd}\u{1fffe}\"".into()), "\"\u{fffd}\u{1fffe}\"");
    }
}
