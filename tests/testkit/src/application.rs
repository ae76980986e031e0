//! The view that an application has of a room when its client does what the protocol asks of clients: it drops messages
//! that it has seen, holds back those after a gap, and reads missing ones from the log. It is a second implementation
//! of the protocol beside the client library's, in as few lines as possible.

use serde_json::Value;

use crate::history::Seen;

/// Answers in a row that know nothing of a log from which messages have come, after which they are believed. Heads are
/// read eventually consistent, and the server remembers for half a second that there was none.
const BELIEVED_AFTER: u32 = 5;

/// One room as one client sees it, over all its connections.
#[derive(Clone, Debug)]
pub struct RoomView {
    room: String,
    position: Option<u64>,
    early: Vec<Span>,
    seen: Vec<Seen>,
    gives_up: Vec<Truncation>,
    incomplete: bool,
    /// Answers in a row that know nothing of a log of which it had messages when it asked.
    empty_answers: u32,
}

/// Every message with `after < seq <= through`, except conflated ones.
#[derive(Clone, Debug)]
struct Span {
    after: u64,
    through: u64,
    messages: Vec<(u64, String)>,
    /// It had arrived before the log was last asked.
    known_when_asking: bool,
}

/// A stretch of the log that the application was told it cannot have, because retention has removed some of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Truncation {
    /// The last message that it has.
    pub after: u64,
    /// The next one that it gets; none when the log was empty.
    pub before: Option<u64>,
}

impl RoomView {
    /// A room that has not been joined yet.
    pub fn new(room: &str) -> Self {
        let room = room.to_owned();
        Self {
            room,
            position: None,
            early: vec![],
            seen: vec![],
            gives_up: vec![],
            incomplete: false,
            empty_answers: 0,
        }
    }

    /// The last message that it has. `None` before it has joined.
    pub fn position(&self) -> Option<u64> {
        self.position
    }

    /// Begins a request for the messages after its position, and returns that for the `after` to join or sync with.
    /// Messages that arrive from now on may be newer than the answer.
    pub fn ask(&mut self) -> Option<u64> {
        self.early.iter_mut().for_each(|span| span.known_when_asking = true);
        self.position
    }

    /// Whether it knows that something is missing, and must sync.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete || !self.early.is_empty()
    }

    /// The messages that the application has seen, in order.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// The stretches that it was told it cannot have.
    pub fn gives_up(&self) -> &[Truncation] {
        &self.gives_up
    }

    /// Takes a `messages` frame.
    ///
    /// # Panics
    /// When the frame is not what the protocol says.
    pub fn broadcast(&mut self, frame: &Value) {
        assert_eq!((&frame["type"], &frame["roomId"]), (&Value::from("messages"), &Value::from(self.room.as_str())));
        let messages = messages(frame);
        let (first, last) = (messages.first().expect("messages").0, messages.last().expect("messages").0);
        let after = frame["after"].as_u64().unwrap_or(first - 1);
        let through = frame["seq"].as_u64().unwrap_or(last);
        let all_there = (after + 1..=through).eq(messages.iter().map(|(seq, _)| *seq));
        assert!(all_there || frame.get("after").is_some(), "a frame has holes and does not say so: {frame}");
        assert!(after < first && last <= through, "a frame's messages are not what it stands for: {frame}");
        self.early.push(Span { after, through, messages, known_when_asking: false });
        self.advance();
    }

    /// Takes a page of the log, in a `joined` or `synced` reply to a request that asked for what comes after `asked`.
    ///
    /// # Panics
    /// When the page is not what the protocol says.
    pub fn page(&mut self, asked: Option<u64>, page: &Value) {
        let head = page["seq"].as_u64().expect("a seq");
        let messages = messages(page);
        let position = *self.position.get_or_insert(asked.unwrap_or(head));
        let first = messages.first().map(|message| message.0);
        let last = messages.last().map(|message| message.0);
        assert!(first > asked || first.is_none(), "a page starts before what was asked for: {page}");
        self.incomplete = page["more"].as_bool().expect("more");
        assert!(self.incomplete || last.is_none() || last == Some(head), "a last page ends before the head: {page}");
        if page["truncated"].as_bool().expect("truncated") {
            self.give_up_holes(position, &messages);
        }
        let is_empty = messages.is_empty();
        if let (Some(after), Some(through)) = (asked, last) {
            self.early.push(Span { after, through, messages, known_when_asking: true });
        }
        self.advance();
        let has_nothing = is_empty && !self.incomplete && (page["truncated"] == true || asked == Some(0));
        let is_doubtful = head == 0 && self.early.iter().any(|span| span.known_when_asking);
        self.empty_answers = if is_doubtful { self.empty_answers + 1 } else { 0 };
        if self.empty_answers >= BELIEVED_AFTER || (has_nothing && head > 0) {
            self.surrender(head);
        }
        if has_nothing && head > 0 {
            let position = self.position.unwrap_or_default();
            // A position beyond the head belongs to another log.
            let is_foreign = asked.is_some_and(|asked| head < asked && asked == position);
            self.position = Some(if is_foreign { head } else { position.max(head) });
            self.advance();
        }
    }

    /// Gives up what is not in a page between messages or, if it has none, what comes after the position.
    fn give_up_holes(&mut self, mut after: u64, messages: &[(u64, String)]) {
        if messages.is_empty() {
            self.gives_up.push(Truncation { after, before: None });
        }
        for (seq, _) in messages {
            if *seq > after + 1 {
                self.gives_up.push(Truncation { after, before: Some(*seq) });
            }
            after = after.max(*seq);
        }
    }

    /// Handles an empty page: of the messages held back, those that were there when the log was asked are all that is
    /// left, and the missing ones before them will never come. Messages beyond the log's head, or that have come since,
    /// belong to a log that has started meanwhile.
    fn surrender(&mut self, head: u64) {
        let is_left = |span: &&Span| if head == 0 { span.known_when_asking } else { span.through <= head };
        while let Some(span) = self.early.first().filter(is_left) {
            let before = span.messages.first().map(|message| message.0);
            self.gives_up.push(Truncation { after: self.position.unwrap_or_default(), before });
            self.position = Some(span.after);
            self.advance();
        }
    }

    /// Gives up the messages between a log that has been empty for too long and now: a client that resumes from 0 is
    /// never told of them.
    pub fn give_up_since_empty(&mut self) {
        self.gives_up.push(Truncation { after: self.position.unwrap_or_default(), before: None });
    }

    fn advance(&mut self) {
        let Some(mut position) = self.position else { return };
        self.early.sort_by_key(|span| span.after);
        while self.early.first().is_some_and(|span| span.after <= position) {
            let span = self.early.remove(0);
            let new = span.messages.iter().filter(|(seq, _)| *seq > position);
            self.seen.extend(new.map(|(seq, id)| Seen::new(&self.room, *seq, id)));
            position = position.max(span.through);
        }
        self.position = Some(position);
    }
}

fn messages(frame: &Value) -> Vec<(u64, String)> {
    let entries = frame["messages"].as_array().expect("messages");
    let read = |entry: &Value| (entry["seq"].as_u64().expect("a seq"), entry["id"].as_str().expect("an id").to_owned());
    let messages: Vec<_> = entries.iter().map(read).collect();
    assert!(messages.is_sorted_by(|one, next| one.0 < next.0), "not ascending: {frame}");
    messages
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entries(seqs: &[u64]) -> Value {
        seqs.iter().map(|seq| json!({ "seq": seq, "id": format!("m{seq}") })).collect()
    }

    fn broadcast(seqs: &[u64]) -> Value {
        json!({ "type": "messages", "roomId": "r", "messages": entries(seqs) })
    }

    fn page(seq: u64, seqs: &[u64], more: bool, truncated: bool) -> Value {
        json!({ "seq": seq, "messages": entries(seqs), "more": more, "truncated": truncated })
    }

    fn seen(view: &RoomView) -> Vec<u64> {
        view.seen().iter().map(|seen| seen.seq).collect()
    }

    #[test]
    fn what_is_missing_is_waited_for_and_what_is_known_is_dropped() {
        let mut view = RoomView::new("r");
        view.broadcast(&broadcast(&[5, 6]));
        view.page(None, &page(5, &[], false, false));
        assert_eq!(seen(&view), [6]);
        view.broadcast(&broadcast(&[9]));
        assert!(view.is_incomplete());
        view.page(Some(6), &page(9, &[7], true, false));
        view.broadcast(&broadcast(&[6, 7]));
        view.page(Some(7), &page(9, &[8, 9], false, false));
        assert_eq!((seen(&view), view.is_incomplete()), (vec![6, 7, 8, 9], false));
        assert_eq!(view.gives_up(), []);
    }

    #[test]
    fn conflated_messages_leave_no_gap() {
        let mut view = RoomView::new("r");
        view.page(None, &page(5, &[], false, false));
        let mut frame = broadcast(&[7]);
        frame["after"] = json!(5);
        frame["seq"] = json!(8);
        view.broadcast(&frame);
        assert_eq!((seen(&view), view.position(), view.is_incomplete()), (vec![7], Some(8), false));
    }

    #[test]
    fn what_is_held_back_when_the_log_is_empty_is_all_there_is() {
        let mut view = RoomView::new("r");
        view.page(None, &page(0, &[], false, false));
        view.broadcast(&broadcast(&[5, 6]));
        view.broadcast(&broadcast(&[9]));
        for _ in 0..BELIEVED_AFTER {
            assert_eq!((seen(&view), view.is_incomplete(), view.gives_up()), (vec![], true, &[][..]));
            view.ask();
            view.page(Some(0), &page(0, &[], false, false));
        }
        assert_eq!((seen(&view), view.is_incomplete()), (vec![5, 6, 9], false));
        assert_eq!(
            view.gives_up(),
            [Truncation { after: 0, before: Some(5) }, Truncation { after: 6, before: Some(9) }]
        );
    }

    #[test]
    fn what_overtakes_the_answer_that_the_log_is_empty_is_of_a_log_that_started_since() {
        let mut view = RoomView::new("r");
        view.page(None, &page(0, &[], false, false));
        view.ask();
        view.broadcast(&broadcast(&[6, 7]));
        view.page(Some(0), &page(0, &[], false, false));
        assert_eq!((seen(&view), view.is_incomplete(), view.gives_up()), (vec![], true, &[][..]));
        view.page(Some(0), &page(7, &[5, 6, 7], false, false));
        assert_eq!((seen(&view), view.is_incomplete()), (vec![5, 6, 7], false));
    }

    #[test]
    fn a_log_that_has_expired_is_gone_on_from_at_its_head() {
        let mut view = RoomView::new("r");
        view.page(None, &page(5, &[], false, false));
        view.broadcast(&broadcast(&[8]));
        view.page(Some(5), &page(9, &[], false, true));
        assert_eq!((seen(&view), view.position(), view.is_incomplete()), (vec![8], Some(9), false));
        assert_eq!(
            view.gives_up(),
            [Truncation { after: 5, before: None }, Truncation { after: 5, before: Some(8) }],
            "6, 7 and 9"
        );
        // The next log follows.
        view.broadcast(&broadcast(&[900]));
        view.page(Some(9), &page(900, &[900], false, false));
        assert_eq!((seen(&view), view.is_incomplete()), (vec![8, 900], false));
    }

    #[test]
    fn a_position_of_another_log_is_given_up() {
        let mut view = RoomView::new("r");
        view.page(Some(700), &page(9, &[], false, true));
        view.broadcast(&broadcast(&[10]));
        assert_eq!((seen(&view), view.position(), view.is_incomplete()), (vec![10], Some(10), false));
    }

    #[test]
    fn what_retention_has_dropped_is_given_up_and_noted() {
        let mut view = RoomView::new("r");
        view.page(None, &page(5, &[], false, false));
        view.broadcast(&broadcast(&[900]));
        view.page(Some(5), &page(901, &[899, 900, 901], false, true));
        assert_eq!((seen(&view), view.is_incomplete()), (vec![899, 900, 901], false));
        assert_eq!(view.gives_up(), [Truncation { after: 5, before: Some(899) }]);
    }

    #[test]
    fn what_is_gone_from_between_messages_of_a_page_is_given_up_too() {
        let mut view = RoomView::new("r");
        view.page(None, &page(5, &[], false, false));
        view.page(Some(5), &page(12, &[6, 9, 10, 12], false, true));
        assert_eq!((seen(&view), view.position()), (vec![6, 9, 10, 12], Some(12)));
        let holes = [Truncation { after: 6, before: Some(9) }, Truncation { after: 10, before: Some(12) }];
        assert_eq!(view.gives_up(), holes);
    }
}
