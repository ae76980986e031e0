//! Configuration: a pure function of a lookup that reports every bad variable at once.

use std::{
    fmt::{self, Display},
    ops::RangeInclusive,
    time::Duration,
};

use crate::{limits::TTL_SECONDS, room_pattern::RoomPatterns, telemetry::LOG_LEVEL};

/// Every variable that is missing or wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(Vec<BadVariable>);

/// One variable that is missing or wrong.
#[derive(Debug, PartialEq, Eq)]
struct BadVariable {
    name: &'static str,
    problem: String,
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "variable" } else { "variables" };
        write!(f, "bad configuration, {} {plural}:", self.0.len())?;
        for (index, BadVariable { name, problem }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            write!(f, "{separator} {name} {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads variables through a lookup and remembers what is wrong with them. Every reader returns a value in any
/// case, so that one pass sees every variable; [`Settings::finish`] then says whether the values may be used.
pub struct Settings<L> {
    lookup: L,
    bad: Vec<BadVariable>,
}

impl Settings<fn(&str) -> Option<String>> {
    /// Settings from the process environment.
    #[must_use]
    pub fn from_env() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }
}

impl<L: Fn(&str) -> Option<String>> Settings<L> {
    /// Settings from any lookup.
    pub fn new(lookup: L) -> Self {
        let mut settings = Self { lookup, bad: Vec::new() };
        settings.one_of(LOG_LEVEL, &["off", "error", "warn", "info", "debug", "trace"], "info");
        settings
    }

    /// The variable's text; an empty one counts as unset, since a template can hardly leave a variable out.
    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Notes that a variable is bad.
    pub fn refuse(&mut self, name: &'static str, problem: impl Into<String>) {
        self.bad.push(BadVariable { name, problem: problem.into() });
    }

    /// A text that must be there.
    pub fn required(&mut self, name: &'static str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.refuse(name, "is missing");
            String::new()
        })
    }

    /// A text that may be there.
    pub fn optional(&mut self, name: &'static str) -> Option<String> {
        self.text(name)
    }

    /// A text with a default.
    pub fn or(&mut self, name: &'static str, default: &str) -> String {
        self.text(name).unwrap_or_else(|| default.to_owned())
    }

    /// One of several words, in upper or lower case.
    pub fn one_of(&mut self, name: &'static str, words: &[&'static str], default: &'static str) -> &'static str {
        let Some(text) = self.text(name) else {
            return default;
        };
        if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(&text)) {
            return word;
        }
        self.refuse(name, format!("must be one of {}, is {text:?}", words.join(", ")));
        default
    }

    /// An integer within a range.
    pub fn integer(&mut self, name: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(text) = self.text(name) else {
            return default;
        };
        match text.parse() {
            Ok(value) if range.contains(&value) => value,
            _ => {
                let (least, most) = range.into_inner();
                self.refuse(name, format!("must be an integer from {least} to {most}, is {text:?}"));
                default
            }
        }
    }

    /// A number of milliseconds within a range.
    pub fn millis(&mut self, name: &'static str, range: RangeInclusive<u64>, default: u64) -> Duration {
        Duration::from_millis(self.integer(name, range, default))
    }

    /// `RETENTION_SECONDS`: how long the log keeps a message, in seconds.
    pub fn retention_seconds(&mut self) -> u64 {
        self.integer("RETENTION_SECONDS", 60..=315_360_000, 86_400)
    }

    /// `GONE_GRACE_MS`: rows younger than this are not deleted on 410, since a handshake still under way answers 410
    /// too.
    pub fn gone_grace(&mut self) -> Duration {
        self.millis("GONE_GRACE_MS", 0..=600_000, 10_000)
    }

    /// Room patterns with commas between them; none if the variable is unset.
    pub fn rooms(&mut self, name: &'static str) -> RoomPatterns {
        let patterns = RoomPatterns::parse(&self.text(name).unwrap_or_default());
        patterns.unwrap_or_else(|problem| {
            self.refuse(name, format!("must be room patterns with commas between them; {problem}"));
            RoomPatterns::default()
        })
    }

    /// `STATE_RETENTION_SECONDS`: the `ttlSeconds` of messages that have none, in seconds. `None`, which the variable
    /// says with 0, is for ever.
    pub fn state_retention_seconds(&mut self) -> Option<u64> {
        Some(self.integer("STATE_RETENTION_SECONDS", 0..=TTL_SECONDS, 0)).filter(|seconds| *seconds > 0)
    }

    /// An `http` or `https` URL that must be there; a trailing slash is dropped.
    pub fn url(&mut self, name: &'static str) -> String {
        let text = self.required(name);
        let after_scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plausible = after_scheme.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
        if !text.is_empty() && (!plausible || text.contains(char::is_whitespace)) {
            self.refuse(name, format!("must be an http or https URL, is {text:?}"));
        }
        text.trim_end_matches('/').to_owned()
    }

    /// The configuration, if every variable was good.
    ///
    /// # Errors
    /// When any variable is missing or wrong; the error names them all.
    pub fn finish<T>(self, config: T) -> Result<T, ConfigError> {
        if self.bad.is_empty() { Ok(config) } else { Err(ConfigError(self.bad)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &'static [(&'static str, &'static str)]) -> Settings<impl Fn(&str) -> Option<String>> {
        Settings::new(move |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn reads_good_values_and_defaults() {
        let mut s = settings(&[("A", " text "), ("N", "7"), ("U", "http://127.0.0.1:4566/"), ("EMPTY", "")]);
        assert_eq!(s.required("A"), "text");
        assert_eq!(s.optional("EMPTY"), None);
        assert_eq!(s.integer("N", 1..=8, 3), 7);
        assert_eq!(s.integer("EMPTY", 1..=8, 3), 3);
        assert_eq!(s.url("U"), "http://127.0.0.1:4566");
        assert_eq!(s.one_of("NONE", &["sqs", "eventbridge"], "sqs"), "sqs");
        assert_eq!(s.finish(()), Ok(()));
    }

    #[test]
    fn names_every_bad_variable_in_one_error() {
        let mut s = settings(&[("LOG_LEVEL", "loud"), ("N", "nine"), ("M", "9"), ("U", "localhost:1"), ("W", "kafka")]);
        s.required("A");
        s.integer("N", 1..=8, 3);
        s.integer("M", 1..=8, 3);
        s.url("U");
        s.one_of("W", &["sqs", "eventbridge"], "sqs");
        let error = s.finish(()).unwrap_err().to_string();
        assert_eq!(
            error,
            "bad configuration, 6 variables: LOG_LEVEL must be one of off, error, warn, info, debug, trace, is \"loud\"; \
             A is missing; N must be an integer from 1 to 8, is \"nine\"; M must be an integer from 1 to 8, is \"9\"; \
             U must be an http or https URL, is \"localhost:1\"; W must be one of sqs, eventbridge, is \"kafka\""
        );
    }
}
