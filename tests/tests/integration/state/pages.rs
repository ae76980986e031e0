//! Pages of a room's state: their content, the number up to which they hold, and the reads for them.

use std::time::Duration;

use serde_json::{Value, json};
use shared::Message;
use shared::clock::Clock;
use shared::limits::MAX_INTEGER;
use shared::order::Rank;
use testkit::aws_endpoint::{Call, Fault, Hold, Rule};
use testkit::dynamodb::{MESSAGES_TABLE, STATE_TABLE};

use super::view::Page;
use super::{ROOM, Tables, batch, data};
use crate::log::{Session, finished_meanwhile};

async fn join(session: &Session) -> Value {
    session.request("c=", "ann", &json!({"action": "joinRoom", "roomId": ROOM, "state": true})).await
}

async fn get(session: &Session, after: &str, seq: u64) -> Value {
    session.request("c=", "ann", &json!({"action": "getState", "roomId": ROOM, "after": after, "seq": seq})).await
}

impl Tables {
    fn queries_of(&self, table: &str) -> usize {
        self.dynamodb.calls_of("Query").iter().filter(|call| call.body["TableName"] == table).count()
    }

    /// A row of state with data of this many bytes.
    fn row(&self, key: &str, seq: u64, bytes: usize) -> Value {
        json!({
            "roomId": ROOM, "key": key, "version": 0, "seq": seq, "from": "eu", "sentAt": self.clock.unix_millis(),
            "data": format!("{:?}", "x".repeat(bytes)),
        })
    }
}

fn ids(page: &Page) -> Vec<(&str, String)> {
    let id = |fact: &super::view::Fact| fact.data.as_ref().unwrap().as_str().unwrap().to_owned();
    page.entries.iter().map(|(key, fact)| (key.as_str(), id(fact))).collect()
}

#[tokio::test]
async fn what_is_in_the_log_and_not_in_state_is_in_the_page() {
    let tables = Tables::new();
    let writer = tables.environment();
    writer.bring(&batch(vec![tables.message("a", "k"), tables.message("b", "l")])).await.unwrap();
    drop(
        writer
            .append(&batch(vec![tables.message("c", "k"), tables.plain("d"), tables.message("e", "m")]))
            .await
            .unwrap(),
    );
    let reply = join(&tables.session()).await;
    assert_eq!(ids(&Page::of(&reply)), [("k", "c".into()), ("l", "b".into()), ("m", "e".into())]);
    // State is read once, and the page is as of the log's head.
    assert_eq!(
        (tables.queries_of(STATE_TABLE), reply["seq"].as_u64()),
        (1, tables.dynamodb.log(ROOM)[4]["seq"].as_u64())
    );
}

/// State is read after the log: a value that is written between the two is in both or in the later broadcasts, and
/// never in neither.
#[tokio::test]
async fn what_is_written_between_the_two_reads_is_not_missed() {
    let tables = Tables::new();
    let (writer, session) = (tables.environment(), tables.session());
    writer.bring(&batch(vec![tables.message("a", "k")])).await.unwrap();
    tables.dynamodb.endpoint().clear_calls();
    let hold = Hold::default();
    // The fault holds the second of the two calls, whichever that is.
    tables.dynamodb.fault(Rule::on("Query", Fault::Held(hold.clone())).when(is_of_a_page).after(1).times(1));
    let writing = async {
        let are_both_there =
            |calls: &[Call]| calls.iter().filter(|call| call.operation == "Query" && is_of_a_page(call)).count() == 2;
        tables.dynamodb.endpoint().wait_until("both pages are asked for", are_both_there).await;
        writer.bring(&batch(vec![tables.message("b", "l")])).await.unwrap();
        writer.bring(&batch(vec![tables.plain("c")])).await.unwrap();
        hold.release();
    };
    let (reply, ()) = futures::join!(get(&session, "", 0), writing);
    let page = Page::of(&reply);
    let appended = tables.dynamodb.log(ROOM);
    let is_missing = page.seq >= appended[1]["seq"].as_u64().unwrap() && !page.entries.contains_key("l");
    assert!(!is_missing, "{page:?} is as of a number that it does not have");
    assert_eq!(page.entries.len(), 2);
}

/// The log has no entry when it is read, and a head afterwards: it has started between the two reads, and state lacks
/// its first messages. It has not expired, which would leave all of it to state.
#[tokio::test]
async fn a_log_that_starts_while_its_head_is_read_is_in_the_page() {
    for asks in ["join", "get"] {
        let tables = Tables::new();
        let (writer, session) = (tables.environment(), tables.session());
        let hold = Hold::default();
        let is_of_head = |call: &Call| call.body["Key"]["seq"]["N"] == "-1000000";
        tables.dynamodb.fault(Rule::on("GetItem", Fault::Held(hold.clone())).when(is_of_head).times(1));
        let writing = async {
            tables.dynamodb.endpoint().wait_for("GetItem", 1).await;
            drop(writer.append(&batch(vec![tables.message("a", "k"), tables.message("b", "l")])).await.unwrap());
            let newest = tables.dynamodb.log(ROOM).pop().unwrap();
            let number = |name: &str| newest[name].as_u64().unwrap();
            tables.dynamodb.seed_head(ROOM, number("seq"), number("appendedAt"), number("expiresAt"));
            hold.release();
        };
        let asking = async { if asks == "join" { join(&session).await } else { get(&session, "", 0).await } };
        let (reply, ()) = futures::join!(asking, writing);
        assert_eq!(ids(&Page::of(&reply)), [("k", "a".into()), ("l", "b".into())], "{asks}: {reply}");
        assert_eq!(reply["seq"], tables.dynamodb.log(ROOM)[1]["seq"], "{asks}");
    }
}

/// Of two keys that were logged together the table shows the second first.
#[tokio::test]
async fn a_page_has_all_that_was_logged_with_its_newest_message() {
    for is_kept in [false, true] {
        let tables = Tables::new();
        let (writer, session) = (tables.environment(), tables.session());
        writer.bring(&batch(vec![tables.message("a", "k")])).await.unwrap();
        if is_kept {
            join(&session).await;
        }
        let in_part = tables.dynamodb.next_in_part(&[0]);
        let logged = batch(vec![tables.message("b", "l"), tables.message("c", "m")]);
        let reading = finished_meanwhile(&tables.dynamodb, in_part, join(&session));
        let (reply, appended) = futures::join!(reading, writer.append(&logged));
        let page = Page::of(&reply);
        assert_eq!(ids(&page), [("k", "a".into()), ("l", "b".into()), ("m", "c".into())], "{is_kept}");
        assert_eq!(page.seq, appended.unwrap().messages[1].seq);
    }
}

fn is_of_a_page(call: &Call) -> bool {
    [STATE_TABLE, MESSAGES_TABLE].iter().any(|table| call.body["TableName"] == *table)
}

#[tokio::test]
async fn pages_are_kept_for_a_second() {
    let tables = Tables::new();
    let (writer, session) = (tables.environment(), tables.session());
    writer.bring(&batch(vec![tables.message("a", "k")])).await.unwrap();
    join(&session).await;
    tables.clock.advance(Duration::from_millis(900));
    let (state, log) = (tables.queries_of(STATE_TABLE), tables.queries_of(MESSAGES_TABLE));
    let first = join(&session).await;
    // The log's head is read for every client that joins.
    assert_eq!((tables.queries_of(STATE_TABLE) - state, tables.queries_of(MESSAGES_TABLE) - log), (0, 1));
    get(&session, "", first["seq"].as_u64().unwrap()).await;
    assert_eq!((tables.queries_of(STATE_TABLE) - state, tables.queries_of(MESSAGES_TABLE) - log), (0, 1));
    tables.clock.advance(Duration::from_millis(101));
    join(&session).await;
    assert_eq!(tables.queries_of(STATE_TABLE) - state, 1);
}

#[tokio::test]
async fn a_kept_page_that_is_older_than_the_first_one_is_brought_up_to_it() {
    let tables = Tables::new();
    let (writer, one, other) = (tables.environment(), tables.session(), tables.session());
    writer.bring(&batch(vec![tables.message("a", "k")])).await.unwrap();
    get(&other, "", 0).await;
    writer.bring(&batch(vec![tables.message("b", "l"), tables.message("c", "k")])).await.unwrap();
    let first = join(&one).await["seq"].as_u64().unwrap();
    let state = tables.queries_of(STATE_TABLE);
    let page = Page::of(&get(&other, "", first).await);
    assert_eq!((ids(&page), page.seq), (vec![("k", "c".into()), ("l", "b".into())], first));
    assert_eq!(tables.queries_of(STATE_TABLE), state, "the log between the two is enough");
    // A client that joins does not have the removed key any more.
    writer.bring(&batch(vec![tables.removal("d", "k", None)])).await.unwrap();
    let joined = join(&other).await;
    assert_eq!((ids(&Page::of(&joined)), joined["seq"].as_u64()), (vec![("l", "b".into())], Some(first + 1)));
}

/// A client may name any number: nobody can be owed more than the log has.
#[tokio::test]
async fn a_number_beyond_the_log_does_not_have_state_read_again() {
    let tables = Tables::new();
    let (writer, session) = (tables.environment(), tables.session());
    writer.bring(&batch(vec![tables.message("a", "k")])).await.unwrap();
    let first = join(&session).await["seq"].as_u64().unwrap();
    let (state, log) = (tables.queries_of(STATE_TABLE), tables.queries_of(MESSAGES_TABLE));
    for _ in 0..3 {
        let page = Page::of(&get(&session, "", MAX_INTEGER).await);
        assert_eq!((ids(&page), page.seq), (vec![("k", "a".into())], first));
    }
    assert_eq!((tables.queries_of(STATE_TABLE) - state, tables.queries_of(MESSAGES_TABLE) - log), (0, 3));
    // The messages that the log has by now are in the page.
    writer.bring(&batch(vec![tables.message("b", "l")])).await.unwrap();
    let page = Page::of(&get(&session, "", MAX_INTEGER).await);
    assert_eq!((ids(&page), page.seq), (vec![("k", "a".into()), ("l", "b".into())], first + 1));
    assert_eq!(tables.queries_of(STATE_TABLE) - state, 0);
}

#[tokio::test]
async fn a_log_that_has_started_anew_is_read_anew() {
    let tables = Tables::new();
    let (writer, session) = (tables.environment(), tables.session());
    writer.bring(&batch(vec![tables.message("a", "k")])).await.unwrap();
    tables.clock.advance(Duration::from_secs(60));
    let first = join(&session).await["seq"].as_u64().unwrap();
    tables.dynamodb.expire_log(ROOM, first);
    tables.clock.advance(Duration::from_millis(500));
    tables.environment().bring(&batch(vec![tables.message("b", "l")])).await.unwrap();
    let joined = join(&session).await;
    assert!(joined["seq"].as_u64().unwrap() > first + 1);
    assert_eq!(ids(&Page::of(&joined)), [("k", "a".into()), ("l", "b".into())]);
}

#[tokio::test]
async fn the_state_of_an_empty_log_is_there() {
    let tables = Tables::new();
    tables.environment().bring(&batch(vec![tables.message("a", "k")])).await.unwrap();
    tables.dynamodb.expire_log(ROOM, u64::MAX);
    assert_eq!(ids(&Page::of(&join(&tables.session()).await)), [("k", "a".into())]);
}

#[tokio::test]
async fn what_is_gone_is_told_where_something_older_could_come() {
    let tables = Tables::new();
    let writer = tables.environment();
    let brief = |id: &str, version| Message { version, ttl_seconds: Some(1), ..tables.message(id, id) };
    let messages = vec![
        tables.removal("plain", "plain", None),
        tables.removal("versioned", "versioned", Some(3)),
        brief("brief", None),
        brief("brief-versioned", Some(2)),
        tables.message("there", "there"),
    ];
    let numbers = writer.bring(&batch(messages)).await.unwrap();
    let session = tables.session();
    let told = async |seq: u64| {
        let page = Page::of(&get(&session, "", seq).await);
        (page.entries.into_keys().collect::<Vec<_>>(), page.removed)
    };
    let rank = |place: usize, version| Rank { version, seq: numbers[place] };
    let versioned = [("versioned".to_owned(), rank(1, 3))];
    let (entries, removed) = told(numbers[4]).await;
    assert_eq!(
        (entries.as_slice(), removed),
        (["brief", "brief-versioned", "there"].map(str::to_owned).as_slice(), versioned.clone().into())
    );
    tables.clock.advance(Duration::from_secs(1));
    let expired = ("brief-versioned".to_owned(), rank(3, 2));
    let [versioned] = versioned;
    assert_eq!(told(numbers[4]).await, (vec!["there".to_owned()], [versioned.clone(), expired.clone()].into()));
    // A client whose first page is from before these messages may still get an older value.
    let all = [("plain".to_owned(), rank(0, 0)), versioned, ("brief".to_owned(), rank(2, 0)), expired];
    assert_eq!(told(numbers[0] - 1).await, (vec!["there".to_owned()], all.into()));
}

#[tokio::test]
async fn a_reply_holds_messages_first_and_then_as_much_state_as_fits() {
    let tables = Tables::new();
    tables.dynamodb.seed_state((0..10).map(|number| tables.row(&format!("k{number}"), number + 1, 30_000)));
    let session = tables.session();
    let mut told = Vec::new();
    let mut reply = join(&session).await;
    loop {
        assert!(reply.to_string().len() <= 112 * 1024, "{} bytes", reply.to_string().len());
        let page = Page::of(&reply);
        assert_eq!(page.entries.len(), 3.min(10 - told.len()));
        told.extend(page.entries.into_keys());
        let Some(next) = page.next else { break };
        assert_eq!(Some(&next), told.last());
        reply = get(&session, &next, page.seq).await;
    }
    assert_eq!(told, (0..10).map(|number| format!("k{number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_entry_that_fits_nowhere_has_a_reply_of_its_own() {
    let tables = Tables::new();
    tables.dynamodb.seed_state([tables.row("a", 1, 117_000), tables.row("b", 2, 1)]);
    let session = tables.session();
    let joined = Page::of(&join(&session).await);
    assert_eq!((joined.entries.len(), joined.next.as_deref()), (0, Some("")));
    let page = Page::of(&get(&session, "", joined.seq).await);
    assert_eq!((page.entries.len(), page.next.as_deref()), (1, Some("a")));
    let page = Page::of(&get(&session, "a", joined.seq).await);
    assert_eq!((page.entries.len(), page.next.as_deref()), (1, None));
}

#[tokio::test]
async fn a_page_has_as_many_entries_as_were_asked_for() {
    let tables = Tables::new();
    tables.dynamodb.seed_state((0..5).map(|number| tables.row(&format!("k{number}"), number + 1, 1)));
    let session = tables.session();
    let frame = json!({"action": "getState", "roomId": ROOM, "limit": 2, "after": "k1"});
    let page = Page::of(&session.request("c=", "ann", &frame).await);
    assert_eq!(
        (page.entries.into_keys().collect::<Vec<_>>(), page.next.as_deref()),
        (vec!["k2".to_owned(), "k3".to_owned()], Some("k3"))
    );
    let of_state = |call: &Call| call.body["TableName"] == STATE_TABLE;
    let limits: Vec<_> = tables.dynamodb.calls_of("Query").into_iter().filter(of_state).collect();
    assert_eq!(limits.iter().map(|call| call.body["Limit"].as_u64()).collect::<Vec<_>>(), [Some(3)], "no more is read");
}

#[tokio::test]
async fn keys_that_are_gone_by_the_thousand_do_not_hold_up_a_reply() {
    let tables = Tables::new();
    let until = tables.clock.unix_millis() - 1;
    let gone = |number: u64| {
        let mut row = tables.row(&format!("k{number:05}"), 1, 1);
        row["until"] = json!(until);
        row
    };
    tables.dynamodb.seed_state((0..2_500).map(gone).chain([tables.row("z", 1, 1)]));
    let session = tables.session();
    let page = Page::of(&get(&session, "", 5).await);
    assert_eq!((page.entries.len(), page.next.as_deref()), (0, Some("k01999")));
    let page = Page::of(&get(&session, "k01999", 5).await);
    assert_eq!((page.entries.len(), page.next), (1, None));
}

#[tokio::test]
async fn whoever_resumes_gets_the_state_only_if_something_is_gone() {
    let tables = Tables::new();
    let (writer, session) = (tables.environment(), tables.session());
    let numbers = writer
        .bring(&batch(vec![tables.message("a", "k"), tables.message("b", "k"), tables.message("c", "l")]))
        .await
        .unwrap();
    let resume = async |after: u64| {
        let frame = json!({"action": "joinRoom", "roomId": ROOM, "state": true, "after": after});
        session.request("c=", "ann", &frame).await
    };
    let reply = resume(numbers[0]).await;
    assert_eq!((reply.get("state"), reply["messages"].as_array().unwrap().len()), (None, 2));
    assert!(reply["now"].is_u64(), "{reply}");
    // A position of an empty log says nothing about later messages.
    assert!(resume(0).await["state"].is_array());
    tables.clock.advance(Duration::from_secs(60));
    tables.dynamodb.expire_log(ROOM, numbers[1]);
    let reply = resume(numbers[0]).await;
    assert_eq!(
        (&reply["truncated"], ids(&Page::of(&reply))),
        (&json!(true), vec![("k", "b".into()), ("l", "c".into())])
    );
}

#[tokio::test]
async fn rooms_without_state_and_who_does_not_ask_get_not_a_byte_more() {
    let tables = Tables::new();
    tables.environment().bring(&batch(vec![Message { data: data("1"), ..tables.message("a", "k") }])).await.unwrap();
    let elsewhere = Session::with_state("other:*", tables.client.clone(), &tables.clock);
    let plain = tables.session().request("c=", "ann", &json!({"action": "joinRoom", "roomId": ROOM})).await;
    for name in ["state", "stateRemoved", "stateNext", "now"] {
        assert!(plain.get(name).is_none(), "{plain}");
    }
    let asked = join(&elsewhere).await;
    for name in ["state", "stateRemoved", "stateNext"] {
        assert!(asked.get(name).is_none(), "{asked}");
    }
    assert_eq!(get(&elsewhere, "", 0).await["code"], "bad_request");
    assert_eq!(tables.queries_of(STATE_TABLE), 0);
}

#[tokio::test]
async fn a_table_that_throttles_is_told_as_such() {
    let tables = Tables::new();
    let of_state = |call: &Call| call.body["TableName"] == STATE_TABLE;
    tables.dynamodb.fault(Rule::on("Query", Fault::throughput_exceeded()).when(of_state));
    let session = tables.session();
    for reply in [join(&session).await, get(&session, "", 0).await] {
        assert!(reply["code"] == "rate_limited" && reply["retryAfterMs"].is_u64(), "{reply}");
    }
}
