//! The output of a command: text for people, or JSON for programs, on standard output; progress and failures on
//! standard error.

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;

/// Whether a reader of standard output has gone, as that of `roomcast tail ROOM --follow | head` does.
static READER_IS_GONE: AtomicBool = AtomicBool::new(false);

/// The output of a command.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// Text, or JSON.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints one result as a line of text or of JSON. Commands with many results print each as it is found, so that
    /// the output can be read while it grows (JSON Lines). When the reader has gone, the command goes on silently.
    pub fn item(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        let line = if self.json { serde_json::to_string(value).unwrap_or_default() } else { text() };
        say(&visible(&line));
    }

    /// Whether somebody still reads the output. Commands without an end of their own end when nobody does.
    #[must_use]
    pub fn is_read(self) -> bool {
        !READER_IS_GONE.load(Ordering::Relaxed)
    }

    /// A line for people alone.
    pub fn line(self, text: &str) {
        if !self.json {
            say(&visible(text));
        }
    }

    /// A remark that is no part of the result.
    pub fn note(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", visible(text));
    }

    /// Prints why the command failed.
    pub fn failure(self, failure: &Failure) {
        let _ = writeln!(io::stderr().lock(), "error: {}", visible(&failure.to_string()));
    }

    /// A bar for work that takes long. Nothing is drawn for programs, or where standard error is no terminal.
    #[must_use]
    pub fn progress(self, length: Option<u64>, what: &'static str) -> ProgressBar {
        let target = if self.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(length, target).with_message(what);
        let template = match length {
            Some(_) => "{msg} {wide_bar} {pos}/{len} {eta}",
            None => "{spinner} {msg} {pos} {elapsed}",
        };
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// A text without characters that a terminal obeys, or that change the direction of text: messages, ids and reasons
/// come from outside. Each such character is written as JSON escapes it, which in a line of JSON is the same text. Line
/// ends are kept.
fn visible(text: &str) -> Cow<'_, str> {
    let obeys = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(obeys) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if obeys(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// A text from outside, for a place within a line: with line ends it could pass for lines of this command.
#[must_use]
pub fn in_line(text: &str) -> Cow<'_, str> {
    if text.contains(['\n', '\t']) {
        Cow::Owned(text.replace('\n', "\\n").replace('\t', "\\t"))
    } else {
        Cow::Borrowed(text)
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        READER_IS_GONE.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_written() {
        let nasty = "a\u{1b}]0;t\u{7}\u{9b}2J\u{7f}\r\u{202e}z\nb\tü";
        assert_eq!(visible(nasty), "a\\u001b]0;t\\u0007\\u009b2J\\u007f\\u000d\\u202ez\nb\tü");
        let json = serde_json::to_string(nasty).unwrap();
        assert_eq!(serde_json::from_str::<String>(&visible(&json)).unwrap(), nasty);
        assert!(matches!(visible("plain"), Cow::Borrowed("plain")));
        assert_eq!(in_line("a\nredriven: b\tc"), "a\\nredriven: b\\tc");
    }
}
