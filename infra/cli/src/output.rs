//! What a command says: text for people, or JSON for programs, on standard output; progress and failures on standard error.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;

/// Whether a reader of standard output has gone, as that of `roomcast tail ROOM --follow | head` does.
static READER_IS_GONE: AtomicBool = AtomicBool::new(false);

/// Where a command's words go.
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

    /// Whether programs read this.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.json
    }

    /// One thing that was found: a line of text, or a line of JSON. Commands that find many say each as it is found, so
    /// that the output can be read as it grows (JSON Lines). A reader that has gone ends nothing but the words.
    pub fn item(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        let line = if self.json { serde_json::to_string(value).unwrap_or_default() } else { text() };
        say(&line);
    }

    /// Whether anybody still reads what is said. What has no end of its own ends when nobody does.
    #[must_use]
    pub fn is_read(self) -> bool {
        !READER_IS_GONE.load(Ordering::Relaxed)
    }

    /// A line for people alone.
    pub fn line(self, text: &str) {
        if !self.json {
            say(text);
        }
    }

    /// A remark that is no part of the result.
    pub fn note(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Why the command ended.
    pub fn failure(self, failure: &Failure) {
        let _ = writeln!(io::stderr().lock(), "error: {failure}");
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

fn say(line: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        READER_IS_GONE.store(true, Ordering::Relaxed);
    }
}
