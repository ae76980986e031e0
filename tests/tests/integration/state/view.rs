//! The view that a client has of a room's state, and the state that should follow from the log: a second implementation
//! of the protocol, in as few lines as possible.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shared::order::Rank;
use testkit::dynamodb::DynamoDb;

use super::ROOM;

/// A message with a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fact {
    pub(super) rank: Rank,
    /// The data; `None` for a removal.
    pub(super) data: Option<Value>,
    /// The time from which on it reads as absent, in milliseconds.
    pub(super) until: Option<u64>,
}

/// The times at which a message was logged, and at which its entry expires, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged {
    at: u64,
    until: u64,
}

impl Logged {
    /// Whether the log has forgotten it at a time in seconds.
    pub(super) fn is_over(self, now: u64) -> bool {
        self.until <= now
    }
}

impl Fact {
    /// The value at a time, if it has not expired.
    pub(super) fn value(&self, now: u64) -> Option<&Value> {
        self.data.as_ref().filter(|_| self.until.is_none_or(|until| until > now))
    }
}

/// The facts that the log's messages with keys state, by number.
pub(super) type Log = BTreeMap<u64, (String, Fact, Logged)>;

pub(super) fn read_log(dynamodb: &DynamoDb) -> Log {
    let with_key = |row: &Value| {
        let (seq, key) = (row["seq"].as_u64().unwrap(), row.get("key")?.as_str().unwrap().to_owned());
        let until = row["ttlSeconds"].as_u64().map(|seconds| row["sentAt"].as_u64().unwrap() + seconds * 1_000);
        let is_removal = row.get("remove").is_some();
        let data = (!is_removal).then(|| serde_json::from_str(row["data"].as_str().unwrap()).unwrap());
        let logged =
            Logged { at: row["appendedAt"].as_u64().unwrap() / 1_000, until: row["expiresAt"].as_u64().unwrap() };
        Some((seq, (key, Fact { rank: Rank::of(row["version"].as_u64(), seq), data, until }, logged)))
    };
    dynamodb.log(ROOM).iter().filter_map(with_key).collect()
}

/// The greatest message of each key up to a number.
pub(super) fn fold(log: &Log, through: u64) -> BTreeMap<String, Fact> {
    let mut fold: BTreeMap<String, Fact> = BTreeMap::new();
    for (key, fact, _) in log.range(..=through).map(|(_, told)| told) {
        let current = fold.entry(key.clone()).or_insert_with(|| fact.clone());
        if fact.rank.supersedes(current.rank) {
            *current = fact.clone();
        }
    }
    fold
}

/// The facts that must be remembered at a time in seconds: values that last, and removals for as long as the log has
/// them, or has anything older that came after them.
pub(super) fn remembered(log: &Log, through: u64, now: u64) -> BTreeMap<String, Fact> {
    let mut known: BTreeMap<String, (Fact, u64)> = BTreeMap::new();
    for (key, fact, logged) in log.range(..=through).map(|(_, told)| told) {
        let ends = fact.data.is_none() || fact.until.is_some();
        let until = if ends { logged.until } else { u64::MAX };
        let (current, forgotten_at) = known.entry(key.clone()).or_insert_with(|| (fact.clone(), until));
        if fact.rank.supersedes(current.rank) || *forgotten_at <= logged.at {
            (*current, *forgotten_at) = (fact.clone(), until);
        } else {
            *forgotten_at = logged.until.max(*forgotten_at);
        }
    }
    known.into_iter().filter(|(_, (_, at))| *at > now).map(|(key, (fact, _))| (key, fact)).collect()
}

/// A page of state, as `joined` or `state` tells it.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) seq: u64,
    pub(super) entries: BTreeMap<String, Fact>,
    pub(super) removed: BTreeMap<String, Rank>,
    pub(super) next: Option<String>,
}

impl Page {
    pub(super) fn of(reply: &Value) -> Self {
        let names = match reply["type"].as_str() {
            Some("joined") => ["state", "stateRemoved", "stateNext"],
            Some("state") => ["entries", "removed", "next"],
            _ => panic!("no page of state: {reply}"),
        };
        let [entries, removed, next] = names.map(|name| &reply[name]);
        let list = |list: &Value| list.as_array().unwrap_or_else(|| panic!("{reply}")).clone();
        let key = |row: &Value| row["key"].as_str().unwrap().to_owned();
        let rank = |row: &Value| Rank::of(row["version"].as_u64(), row["seq"].as_u64().unwrap());
        let entry = |row: Value| {
            let until = row["ttlSeconds"].as_u64().map(|seconds| row["sentAt"].as_u64().unwrap() + seconds * 1_000);
            (key(&row), Fact { rank: rank(&row), data: Some(row["data"].clone()), until })
        };
        let (entries, removed) = (list(entries), list(removed));
        let (told, gone) = (entries.len(), removed.len());
        let page = Self {
            seq: reply["seq"].as_u64().unwrap(),
            entries: entries.into_iter().map(entry).collect(),
            removed: removed.iter().map(|row| (key(row), rank(row))).collect(),
            next: next.as_str().map(str::to_owned),
        };
        let keys: BTreeSet<_> = page.entries.keys().chain(page.removed.keys()).collect();
        assert_eq!(keys.len(), told + gone, "a key twice: {reply}");
        page
    }

    /// Whether a key lies in the page, which begins after the key `after`.
    pub(super) fn has_place_for(&self, after: &str, key: &str) -> bool {
        key > after && self.next.as_deref().is_none_or(|next| key <= next)
    }
}

/// A client's map, over all its joins.
#[derive(Debug, Default)]
pub(super) struct View {
    known: BTreeMap<String, (Rank, Option<Fact>)>,
    /// The number of the first page, the keys of all, and the key after which the next one begins.
    reading: Option<(u64, BTreeSet<String>, String)>,
    /// The number up to which everything has been taken.
    position: u64,
}

impl View {
    /// The next request: the `after` and `seq` of a page; `None` means a join.
    pub(super) fn asks_for(&self) -> Option<(String, u64)> {
        self.reading.as_ref().map(|(first, _, next)| (next.clone(), *first))
    }

    /// The number up to which the client has everything, if it has had a snapshot.
    pub(super) fn position(&self) -> Option<u64> {
        Some(self.position).filter(|position| *position > 0)
    }

    /// Begins a snapshot of which the join brought nothing.
    pub(super) fn begin(&mut self, first: u64) {
        self.reading = Some((first, BTreeSet::new(), String::new()));
    }

    /// Gives up a snapshot that was begun: the connection is gone.
    pub(super) fn cut(&mut self) {
        self.reading = None;
    }

    /// Takes a page. Says whether it was the last.
    pub(super) fn page(&mut self, page: Page) -> bool {
        let (first, keys, _) = self.reading.get_or_insert_with(|| (page.seq, BTreeSet::new(), String::new()));
        assert!(page.seq >= *first, "a page is older than the first: {page:?}");
        keys.extend(page.entries.keys().chain(page.removed.keys()).cloned());
        let first = *first;
        for (key, fact) in page.entries {
            Self::keep(&mut self.known, key, fact.rank, Some(fact));
        }
        for (key, rank) in page.removed {
            Self::keep(&mut self.known, key, rank, None);
        }
        if let Some(next) = page.next {
            self.reading.as_mut().unwrap().2 = next;
            return false;
        }
        let (_, keys, _) = self.reading.take().unwrap();
        self.known.retain(|key, (rank, _)| rank.seq > first || keys.contains(key));
        self.position = first;
        true
    }

    /// Takes the messages that the log has after the client's position, as the stream brings them.
    pub(super) fn stream(&mut self, log: &Log) {
        for (seq, (key, fact, _)) in log.range(self.position + 1..) {
            Self::keep(&mut self.known, key.clone(), fact.rank, Some(fact.clone()));
            self.position = *seq;
        }
    }

    fn keep(known: &mut BTreeMap<String, (Rank, Option<Fact>)>, key: String, rank: Rank, fact: Option<Fact>) {
        let current = known.entry(key).or_insert_with(|| (rank, fact.clone()));
        if rank.supersedes(current.0) {
            *current = (rank, fact);
        }
    }

    /// The keys that have a value at a time, with it.
    pub(super) fn values(&self, now: u64) -> BTreeMap<&str, &Value> {
        let known = self.known.iter();
        known.filter_map(|(key, (_, fact))| Some((key.as_str(), fact.as_ref()?.value(now)?))).collect()
    }
}

/// The keys that have a value at a time, by the log.
pub(super) fn values(fold: &BTreeMap<String, Fact>, now: u64) -> BTreeMap<&str, &Value> {
    fold.iter().filter_map(|(key, fact)| Some((key.as_str(), fact.value(now)?))).collect()
}
