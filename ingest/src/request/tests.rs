use proptest::prelude::*;

use super::*;

fn reason(text: &str) -> String {
    Inbound::parse(text).unwrap_err().reason.to_string()
}

#[test]
fn reads_every_action() {
    let of = |text| Inbound::parse(text).unwrap();
    let join = of(r#"{"action":"joinRoom","roomId":"r","after":5,"requestId":"q"}"#);
    assert_eq!(join.request_id.as_deref(), Some("q"));
    assert!(matches!(join.request, Request::JoinRoom(JoinRoom { after: Some(Counter(5)), .. })));
    assert!(matches!(of(r#"{"action":"leaveRoom","roomId":"r"}"#).request, Request::LeaveRoom(_)));
    let send = of(r#"{"action":"sendMessage","roomId":"r","data":{"action":"sync"},"id":"i"}"#).request;
    assert!(matches!(send, Request::SendMessage(Draft { id: Some(Name(id)), .. }) if id == "i"));
    let Request::Sync(Sync { rooms: Positions(rooms), presence: None }) =
        of(r#"{"action":"sync","rooms":{"b":2,"a":1}}"#).request
    else {
        panic!()
    };
    assert_eq!(rooms.iter().map(|(room, seq)| (room.as_str(), *seq)).collect::<Vec<_>>(), [("a", 1), ("b", 2)]);
    let Request::GetHistory(history) = of(r#"{"action":"getHistory","roomId":"r","before":9}"#).request else {
        panic!()
    };
    assert!(matches!((history.before, history.limit()), (Some(Before(9)), 50)));
    let Request::GetState(state) = of(r#"{"action":"getState","roomId":"r","after":"a","seq":9}"#).request else {
        panic!()
    };
    assert!(
        matches!((&state.after, state.seq, state.limit()), (Some(AfterKey(key)), Some(Counter(9)), 1_000) if key == "a")
    );
    let Request::GetMembers(members) = of(r#"{"action":"getMembers","roomId":"r","after":"ann"}"#).request else {
        panic!()
    };
    assert!(matches!((&members.after, members.limit()), (Some(SubjectAfter(after)), 100) if after == "ann"));
}

#[test]
fn a_page_of_state_is_within_its_limits() {
    let told = |fields: &str| reason(&format!(r#"{{"action":"getState","roomId":"r",{fields}}}"#));
    assert_eq!(told(r#""limit":1001"#), "`limit` must be an integer from 1 to 1000");
    assert_eq!(told(&format!(r#""after":"{}""#, "x".repeat(65))), "`after` must have at most 64 characters");
    assert_eq!(told(r#""seq":-1"#), "`seq` must be an integer from 0 to 9007199254740991");
    assert!(Inbound::parse(r#"{"action":"getState","roomId":"r","after":""}"#).is_ok());
}

#[test]
fn refusals_say_what_is_wrong_and_keep_the_request_id() {
    let unknown = Inbound::parse(r#"{"action":"$connect","requestId":"q"}"#).unwrap_err();
    assert_eq!(unknown.request_id.as_deref(), Some("q"));
    assert_eq!(unknown.reason, RefusalReason::UnknownAction("$connect".into()));
    assert_eq!(reason("{}"), "`action` is missing");
    assert_eq!(reason(r#"{"action":5}"#), "`action` must be a string");
    assert_eq!(reason(r#"{"action":"joinRoom","roomId":""}"#), "`roomId` must have 1 to 100 characters, has 0");
    assert_eq!(
        reason(r#"{"action":"getHistory","roomId":"r","limit":101}"#),
        "`limit` must be an integer from 1 to 100"
    );
    assert_eq!(
        reason(r#"{"action":"getMembers","roomId":"r","limit":501}"#),
        "`limit` must be an integer from 1 to 500"
    );
    let after = |bytes: usize| format!(r#"{{"action":"getMembers","roomId":"r","after":"{}"}}"#, "x".repeat(bytes));
    assert_eq!(reason(&after(257)), "`after` must have at most 256 bytes");
    assert!(Inbound::parse(&after(256)).is_ok() && Inbound::parse(&after(0)).is_ok());
    let rooms: Vec<_> = (0..51).map(|n| format!("\"r{n}\":0")).collect();
    let text = format!(r#"{{"action":"sync","rooms":{{{}}}}}"#, rooms.join(","));
    assert_eq!(reason(&text), "`rooms` must have at most 50 rooms, has 51");
    let text = format!(r#"{{"action":"sync","rooms":{{}},"presence":{{{}}}}}"#, rooms.join(","));
    assert_eq!(reason(&text), "`presence` must have at most 50 rooms, has 51");
    for (rooms, told) in [
        (r#"{"a":1,"a":2}"#, "`rooms` has the room a twice"),
        (r#"{"a b":1}"#, "`rooms` has a room id that may only have the characters A-Z a-z 0-9 _ - . : (has ' ')"),
        (r#"{"a":"1"}"#, "`rooms` must be an object of integers from 0 to 9007199254740991"),
        ("null", "`rooms` is missing"),
        ("[1]", "`rooms` must be an object of integers from 0 to 9007199254740991"),
        ("7", "`rooms` must be an object of integers from 0 to 9007199254740991"),
    ] {
        assert_eq!(reason(&format!(r#"{{"action":"sync","rooms":{rooms}}}"#)), told);
    }
}

#[test]
fn a_refused_message_is_named_by_its_id() {
    let id = |text: &str| Inbound::parse(text).unwrap_err().message_id;
    assert_eq!(id(r#"{"action":"sendMessage","roomId":"r","data":1,"id":"i","version":-1}"#).as_deref(), Some("i"));
    assert_eq!(id(r#"{"action":"sendMessage","data":1,"id":"i"}"#).as_deref(), Some("i"));
    assert_eq!(id(r#"{"action":"sendMessage","roomId":"r","data":1,"id":"i","requestId":""}"#).as_deref(), Some("i"));
    assert_eq!(id(r#"{"action":"sendMessage","roomId":"r","data":1,"id":7}"#), None);
    assert_eq!(id(r#"{"action":"joinRoom","roomId":"","id":"i"}"#), None);
}

#[test]
fn an_unknown_action_is_not_repeated_at_length() {
    for character in ["x", "\u{1f600}", "\\u0001", "\u{202e}"] {
        let told = reason(&format!(r#"{{"action":"{}"}}"#, character.repeat(1_000)));
        assert!(told.len() <= 300 && told.contains('\u{2026}') && !told.contains('\u{202e}'), "{told}");
    }
}

#[test]
fn a_field_that_is_there_twice_is_refused_and_the_request_id_kept() {
    assert_eq!(reason(r#"{"action":"leaveRoom","roomId":"a","roomId":"b"}"#), "duplicate field `roomId`");
    let twice = Inbound::parse(r#"{"action":"sync","requestId":"q","action":"joinRoom"}"#).unwrap_err();
    assert_eq!(
        (twice.request_id.as_deref(), twice.reason.to_string().as_str()),
        (Some("q"), "duplicate field `action`")
    );
    let twice = Inbound::parse(r#"{"action":"sync","requestId":"q","requestId":"q"}"#).unwrap_err();
    assert_eq!(twice.request_id, None);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = Inbound::parse(&text);
    }

    #[test]
    fn no_json_makes_it_panic(action in "joinRoom|leaveRoom|sync|getHistory|getMembers|x", value in "-?[0-9]{1,20}|\"[a-z/ ]{0,9}\"|null|\\{\\}|\\[1\\]") {
        let _ = Inbound::parse(&format!(
            r#"{{"action":"{action}","roomId":{value},"after":{value},"before":{value},"limit":{value},"rooms":{value},"presence":{value},"presenceData":{value},"requestId":{value}}}"#
        ));
    }
}
