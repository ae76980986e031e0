//! Mutations that know what is hostile about JSON. Input that is not JSON is mutated as text, and sometimes as bytes.

use fastrand::Rng;

use crate::json::Node;

/// The most mutations of one input.
const MUTATIONS: usize = 4;

/// Field names and words that targets know; a mutation that makes one up hardly ever hits upon them.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "action", "requestId", "roomId", "data", "id", "key", "version", "after", "before", "limit", "rooms", "from", "sentAt", "v",
    "seq", "type", "messages", "shard", "number", "of", "first", "last", "frames", "source", "detail-type", "detail", "time", "sub",
    "exp", "nbf", "iss", "aud", "alg", "kid", "typ", "keys", "kty", "crv", "n", "e", "x", "y", "k", "use", "key_ops", "token_use",
    "client_id", "join", "send", "history", "state", "joinRoom", "leaveRoom", "sendMessage", "sync", "getHistory", "{sub}", "*",
    "getState", "getMembers", "remove", "ttlSeconds", "ephemeral", "presence", "presenceData", "true", "user:alice", "alice", "HS256", "RS256", "ES256", "none", "RSA", "EC", "oct", "P-256", "sig",
];

/// Numbers at and around the limits of the readers, and beyond all limits.
#[rustfmt::skip]
const NUMBERS: &[&str] = &[
    "0", "-0", "1", "-1", "1.0", "1.5", "1e0", "1e-7", "100", "101", "255", "256", "257", "65535", "65536", "2147483648",
    "4294967296", "9007199254740991", "9007199254740992", "9223372036854775808", "18446744073709551615", "18446744073709551616",
    "1e308", "1e309", "-1e400", "1e99999999999999999999", "0.1e-400", "00", "01", "+1", ".5", "1.", "NaN", "Infinity", "0x10",
    "99999999999999999999999999999999999999999999999999999999999999999999999999999999",
];

/// Contents of strings that a reader may fail on, as they stand between the quotes.
#[rustfmt::skip]
const STRINGS: &[&str] = &[
    "", " ", "\\u0000", "\u{7f}", "\\u001b[31m", "\u{85}", "\u{2028}", "\u{202e}", "\u{2066}", "\u{200b}", "\u{feff}", "\u{fffe}",
    "\u{ffff}", "\\ufffe", "\\uFFFF", "\u{1fffe}", "\u{10ffff}", "\\ud800", "\\udc00", "\\ud83d\\ude00", "\u{1f600}", "e\u{301}",
    "\u{e9}", "\u{130}", "\u{fdfa}", "\\\\", "\\\"", "\\/", "/", "..", ":", "user:", "__proto__", "constructor", "\\u0061ction",
    "\\x", "\\u12", "\n", "\t", "\u{0}", "'", "<script>", "${x}", "{}", "%00", "&amp;",
];

const WHOLE: &[&str] = &["null", "true", "false", "{}", "[]", "[null]", "{\"\":0}", "nul", "\"", "", "[,]", "{\"a\":}"];

/// Lengths around limits: of names, room ids, subjects, frames and messages.
const LENGTHS: &[usize] =
    &[1, 63, 64, 65, 99, 100, 101, 255, 256, 257, 300, 1_000, 4_000, 20_000, 33_000, 121_000, 132_000];

/// Mutates an input; the result has at most `most` bytes. Of an input of several lines, as some targets read them, each
/// mutation changes one.
#[must_use]
pub fn mutate(input: &[u8], most: usize, random: &mut Rng) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(input).into_owned();
    for _ in 0..random.usize(1..=MUTATIONS) {
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        let position = random.usize(..lines.len());
        match random.u8(..40) {
            0 => lines.insert(position, lines[random.usize(..lines.len())].clone()),
            1 if lines.len() > 1 => drop(lines.remove(position)),
            2 => lines.swap(0, position),
            _ => lines[position] = mutate_line(&lines[position], most, random),
        }
        text = lines.join("\n");
        text.truncate(text.floor_char_boundary(most));
    }
    let mut bytes = text.into_bytes();
    if random.u8(..16) == 0 {
        let position = random.usize(..=bytes.len());
        bytes.insert(position, *random.choice(&[0, 0x80, 0xc0, 0xed, 0xef, 0xff]).unwrap());
    }
    bytes.truncate(most);
    bytes
}

/// A line may have a word before its JSON, up to a `|`.
fn mutate_line(line: &str, most: usize, random: &mut Rng) -> String {
    let (word, json) = match line.split_once('|') {
        Some((word, json)) => (Some(word), json),
        None => (None, line),
    };
    match word {
        Some(word) if random.u8(..8) == 0 => format!("{}|{json}", mutate_text(word, random)),
        Some(word) => format!("{word}|{}", mutate_json(json, most, random)),
        None => mutate_json(json, most, random),
    }
}

fn mutate_json(json: &str, most: usize, random: &mut Rng) -> String {
    let Some(mut node) = Node::read(json) else { return mutate_text(json, random) };
    if random.u8(..12) == 0 {
        return mutate_text(json, random);
    }
    let place = random.usize(..node.count());
    let donor = random.usize(..node.count());
    let donor = node.at(donor).unwrap().clone();
    mutate_node(node.at(place).unwrap(), donor, most, random);
    node.write()
}

fn mutate_node(node: &mut Node, donor: Node, most: usize, random: &mut Rng) {
    match random.u8(..10) {
        0 => *node = donor,
        1 => *node = hostile(most, random),
        2 => {
            // Deep nesting, closed or not.
            let levels = *random.choice(&[1, 2, 50, 127, 128, 129, 600, 20_000]).unwrap();
            let levels = levels.min(most / 8);
            let (open, close) = *random.choice(&[("[", "]"), ("{\"a\":", "}"), ("[{\"\":", "}]"), ("[", "")]).unwrap();
            *node = Node::Token(format!("{}{}{}", open.repeat(levels), node.write(), close.repeat(levels)));
        }
        _ => match node {
            Node::Token(token) => *token = mutate_token(token, most, random),
            Node::Array(items) => {
                let position = random.usize(..=items.len());
                match random.u8(..4) {
                    0 if position < items.len() => drop(items.remove(position)),
                    1 => *items = vec![donor.clone(); copies(&donor, most, random)],
                    _ => items.insert(position, if random.bool() { donor } else { hostile(most, random) }),
                }
            }
            Node::Object(fields) => mutate_fields(fields, donor, most, random),
        },
    }
}

fn mutate_fields(fields: &mut Vec<(String, Node)>, donor: Node, most: usize, random: &mut Rng) {
    let position = random.usize(..=fields.len());
    let word = |random: &mut Rng| format!("\"{}\"", random.choice(WORDS).unwrap());
    match (random.u8(..8), fields.get_mut(position)) {
        (0, Some(_)) => drop(fields.remove(position)),
        (1, Some((name, _))) => *name = word(random),
        (2, Some((name, _))) => *name = mutate_token(name, most, random),
        // The same field once more, with the same value or another.
        (3 | 4, Some((name, value))) => {
            let again = (name.clone(), if random.bool() { value.clone() } else { hostile(most, random) });
            let position = random.usize(..=fields.len());
            fields.insert(position, again);
        }
        (5, _) => {
            for number in 0..copies(&donor, most, random) {
                fields.push((format!("\"r{number}\""), donor.clone()));
            }
        }
        (6, _) => random.shuffle(fields),
        _ => fields.insert(position, (word(random), if random.bool() { donor } else { hostile(most, random) })),
    }
}

/// The number of times that a node is repeated: beyond the longest list that is allowed, as far as the input has room.
fn copies(node: &Node, most: usize, random: &mut Rng) -> usize {
    random.usize(..200).min(most / (node.write().len() + 8))
}

fn hostile(most: usize, random: &mut Rng) -> Node {
    Node::Token(match random.u8(..6) {
        0 | 1 => (*random.choice(NUMBERS).unwrap()).to_owned(),
        2 => (*random.choice(WHOLE).unwrap()).to_owned(),
        3 => format!("\"{}\"", random.choice(WORDS).unwrap()),
        4 => format!("\"{}\"", long(random.choice(STRINGS).unwrap(), most, random)),
        _ => format!("\"{}\"", random.choice(STRINGS).unwrap()),
    })
}

/// A part repeated to one of the lengths at which something may break.
fn long(part: &str, most: usize, random: &mut Rng) -> String {
    let part = if part.is_empty() { "x" } else { part };
    let length = (*random.choice(LENGTHS).unwrap()).min(most);
    let times = if random.bool() { length } else { length / part.len() };
    part.repeat(times.min(most / part.len()))
}

fn mutate_token(token: &str, most: usize, random: &mut Rng) -> String {
    let Some(text) = token.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return hostile(most, random).write();
    };
    let text = match random.u8(..5) {
        0 => (*random.choice(WORDS).unwrap()).to_owned(),
        1 => long(text, most, random),
        _ => mutate_text(text, random),
    };
    format!("\"{text}\"")
}

fn mutate_text(text: &str, random: &mut Rng) -> String {
    let place = |random: &mut Rng| text.floor_char_boundary(random.usize(..=text.len()));
    let (one, other) = (place(random), place(random));
    let (from, to) = (one.min(other), one.max(other));
    match random.u8(..5) {
        0 => format!("{}{}", &text[..from], &text[to..]),
        1 => format!("{}{}", &text[..to], &text[from..]),
        2 => format!("{}{}{}", &text[..from], random.choice(WORDS).unwrap(), &text[from..]),
        3 => text[..to].to_owned(),
        _ => format!("{}{}{}", &text[..from], random.choice(STRINGS).unwrap(), &text[from..]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn mutations_stay_within_bounds_and_are_mostly_json_and_mostly_new() {
        let input = br#"{"action":"sendMessage","roomId":"r","data":{"a":[1,2]}}"#;
        let mut random = Rng::with_seed(1);
        let mutated: HashSet<_> = (0..1_000).map(|_| mutate(input, 4_096, &mut random)).collect();
        assert!(mutated.len() > 900, "{}", mutated.len());
        assert!(mutated.iter().all(|bytes| bytes.len() <= 4_096));
        let is_json =
            |bytes: &&Vec<u8>| str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok());
        let json = mutated.iter().filter(is_json).count();
        assert!((300..mutated.len()).contains(&json), "{json}");
    }

    #[test]
    fn a_long_part_is_repeated_as_far_as_the_input_has_room() {
        let part = "x".repeat(30_000);
        for seed in 0..100 {
            let long = long(&part, 140_000, &mut Rng::with_seed(seed));
            assert!(long.len() <= 140_000, "{} bytes", long.len());
        }
    }

    #[test]
    fn the_same_seed_is_the_same_mutation() {
        let of = |seed| mutate(b"[1,2,3]", 100, &mut Rng::with_seed(seed));
        assert_eq!(of(7), of(7));
    }
}
