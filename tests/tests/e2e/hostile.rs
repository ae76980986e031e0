//! Frames of an attacker: each is refused with the right code or does no harm, and the connection's next frame is
//! served.

use serde_json::{Value, json};
use testkit::websocket::{Client, Handshake};

use crate::stacks::Stacks;
use crate::tables::now;
use crate::wait::{PATIENCE, until};

/// The length of texts that an error must not repeat in full.
const LONG: usize = 30_000;

/// Levels of nesting that are too many for the functions, but not for the emulator.
const DEEP: usize = 400;

fn nested(depth: usize, open: &str, close: &str) -> String {
    format!("{}1{}", open.repeat(depth), close.repeat(depth))
}

/// The frames, each with the code of its error.
fn frames() -> Vec<(String, &'static str)> {
    let raw = |text: &str| text.to_owned();
    let send = |fields: &str| format!(r#"{{"action":"sendMessage","roomId":"hostile:1",{fields}}}"#);
    let long = "x".repeat(LONG);
    let mut frames = vec![
        // No request at all.
        (raw(" "), "bad_request"),
        (raw("\u{feff}{}"), "bad_request"),
        (raw("{'action':'joinRoom'}"), "bad_request"),
        (raw(r#"{"action":"joinRoom","roomId":"hostile:1"} {}"#), "bad_request"),
        (raw(r#"{"action":"joinRoom","roomId":"hostile:1",}"#), "bad_request"),
        (raw("NaN"), "bad_request"),
        (raw("\u{0}"), "bad_request"),
        (nested(DEEP, "[", "]"), "bad_request"),
        (nested(DEEP, r#"{"a":"#, "}"), "bad_request"),
        (format!("\"{long}\""), "bad_request"),
        // Actions that do not exist, values that are no action, and two actions.
        (raw(r#"{"action":null}"#), "bad_request"),
        (raw(r#"{"action":["sendMessage"]}"#), "bad_request"),
        (raw(r#"{"action":{"sendMessage":1}}"#), "bad_request"),
        (raw(r#"{"action":1e308}"#), "bad_request"),
        (raw(r#"{"action":"SENDMESSAGE"}"#), "unknown_action"),
        (raw(r#"{"action":"sendMessage\u0000"}"#), "unknown_action"),
        (raw("{\"action\":\"\u{202e}egasseMdnes\"}"), "unknown_action"),
        (format!(r#"{{"action":"{long}"}}"#), "unknown_action"),
        (raw(r#"{"action":"joinRoom","action":"sendMessage","roomId":"hostile:1","data":1}"#), "bad_request"),
        // Fields of another type, twice, or beyond their limits.
        (raw(r#"{"action":"leaveRoom","roomId":"hostile:1","roomId":"hostile:2"}"#), "bad_request"),
        (raw(r#"{"action":"leaveRoom","roomId":{"$ne":""}}"#), "bad_request"),
        (raw("{\"action\":\"leaveRoom\",\"roomId\":\"hostile:\u{202e}1\"}"), "bad_request"),
        (raw(r#"{"action":"leaveRoom","roomId":"hostile:\u0000"}"#), "bad_request"),
        (raw(r#"{"action":"leaveRoom","roomId":"../hostile"}"#), "bad_request"),
        (raw(r#"{"action":"leaveRoom","roomId":"h%6fstile"}"#), "bad_request"),
        (format!(r#"{{"action":"leaveRoom","roomId":"{long}"}}"#), "bad_request"),
        (raw(r#"{"action":"leaveRoom","roomId":"hostile:1","requestId":{}}"#), "bad_request"),
        (format!(r#"{{"action":"leaveRoom","roomId":"hostile:1","requestId":"{long}"}}"#), "bad_request"),
        (raw(r#"{"action":"joinRoom","roomId":"hostile:1","after":9007199254740993}"#), "bad_request"),
        (raw(r#"{"action":"joinRoom","roomId":"hostile:1","after":1e400}"#), "bad_request"),
        (raw(r#"{"action":"joinRoom","roomId":"hostile:1","after":"0"}"#), "bad_request"),
        (raw(r#"{"action":"sync","rooms":[]}"#), "bad_request"),
        (raw(r#"{"action":"sync","rooms":{"hostile:1":0,"hostile:1":1}}"#), "bad_request"),
        (raw(r#"{"action":"sync","rooms":{"hostile:1":-1}}"#), "bad_request"),
        (raw(r#"{"action":"sync","rooms":{"a b":0}}"#), "bad_request"),
        (raw(r#"{"action":"getHistory","roomId":"hostile:1","limit":0}"#), "bad_request"),
        (raw(r#"{"action":"getHistory","roomId":"hostile:1","limit":1e2}"#), "bad_request"),
        (raw(r#"{"action":"getHistory","roomId":"hostile:1","before":0}"#), "bad_request"),
        (send(r#""data":1,"data":2"#), "bad_request"),
        (send(r#""data":"#), "bad_request"),
        (send(&format!(r#""data":{}"#, nested(DEEP, "[", "]"))), "bad_request"),
        // Some of the room's clients could not parse this, and would get it again at each sync.
        (send(r#""data":[1e400]"#), "bad_request"),
        (send(r#""data":"\ud800""#), "bad_request"),
        (send(r#""data":1,"id":"\ud800""#), "bad_request"),
        (send(r#""data":1,"key":["k"]"#), "bad_request"),
        (send(r#""data":1,"key":"k","version":1e16"#), "bad_request"),
        (send(&format!(r#""data":1,"id":"{long}""#)), "bad_request"),
    ];
    // Rooms that are not the sender's.
    for room in ["other", "hostile", "user:victim", "hostil", "HOSTILE:1"] {
        frames.extend([
            (format!(r#"{{"action":"joinRoom","roomId":"{room}"}}"#), "forbidden"),
            (format!(r#"{{"action":"getHistory","roomId":"{room}"}}"#), "forbidden"),
            (
                format!(
                    r#"{{"action":"sendMessage","roomId":"{room}","data":1,"from":"victim","rooms":{{"*":["send"]}}}}"#
                ),
                "forbidden",
            ),
        ]);
    }
    frames
}

/// Sends a frame without a readable `requestId`, whose error is the next one that comes; returns the error and its
/// bytes.
async fn answer(client: &Client, frame: &str) -> (Value, usize) {
    let before = client.received().len();
    client.send_text(frame);
    let error = || client.received().into_iter().skip(before).find(|received| received.json["type"] == "error");
    let shown: String = frame.chars().take(80).collect();
    let error = until(&format!("an error for {shown}"), async || error()).await;
    (error.json, error.text.len())
}

pub(crate) async fn each_hostile_frame_is_refused_and_the_next_one_served(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let claims = json!({
        "sub": "mallory", "exp": now().as_secs() + 3_600, "rooms": { "hostile:*": ["join", "send", "history"] },
    });
    let mallory = stack.connect_with(&Handshake::token(&stack.token_with(&claims)).room("hostile:1")).await.unwrap();
    let frames = frames();
    assert!(frames.len() >= 40);
    for (frame, code) in frames {
        let shown: String = frame.chars().take(80).collect();
        let (error, bytes) = answer(&mallory, &frame).await;
        assert_eq!(error["code"], code, "{shown}: {error}");
        assert!(bytes < 600, "{shown}: {error}");
        mallory.leave("hostile:2").await;
    }
    assert_eq!(mallory.messages("hostile:1"), [] as [Value; 0], "nothing was accepted");
}

/// Data that looks like an attack arrives as it was sent.
pub(crate) async fn data_is_data_whatever_it_looks_like(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "hostile-data";
    let alice = stack.connect_with(&Handshake::token(&stack.token("data-alice")).room(room)).await.unwrap();
    let sent = [
        json!({ "__proto__": { "admin": true }, "constructor": 1 }),
        json!("\u{0}\u{202e}\u{fffe}\u{ffff}\u{1f600}"),
        json!("</script><script>alert(1)</script>' OR 1=1; --"),
        json!({ "type": "messages", "roomId": "other", "messages": [{ "seq": 1 }] }),
        json!({ "action": "sendMessage", "roomId": "other", "data": 1 }),
    ];
    for data in &sent {
        alice.say(room, data.clone()).await;
    }
    let messages = alice.expect_messages(room, sent.len(), PATIENCE).await;
    assert!(messages.iter().map(|message| &message["data"]).eq(&sent), "{messages:?}");
}

/// Pairs of sender and id that look alike when joined are two messages.
pub(crate) async fn ids_that_could_collide_do_not(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "hostile-ids";
    let listener = stack.connect_with(&Handshake::token(&stack.token("ids-listener")).room(room)).await.unwrap();
    let sends =
        [("ids", "ab"), ("idsa", "b"), ("ids", "a"), ("idsa", "ab"), ("ids/a", "b"), ("ids:ab", "x"), ("ids", "ab:x")];
    for (subject, id) in sends {
        let client = stack.connect(subject).await.unwrap();
        let frame = json!({ "action": "sendMessage", "roomId": room, "data": [subject, id], "id": id });
        client.request_for("accepted", frame).await;
    }
    let messages = listener.expect_messages(room, sends.len(), PATIENCE).await;
    let mut seen: Vec<_> = messages.iter().map(|message| message["data"].to_string()).collect();
    let mut expected: Vec<_> = sends.iter().map(|(subject, id)| json!([subject, id]).to_string()).collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    assert!(messages.iter().all(|message| message["from"] == message["data"][0]), "{messages:?}");
}
