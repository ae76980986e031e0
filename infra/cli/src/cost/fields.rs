//! Reading a JSON file whose every mistake is to be named at once, each with its path: `rooms[1].members`.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// The members of a JSON object, each read once.
#[derive(Debug)]
pub struct Fields<'a> {
    path: String,
    left: Map<String, Value>,
    problems: &'a mut Vec<String>,
}

impl<'a> Fields<'a> {
    /// The members of the object at a path. Mistakes are added to `problems`. A value that is no object has no members.
    pub fn of(value: &Value, path: &str, problems: &'a mut Vec<String>) -> Self {
        let left = value.as_object().cloned().unwrap_or_else(|| {
            let shown = if path.is_empty() { "the file" } else { path };
            problems.push(format!("{shown}: must be an object"));
            Map::new()
        });
        Self { path: path.to_owned(), left, problems }
    }

    /// The path of a member.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Notes that a member is wrong.
    pub fn problem(&mut self, name: &str, what: &str) {
        let path = self.path(name);
        self.problems.push(format!("{path}: {what}"));
    }

    /// Takes a member as it is.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// A number within bounds; without a default it must be there.
    pub fn number(&mut self, name: &str, bounds: RangeInclusive<f64>, default: Option<f64>) -> f64 {
        let Some(value) = self.take(name) else {
            if default.is_none() {
                self.problem(name, "is missing");
            }
            return default.unwrap_or(*bounds.start());
        };
        value.as_f64().filter(|number| bounds.contains(number)).unwrap_or_else(|| {
            self.problem(name, &format!("must be a number from {} to {}", bounds.start(), bounds.end()));
            *bounds.start()
        })
    }

    /// A whole number within bounds.
    pub fn whole(&mut self, name: &str, bounds: RangeInclusive<f64>, default: Option<f64>) -> f64 {
        let number = self.number(name, bounds, default);
        if number.fract() != 0.0 {
            self.problem(name, "must be a whole number");
        }
        number
    }

    /// A text; without a default it must be there.
    pub fn text(&mut self, name: &str, default: Option<&str>) -> String {
        match (self.take(name), default) {
            (Some(Value::String(text)), _) => text,
            (Some(_), _) => {
                self.problem(name, "must be a text");
                String::new()
            }
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                self.problem(name, "is missing");
                String::new()
            }
        }
    }

    /// One of some words, the first of which is the default.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let value = self.take(name);
        let wanted = value.as_ref().map_or(Some(choices[0].0), Value::as_str);
        let found = choices.iter().find(|(word, _)| Some(*word) == wanted);
        if found.is_none() {
            self.problem(name, &format!("must be one of {}", words.join(", ")));
        }
        found.unwrap_or(&choices[0]).1
    }

    /// A boolean.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        let Some(value) = self.take(name) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.problem(name, "must be true or false");
            default
        })
    }

    /// An object; one that is not there is read as an empty one.
    pub fn object<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields<'_>) -> T) -> T {
        let (value, path) = (self.take(name).unwrap_or_else(|| Value::Object(Map::new())), self.path(name));
        let mut fields = Fields::of(&value, &path, self.problems);
        let object = read(&mut fields);
        fields.end();
        object
    }

    /// A list of objects, each read by `read`.
    pub fn list<T>(&mut self, name: &str, mut read: impl FnMut(&mut Fields<'_>) -> T) -> Vec<T> {
        let entries = match self.take(name) {
            Some(Value::Array(entries)) if !entries.is_empty() => entries,
            _ => {
                self.problem(name, "must be a list with an entry at least");
                return Vec::new();
            }
        };
        let path = self.path(name);
        let mut read_one = |(index, entry): (usize, &Value)| {
            let mut fields = Fields::of(entry, &format!("{path}[{index}]"), self.problems);
            let one = read(&mut fields);
            fields.end();
            one
        };
        entries.iter().enumerate().map(&mut read_one).collect()
    }

    /// Notes members that were never read: a misspelt field would otherwise go unnoticed.
    pub fn end(mut self) {
        for name in std::mem::take(&mut self.left).keys().filter(|name| *name != "comment") {
            self.problem(name, "is no field here");
        }
    }
}
