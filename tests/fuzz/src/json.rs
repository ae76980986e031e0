//! JSON as a tree of tokens. Unlike a value it can have a field twice, numbers of any size and strings with any
//! escapes.

/// A part of a JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A number, a string with its quotes, or a word, as it stands in the text.
    Token(String),
    /// An array.
    Array(Vec<Node>),
    /// An object: each field's name, a string with its quotes, with its value.
    Object(Vec<(String, Node)>),
}

/// The most levels that are read; deeper text does not count as JSON.
const LEVELS: usize = 64;

impl Node {
    /// Reads a text that is JSON, or nearly: tokens are not looked into.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (node, rest) = read_node(text.trim_start(), LEVELS)?;
        rest.trim_start().is_empty().then_some(node)
    }

    /// The node as a text.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = String::new();
        self.write_to(&mut text);
        text
    }

    fn write_to(&self, text: &mut String) {
        match self {
            Self::Token(token) => text.push_str(token),
            Self::Array(items) => {
                text.push('[');
                for (index, item) in items.iter().enumerate() {
                    text.push_str(if index > 0 { "," } else { "" });
                    item.write_to(text);
                }
                text.push(']');
            }
            Self::Object(fields) => {
                text.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    text.push_str(if index > 0 { "," } else { "" });
                    text.push_str(name);
                    text.push(':');
                    value.write_to(text);
                }
                text.push('}');
            }
        }
    }

    /// The number of nodes, this one included.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Token(_) => 1,
            Self::Array(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            Self::Object(fields) => 1 + fields.iter().map(|(_, value)| value.count()).sum::<usize>(),
        }
    }

    /// The node at a place: 0 is this one, then come its children with theirs.
    pub fn at(&mut self, place: usize) -> Option<&mut Self> {
        let Some(mut place) = place.checked_sub(1) else { return Some(self) };
        let children: Vec<&mut Self> = match self {
            Self::Token(_) => return None,
            Self::Array(items) => items.iter_mut().collect(),
            Self::Object(fields) => fields.iter_mut().map(|(_, value)| value).collect(),
        };
        for child in children {
            let count = child.count();
            if place < count {
                return child.at(place);
            }
            place -= count;
        }
        None
    }
}

fn read_node(text: &str, levels: usize) -> Option<(Node, &str)> {
    let levels = levels.checked_sub(1)?;
    if let Some(mut rest) = text.strip_prefix('[') {
        let mut items = Vec::new();
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix(']') {
                return Some((Node::Array(items), after));
            }
            if !items.is_empty() {
                rest = rest.strip_prefix(',')?.trim_start();
            }
            let (item, after) = read_node(rest, levels)?;
            items.push(item);
            rest = after;
        }
    }
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut fields = Vec::new();
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return Some((Node::Object(fields), after));
            }
            if !fields.is_empty() {
                rest = rest.strip_prefix(',')?.trim_start();
            }
            let (name, after) = read_token(rest)?;
            let (value, after) = read_node(after.trim_start().strip_prefix(':')?.trim_start(), levels)?;
            fields.push((name.to_owned(), value));
            rest = after;
        }
    }
    let (token, rest) = read_token(text)?;
    Some((Node::Token(token.to_owned()), rest))
}

fn read_token(text: &str) -> Option<(&str, &str)> {
    let end = if text.starts_with('"') {
        let mut escaped = false;
        let closing = text.char_indices().skip(1).find(|(_, c)| {
            let closes = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        closing?.0 + 1
    } else {
        text.find(|c: char| c.is_whitespace() || ",:[]{}\"".contains(c)).unwrap_or(text.len())
    };
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_as_it_is_read() {
        for text in [r#"{"a":[1,"x\"\\",{}],"a":null}"#, "[]", "1e999", r#""\ud800""#, "nul"] {
            assert_eq!(Node::read(text).unwrap().write(), text);
        }
        for text in ["", "{", "[1", "[1 2]", r#"{"a"}"#, r#""x"#, "1 2"] {
            assert_eq!(Node::read(text), None, "{text}");
        }
        assert_eq!(Node::read(&"[".repeat(100_000)), None);
    }

    #[test]
    fn every_node_has_a_place() {
        let mut node = Node::read(r#"{"a":[1,2],"b":3}"#).unwrap();
        let written: Vec<_> = (0..node.count()).map(|place| node.at(place).unwrap().write()).collect();
        assert_eq!(written, [r#"{"a":[1,2],"b":3}"#, "[1,2]", "1", "2", "3"]);
        assert_eq!(node.at(5), None);
    }
}
