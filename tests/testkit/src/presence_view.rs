//! The view that an application has of a room's members when its client does what the protocol asks of clients: it
//! applies facts that follow its version, ignores those that it has seen, and asks for the list when something was
//! lost. It is a second implementation of the protocol beside the client library's, in as few lines as possible.

use std::collections::BTreeMap;

use serde_json::Value;

/// The time that a client waits for a frame that seems to be lost, in milliseconds.
const PATIENCE: u64 = 2_000;

/// A room's members as one client sees them.
#[derive(Clone, Debug, Default)]
pub struct PresenceView {
    rev: u64,
    count: u64,
    /// `None` without a list.
    members: Option<BTreeMap<String, Value>>,
    reading: Option<Reading>,
    /// The newest version that it has heard of, and the time since which it lacks it.
    heard_of: u64,
    behind_since: Option<u64>,
}

/// A list that is being read, page by page.
#[derive(Clone, Debug, Default)]
struct Reading {
    /// The version of the first page.
    rev: Option<u64>,
    members: BTreeMap<String, Value>,
    /// The member after whom the next page starts.
    after: Option<String>,
    frames: Vec<Value>,
    is_asked: bool,
}

impl PresenceView {
    /// The version that it has.
    pub fn rev(&self) -> u64 {
        self.rev
    }

    /// The members with their data, unless there is no list.
    pub fn members(&self) -> Option<&BTreeMap<String, Value>> {
        self.members.as_ref()
    }

    /// The number of members.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether it has the newest version that it knows of.
    pub fn is_settled(&self) -> bool {
        self.reading.is_none() && self.behind_since.is_none()
    }

    /// Reads the list anew.
    pub fn read(&mut self) {
        self.reading = Some(Reading::default());
    }

    /// The request to be made now, if any: for the page of members after a subject.
    pub fn request(&mut self, now: u64) -> Option<Option<String>> {
        if self.reading.is_none() && self.behind_since.is_some_and(|since| since + PATIENCE <= now) {
            self.behind_since = None;
            self.read();
        }
        let reading = self.reading.as_mut().filter(|reading| !reading.is_asked)?;
        reading.is_asked = true;
        Some(reading.after.clone())
    }

    /// Notes that the request got no answer.
    pub fn refused(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.is_asked = false;
        }
    }

    /// Takes the page that it has asked for, of a `joined` or `members` reply.
    ///
    /// # Panics
    /// When the page is not what the protocol says.
    pub fn page(&mut self, page: &Value, now: u64) {
        let Some(reading) = &mut self.reading else { return };
        reading.is_asked = false;
        let (rev, count) = (page["rev"].as_u64().expect("a rev"), page["count"].as_u64().expect("a count"));
        let Some(members) = page["members"].as_array() else {
            let frames = self.reading.take().unwrap_or_default().frames;
            self.members = None;
            self.has(rev, count);
            self.apply_all(&frames, now);
            return;
        };
        let is_first = reading.rev.is_none();
        reading.rev.get_or_insert(rev);
        reading.members.extend(members.iter().map(entry));
        reading.after = page["next"].as_str().map(str::to_owned);
        if reading.after.is_some() {
            return;
        }
        assert!(!is_first || members.len() as u64 == count, "a page that is all has not all: {page}");
        let Reading { rev, members, frames, .. } = self.reading.take().unwrap_or_default();
        self.members = Some(members);
        self.has(rev.unwrap_or_default(), count);
        self.apply_all(&frames, now);
    }

    /// Takes a `presence` frame.
    ///
    /// # Panics
    /// When the frame is not what the protocol says.
    pub fn frame(&mut self, frame: &Value, now: u64) {
        match &mut self.reading {
            Some(reading) => reading.frames.push(frame.clone()),
            None => self.apply(frame, now),
        }
    }

    /// Takes the version of the room's presence from a `synced` reply.
    pub fn synced(&mut self, rev: u64, now: u64) {
        if rev > self.rev {
            self.hear_of(rev, now);
        }
    }

    fn hear_of(&mut self, rev: u64, now: u64) {
        self.heard_of = self.heard_of.max(rev);
        self.behind_since.get_or_insert(now);
    }

    fn has(&mut self, rev: u64, count: u64) {
        (self.rev, self.count) = (rev, count);
        if self.heard_of <= rev {
            self.behind_since = None;
        }
    }

    fn apply_all(&mut self, frames: &[Value], now: u64) {
        for frame in frames {
            self.apply(frame, now);
        }
    }

    fn apply(&mut self, frame: &Value, now: u64) {
        let (rev, count) = (frame["rev"].as_u64().expect("a rev"), frame["count"].as_u64().expect("a count"));
        if rev <= self.rev {
            return;
        }
        match (&mut self.members, frame["after"].as_u64()) {
            (Some(members), Some(after)) if after == self.rev => {
                for id in frame["left"].as_array().expect("who is absent") {
                    members.remove(id.as_str().expect("an id"));
                }
                members.extend(frame["joined"].as_array().expect("who is present").iter().map(entry));
            }
            (_, None) if frame["reload"] != true => self.members = None,
            _ => {
                self.hear_of(rev, now);
                return;
            }
        }
        self.has(rev, count);
        if let Some(members) = &self.members {
            assert_eq!(members.len() as u64, count, "the list is not what its count says: {frame}");
        }
    }
}

fn entry(member: &Value) -> (String, Value) {
    (member["id"].as_str().expect("an id").to_owned(), member["data"].clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(after: u64, rev: u64, count: u64, joined: &[&str], left: &[&str]) -> Value {
        let joined: Vec<_> = joined.iter().map(|id| json!({ "id": id })).collect();
        json!({ "rev": rev, "after": after, "count": count, "joined": joined, "left": left })
    }

    fn ids(view: &PresenceView) -> Vec<&str> {
        view.members().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn frames_are_applied_over_the_pages_that_they_overtook() {
        let mut view = PresenceView::default();
        view.read();
        assert_eq!((view.request(0), view.request(0)), (Some(None), None));
        view.frame(&facts(4, 5, 2, &[], &["ann"]), 0);
        view.page(&json!({ "rev": 3, "count": 2, "members": [{ "id": "ann" }], "next": "ann" }), 0);
        view.frame(&facts(3, 4, 3, &["cy"], &[]), 0);
        assert_eq!(view.request(0), Some(Some("ann".to_owned())));
        view.page(&json!({ "rev": 5, "count": 2, "members": [{ "id": "bob" }, { "id": "cy" }] }), 0);
        assert_eq!((view.rev(), view.is_settled()), (4, false), "a frame came too early, so it is asked for");
        assert_eq!(view.request(PATIENCE), Some(None));
        view.page(&json!({ "rev": 5, "count": 2, "members": [{ "id": "bob" }, { "id": "cy" }] }), 0);
        assert_eq!((ids(&view), view.rev(), view.is_settled()), (vec!["bob", "cy"], 5, true));
    }

    #[test]
    fn what_is_lost_is_noticed_by_the_next_frame_or_by_a_beat() {
        let mut view = PresenceView::default();
        view.read();
        view.page(&json!({ "rev": 3, "count": 0, "members": [] }), 0);
        view.frame(&facts(3, 3, 0, &[], &[]), 0);
        assert!(view.is_settled());
        view.frame(&facts(4, 5, 1, &["ann"], &[]), 0);
        assert!(!view.is_settled() && view.request(1_999).is_none() && view.request(2_000).is_some());
        let mut view = PresenceView { members: Some(BTreeMap::new()), ..PresenceView::default() };
        view.synced(7, 0);
        view.frame(&json!({ "rev": 8, "count": 900 }), 1);
        assert!(view.is_settled() && view.members().is_none() && view.count() == 900);
        view.frame(&json!({ "rev": 9, "count": 3, "reload": true }), 1);
        assert!(!view.is_settled());
    }
}
