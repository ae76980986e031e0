//! The command line: `--name value` and `--flag`.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The arguments by name, with their values.
pub(crate) struct Arguments(BTreeMap<String, Option<String>>);

impl Arguments {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = arguments.peekable();
        let mut parsed = BTreeMap::new();
        while let Some(argument) = arguments.next() {
            let name = argument.strip_prefix("--").ok_or_else(|| format!("{argument}: not an option"))?;
            let value = arguments.next_if(|next| !next.starts_with("--"));
            parsed.insert(name.to_owned(), value);
        }
        Ok(Self(parsed))
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Result<&str, String> {
        self.0.get(name).and_then(Option::as_deref).ok_or_else(|| format!("--{name} is missing"))
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        match self.0.get(name) {
            None => Ok(default),
            Some(value) => parse(name, value.as_deref().unwrap_or_default()),
        }
    }

    pub(crate) fn numbers<T: FromStr>(&self, name: &str, default: Vec<T>) -> Result<Vec<T>, String> {
        match self.0.get(name) {
            None => Ok(default),
            Some(value) => value.as_deref().unwrap_or_default().split(',').map(|one| parse(name, one)).collect(),
        }
    }
}

fn parse<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("--{name} {value}: not a number"))
}
