//! The clients in the rooms: what they do by themselves, what is under way to them, and what they see.

use serde_json::{Value, json};
use shared::clock::Clock;

use super::world::{BEAT, LEASE, Row, World};

/// The longest time that a publication is under way, in milliseconds.
const UNDER_WAY: u64 = 300;

impl World {
    /// Lets clients do everything that is due: beat, ask for members, take frames and replies that arrive.
    pub(super) fn serve_clients(&self) {
        let now = self.now();
        let connections: Vec<String> = self.members.borrow().keys().cloned().collect();
        for connection in connections {
            self.deliver(&connection, now);
            let (room, is_beat, request) = {
                let mut members = self.members.borrow_mut();
                let Some(member) = members.get_mut(&connection) else { continue };
                let is_beat = member.next_beat <= now;
                if is_beat {
                    member.next_beat = now + BEAT;
                }
                let request = if member.is_listed { member.view.request(now) } else { None };
                (member.room.clone(), is_beat, request)
            };
            if is_beat {
                self.beat(&connection, &room);
            }
            if let Some(after) = request {
                let page = page(self.row(&room).as_ref(), after.as_deref(), 1 + self.below(5));
                self.under_way(&connection, json!({ "page": page }), UNDER_WAY);
            }
        }
    }

    /// Does what `sync` does: renews the row, has the room looked at if that was not done lately, and tells its
    /// version.
    fn beat(&self, connection: &str, room: &str) {
        let row = self.row(room);
        let now = self.session_clock.unix_millis();
        if row.as_ref().is_none_or(|row| row.read_at + LEASE / 2 <= now) {
            self.tick(room);
        }
        let lost = self.chance(self.faults.get().rows_deleted);
        {
            let mut members = self.members.borrow_mut();
            let member = members.get_mut(connection).unwrap();
            if lost && member.has_row {
                self.lagging.delete(connection, room);
                member.has_row = false;
            } else if !member.has_row {
                // The library joins again.
                (member.has_row, member.joined_at) = (true, now);
                member.present_until = (now + LEASE) / 1_000;
                self.put(connection, member);
                member.view.read();
                self.tick(room);
            } else if member.present_until * 1_000 <= now + LEASE * 3 / 5 {
                member.present_until = (now + LEASE) / 1_000;
                self.lagging.renew(connection, room, member.present_until);
            }
        }
        let standing = row.map_or(0, |row| row.rev);
        self.under_way(connection, json!({ "synced": standing }), UNDER_WAY);
    }

    /// Sends something to a client, to arrive within a time.
    fn under_way(&self, connection: &str, what: Value, within: u64) {
        let at = self.now() + self.below(within);
        if let Some(member) = self.members.borrow_mut().get_mut(connection) {
            member.inbox.push((at, what));
        }
    }

    /// Posts a frame to everybody in a room.
    pub(super) fn post(&self, room: &str, frame: &Value) {
        let faults = self.faults.get().frames;
        for connection in self.connections(room) {
            let what = json!({ "frame": frame });
            match self.below(3) {
                0 if self.chance(faults) => {}
                1 if self.chance(faults) => {
                    self.under_way(&connection, what.clone(), 5_000);
                    self.under_way(&connection, what, UNDER_WAY);
                }
                2 if self.chance(faults) => self.under_way(&connection, what, 10_000),
                _ => self.under_way(&connection, what, UNDER_WAY),
            }
        }
    }

    fn deliver(&self, connection: &str, now: u64) {
        let mut members = self.members.borrow_mut();
        let Some(member) = members.get_mut(connection) else { return };
        member.inbox.sort_by_key(|(at, _)| *at);
        let later = member.inbox.partition_point(|(at, _)| *at <= now);
        for (_, what) in member.inbox.drain(..later).collect::<Vec<_>>() {
            if !what["page"].is_null() {
                member.view.page(&what["page"], now);
            } else if let Some(rev) = what["synced"].as_u64() {
                member.view.synced(rev, now);
            } else {
                member.view.frame(&what["frame"], now);
            }
        }
    }

    /// Asserts that the clients of a room see the published list.
    pub(super) fn assert_seen(&self, room: &str, what: &str) {
        let (Some(row), present) = (self.row(room), self.present(room)) else { return };
        for (connection, member) in self.members.borrow().iter().filter(|(_, member)| member.room == room) {
            assert!(member.view.is_settled(), "{what}: {connection} in {room} is not settled: {:?}", member.view);
            assert_eq!(
                (member.view.rev(), member.view.count()),
                (row.rev, row.count),
                "{what}: {connection} in {room}"
            );
            assert_eq!(member.view.members().is_some(), row.members.is_some(), "{what}: {connection} in {room}");
            if let Some(seen) = member.view.members() {
                assert_eq!(*seen, present, "{what}: {connection} in {room}");
            }
        }
    }
}

/// A page of members, as `joined.presence` and `members` have it.
fn page(row: Option<&Row>, after: Option<&str>, limit: u64) -> Value {
    let Some(row) = row else { return json!({ "rev": 0, "count": 0, "members": [] }) };
    let Some(members) = &row.members else { return json!({ "rev": row.rev, "count": row.count }) };
    let rest = members.iter().filter(|(id, _)| after.is_none_or(|after| id.as_str() > after));
    let mut rest = rest.map(|(id, data)| json!({ "id": id, "data": data }));
    let entries: Vec<Value> = rest.by_ref().take(usize::try_from(limit).unwrap()).collect();
    let mut page = json!({ "rev": row.rev, "count": row.count, "members": entries });
    if rest.next().is_some() {
        page["next"] = page["members"].as_array().unwrap().last().unwrap()["id"].clone();
    }
    page
}
