//! The functions' log lines about a message.

use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client as CloudWatchLogs;
use serde_json::Value;
use shared::{
    RoomId,
    clock::{Clock, SystemClock},
};
use tokio::time::timeout;

use super::findings::Findings;
use crate::{failure::Causes, stack::Stack};

/// The time for searching one log group: in a busy stack, CloudWatch would read gigabytes for one answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Searches the logs. Log groups that cannot be read are noted.
pub(super) async fn read(
    stack: &Stack,
    room: &RoomId,
    id: &str,
    seq: Option<u64>,
    hours: u64,
    findings: &mut Findings,
) {
    let since = SystemClock.unix_millis().saturating_sub(hours * 3_600_000);
    for (group, is_accepting) in [
        ("MessageLogGroupName", true),
        ("RelayLogGroupName", true),
        ("FanoutLogGroupName", false),
        ("ShardsLogGroupName", false),
    ] {
        let says =
            |line: &Value| if is_accepting { says_accepted(line, room, id) } else { says_posted(line, room, seq) };
        let found = match stack.output(group) {
            Ok(group) => timeout(PATIENCE, first(stack, group, room, since, says)).await,
            Err(failure) => Ok(Err(failure.to_string())),
        };
        let place = if is_accepting { &mut findings.accepted_at } else { &mut findings.posted_at };
        match found {
            Ok(Ok(at)) => *place = place.or(at),
            Ok(Err(why)) => findings.unseen.push(format!("{group}: {why}")),
            Err(_) => findings.unseen.push(format!("{group}: not read through in {} s", PATIENCE.as_secs())),
        }
    }
}

/// The time of the first line that says it, in milliseconds since the Unix epoch.
async fn first(
    stack: &Stack,
    group: &str,
    room: &RoomId,
    since: u64,
    says: impl Fn(&Value) -> bool,
) -> Result<Option<u64>, String> {
    let client = CloudWatchLogs::new(&stack.sdk);
    let mut token = None;
    loop {
        // A room's characters have no meaning in a filter pattern. Ids may contain quotes, so they are compared here.
        let filter = client.filter_log_events().log_group_name(group).filter_pattern(format!("\"{room}\""));
        let filter = filter.start_time(i64::try_from(since).unwrap_or_default()).set_next_token(token);
        let page = filter.send().await.map_err(|error| Causes(&error).to_string())?;
        for event in page.events() {
            let line: Value = event.message().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
            if says(&line) {
                return Ok(event.timestamp().and_then(|at| u64::try_from(at).ok()));
            }
        }
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            return Ok(None);
        }
    }
}

fn says_accepted(line: &Value, room: &RoomId, id: &str) -> bool {
    line["message"] == "accepted" && line["room"] == room.as_str() && line["id"] == id
}

/// Whether a line says that the message was posted. An interrupted broadcast does not count: the row of its progress
/// says how far it got.
fn says_posted(line: &Value, room: &RoomId, seq: Option<u64>) -> bool {
    let (first, last) = (line["firstSeq"].as_u64(), line["lastSeq"].as_u64());
    let has = |seq: u64| first.is_some_and(|first| first <= seq) && last.is_some_and(|last| seq <= last);
    line["message"] == "broadcast"
        && line["room"] == room.as_str()
        && line["interruption"].is_null()
        && seq.is_some_and(has)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_about_a_message_of_a_room() {
        let room = RoomId::parse("r").unwrap();
        let accepted = json!({ "level": "INFO", "message": "accepted", "room": "r", "id": "m" });
        assert!(says_accepted(&accepted, &room, "m"));
        assert!(!says_accepted(&accepted, &room, "n"));
        assert!(!says_accepted(&accepted, &RoomId::parse("s").unwrap(), "m"));
        let broadcast = json!({ "message": "broadcast", "room": "r", "firstSeq": 5, "lastSeq": 7 });
        for (seq, posted) in [(Some(4), false), (Some(5), true), (Some(7), true), (Some(8), false), (None, false)] {
            assert_eq!(says_posted(&broadcast, &room, seq), posted, "{seq:?}");
        }
        let mut interrupted = broadcast;
        interrupted["interruption"] = json!("the time was up");
        assert!(!says_posted(&interrupted, &room, Some(6)));
    }
}
