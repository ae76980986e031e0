use super::*;

fn log() -> RoomLog {
    RoomLog::new("room", (11..=15).map(|seq| (seq, format!("m{seq}"))))
}

fn seen(seqs: &[u64]) -> Vec<Seen> {
    seqs.iter().map(|seq| Seen::new("room", *seq, &format!("m{seq}"))).collect()
}

fn history(membership: Membership, seen: Vec<Seen>) -> History {
    History { connection: "alice".to_owned(), memberships: vec![membership], seen }
}

fn findings(membership: Membership, seen: Vec<Seen>, delivery: Delivery) -> Vec<Violation> {
    let findings = check(&[log()], &[history(membership, seen)], delivery);
    findings.into_iter().map(|finding| finding.violation).collect()
}

fn once(seqs: &[u64]) -> Vec<Violation> {
    findings(Membership::since("room", 10), seen(seqs), Delivery::Once)
}

fn message(seq: u64) -> Seen {
    Seen::new("room", seq, &format!("m{seq}"))
}

#[test]
fn everything_once_and_in_order_is_clean() {
    assert_eq!(once(&[11, 12, 13, 14, 15]), []);
    assert_clean(&[log()], &[history(Membership::since("room", 10), seen(&[11, 12, 13, 14, 15]))], Delivery::Once);
    assert_eq!(log().head(), 15);
    assert_eq!(RoomLog::new("empty", []).head(), 0);
}

#[test]
fn what_is_lost_is_named() {
    assert_eq!(
        once(&[11, 12, 14]),
        [Violation::Lost { message: message(13) }, Violation::Lost { message: message(15) }]
    );
    let nothing = findings(Membership::since("room", 13), vec![], Delivery::AtLeastOnce);
    assert_eq!(nothing, [Violation::Lost { message: message(14) }, Violation::Lost { message: message(15) }]);
}

#[test]
fn a_conflated_message_is_not_lost() {
    let mut log = log();
    log.skippable(13);
    let history = history(Membership::since("room", 10), seen(&[11, 12, 14, 15]));
    assert_eq!(check(&[log], &[history], Delivery::Once), []);
}

#[test]
fn a_repetition_counts_only_where_once_is_promised() {
    let repeated = [11, 12, 13, 12, 13, 14, 15];
    assert_eq!(
        once(&repeated),
        [
            Violation::Twice { message: message(12), first: 1, place: 3 },
            Violation::Twice { message: message(13), first: 2, place: 4 }
        ]
    );
    assert_eq!(findings(Membership::since("room", 10), seen(&repeated), Delivery::AtLeastOnce), []);
}

#[test]
fn order_is_that_of_first_arrivals() {
    let swapped = [11, 13, 12, 14, 15];
    let expected = [Violation::OutOfOrder { message: message(12), later: 13, place: 2 }];
    assert_eq!(once(&swapped), expected);
    assert_eq!(findings(Membership::since("room", 10), seen(&swapped), Delivery::AtLeastOnce), expected);
}

#[test]
fn a_message_of_another_room_is_foreign() {
    let mut seen = seen(&[11, 12, 13, 14, 15]);
    let foreign = Seen::new("elsewhere", 11, "m11");
    seen.insert(2, foreign.clone());
    assert_eq!(
        findings(Membership::since("room", 10), seen, Delivery::AtLeastOnce),
        [Violation::ForeignRoom { message: foreign, place: 2 }]
    );
}

#[test]
fn messages_that_the_log_does_not_have_are_noticed() {
    let (unknown, wrong) = (Seen::new("room", 99, "m99"), Seen::new("room", 13, "other"));
    let seen = [seen(&[11, 12]), vec![wrong.clone()], seen(&[13, 14, 15]), vec![unknown.clone()]].concat();
    assert_eq!(
        findings(Membership::since("room", 10), seen, Delivery::Once),
        [
            Violation::WrongId { message: wrong, in_log: "m13".to_owned(), place: 2 },
            Violation::NotInLog { message: unknown, place: 6 }
        ]
    );
}

#[test]
fn leavers_owe_and_may_no_more_than_their_time() {
    let left = || Membership::since("room", 10).until(12, 13);
    assert_eq!(findings(left(), seen(&[11, 12]), Delivery::Once), []);
    assert_eq!(findings(left(), seen(&[11, 12, 13]), Delivery::Once), []);
    assert_eq!(
        findings(left(), seen(&[11, 13, 14]), Delivery::Once),
        [Violation::OutsideMembership { message: message(14), place: 2 }, Violation::Lost { message: message(12) }]
    );
}

#[test]
fn joiners_may_see_earlier_messages_unless_said_otherwise() {
    let late = || Membership::since("room", 13);
    assert_eq!(findings(late(), seen(&[12, 13, 14, 15]), Delivery::Once), []);
    assert_eq!(
        findings(late().nothing_before(12), seen(&[12, 13, 14, 15]), Delivery::Once),
        [Violation::OutsideMembership { message: message(12), place: 0 }]
    );
}

#[test]
fn one_who_returns_owes_both_times_and_each_message_once() {
    let memberships = vec![
        Membership::since("room", 10).until(12, 12),
        Membership::since("room", 13).nothing_before(13),
        Membership::since("room", 14),
    ];
    let returned = |seen| History { connection: "bob".to_owned(), memberships: memberships.clone(), seen };
    assert_eq!(check(&[log()], &[returned(seen(&[11, 12, 14, 15]))], Delivery::Once), []);
    let lost = check(&[log()], &[returned(seen(&[11, 12, 14]))], Delivery::Once);
    assert_eq!(lost, [Finding { connection: "bob".to_owned(), violation: Violation::Lost { message: message(15) } }]);
}

#[test]
fn reports_say_who_what_and_where() {
    let text = |violation| Finding { connection: "alice".to_owned(), violation }.to_string();
    assert_eq!(text(Violation::Lost { message: message(12) }), "alice: lost room #12 (m12)");
    assert_eq!(
        text(Violation::OutOfOrder { message: message(12), later: 13, place: 2 }),
        "alice: saw room #12 (m12) at 2, after #13"
    );
}

#[test]
#[should_panic(expected = "1 violations, the first of them:\n  alice: lost room #13 (m13)")]
fn asserting_fails_with_the_report() {
    assert_clean(&[log()], &[history(Membership::since("room", 10), seen(&[11, 12, 14, 15]))], Delivery::Once);
}

#[test]
#[should_panic(expected = "twice, again at 12")]
fn a_log_with_a_message_twice_is_broken() {
    let _ = RoomLog::new("room", [(11, "a".to_owned()), (12, "a".to_owned())]);
}

#[test]
#[should_panic(expected = "not in order")]
fn a_log_out_of_order_is_broken() {
    let _ = RoomLog::new("room", [(12, "a".to_owned()), (11, "b".to_owned())]);
}
