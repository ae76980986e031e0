//! `roomcast publish`: sends the lines of standard input to a room.

use std::{io, process::ExitCode, time::Duration};

use aws_sdk_sqs::Client as Sqs;
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::{
    Message, RoomId,
    clock::{Clock, SystemClock},
    limits::NAME_CHARS,
    message::draft::{Origin, ProducerDraft},
    queue::{Queue, Record, sqs::SqsQueue},
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, BufReader, Lines},
    time::timeout,
};

use crate::{failure::Failure, output::Output, parse, stack::Stack};

/// The most messages that are read before they are sent.
const BATCH: usize = 10;

/// The time that lines wait for the next one before they are sent.
const PATIENCE: Duration = Duration::from_millis(20);

/// The longest beginning of ids: a dash and ten digits follow.
const ID_CHARS: usize = NAME_CHARS - 11;

/// Options of `roomcast publish`.
#[derive(Args, Debug)]
pub struct Options {
    /// The room.
    #[arg(value_parser = parse::room)]
    room: RoomId,
    /// Each line is JSON, and the message's data as it stands. Otherwise it is text: {"text": line}.
    #[arg(long)]
    json_lines: bool,
    /// Whom the messages are from.
    #[arg(long, value_name = "SUBJECT", default_value = "roomcast", value_parser = parse::subject)]
    from: shared::Subject,
    /// What all messages are about: clients of a room with state, and a broadcast of several, keep the newest.
    #[arg(long, value_parser = parse::name)]
    key: Option<String>,
    /// What the messages' ids begin with: ID-1, ID-2 and so on, by line. With the same one again, what was sent in the
    /// last five minutes is not sent twice. Otherwise they are random.
    #[arg(long, value_name = "ID", value_parser = id)]
    id: Option<String>,
    /// Go on with this line of the input, as a failed command says.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,
    /// Ten messages a call, which is several times as fast: those of a failed call may then be taken in part.
    #[arg(long)]
    unordered: bool,
}

fn id(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=ID_CHARS => Ok(text.to_owned()),
        length => Err(format!("must have 1 to {ID_CHARS} characters, has {length}")),
    }
}

/// A message that the queue has taken, as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted<'a> {
    line: u64,
    room: &'a str,
    id: &'a str,
}

/// A line as a producer would write it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    room_id: &'a RoomId,
    data: &'a RawValue,
    id: &'a str,
    from: &'a str,
    key: Option<&'a str>,
}

/// Sends the lines in their order, straight to the rooms' queue: shares and cuts apply to clients only.
///
/// # Errors
/// When a line is no message, or the queue does not take one. The lines before it are sent.
pub async fn run(options: Options, stack: &Stack, output: &Output) -> Result<ExitCode, Failure> {
    let queue = SqsQueue::new(Sqs::new(&stack.sdk), stack.output("QueueUrl")?);
    let ids = options.id.clone().unwrap_or_else(|| format!("{:016x}", fastrand::u64(..)));
    let mut input = Input { lines: BufReader::new(tokio::io::stdin()).lines(), number: 0, has_ended: false };
    let bar = output.progress(None, "messages");
    loop {
        let (batch, bad) = input.batch(&options, &ids).await;
        let records: Vec<_> = batch.iter().map(|(_, message)| Record::of_message(message, None)).collect();
        let sent = if options.unordered { queue.send_unordered(&records).await } else { queue.send(&records).await };
        let mut failed = None;
        for ((line, message), result) in batch.iter().zip(sent) {
            match result {
                Ok(()) => {
                    let accepted = Accepted { line: *line, room: message.room.as_str(), id: &message.id };
                    bar.suspend(|| output.item(&accepted, || message.id.clone()));
                    bar.inc(1);
                }
                Err(error) => failed = failed.or(Some((*line, error))),
            }
        }
        let go_on = |line: u64| format!("go on with --id {ids} --from-line {line}");
        if let Some((line, error)) = failed {
            return Err(Failure::Met(format!("line {line} was not taken, {}: {error}", go_on(line))));
        }
        bad.map_err(|failure| match failure {
            // Repeated as it was, the command would send the lines before this one twice.
            Failure::Asked(why) if bar.position() > 0 => {
                Failure::Met(format!("{why}; those before it were taken, {}", go_on(input.number)))
            }
            failure => failure,
        })?;
        if input.has_ended {
            bar.finish_and_clear();
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// The lines that are left.
struct Input<R> {
    lines: Lines<R>,
    number: u64,
    has_ended: bool,
}

impl<R: AsyncBufRead + Unpin> Input<R> {
    /// The next messages with their lines' numbers, and the reason if the next line could not be read. There are at
    /// most ten; fewer when the next line is not there yet, so that lines which come one by one, as from `tail -f`, are
    /// sent one by one.
    async fn batch(&mut self, options: &Options, ids: &str) -> (Vec<(u64, Message)>, Result<(), Failure>) {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let line = self.lines.next_line();
            let line = if batch.is_empty() { Ok(line.await) } else { timeout(PATIENCE, line).await };
            let Ok(line) = line else { break };
            let number = self.number + 1;
            match line.map_err(|error| unreadable(number, error)) {
                Ok(None) => {
                    self.has_ended = true;
                    break;
                }
                Ok(Some(line)) => {
                    self.number += 1;
                    if self.number < options.from_line || line.is_empty() {
                        continue;
                    }
                    match message(options, &format!("{ids}-{}", self.number), &line, SystemClock.unix_millis()) {
                        Ok(message) => batch.push((self.number, message)),
                        Err(why) => return (batch, Err(Failure::Asked(format!("line {}: {why}", self.number)))),
                    }
                }
                Err(failure) => return (batch, Err(failure)),
            }
        }
        (batch, Ok(()))
    }
}

fn unreadable(number: u64, error: io::Error) -> Failure {
    match error.kind() {
        // The error's own text would contain the whole line.
        io::ErrorKind::InvalidData => Failure::Asked(format!("line {number}: is no UTF-8")),
        _ => Failure::call(format!("line {number} of standard input was to be read"))(error),
    }
}

/// Reads a line as the functions read what producers write.
fn message(options: &Options, id: &str, line: &str, now: u64) -> Result<Message, String> {
    let data = if options.json_lines {
        serde_json::from_str::<&RawValue>(line).map_err(|error| format!("is no JSON: {error}"))?.to_owned()
    } else {
        let text = serde_json::json!({ "text": line }).to_string();
        RawValue::from_string(text).map_err(|error| error.to_string())?
    };
    let from = options.from.as_str();
    let line = Line { room_id: &options.room, data: &data, id, from, key: options.key.as_deref() };
    let line = serde_json::to_string(&line).map_err(|error| error.to_string())?;
    let draft = ProducerDraft::read(&line).map_err(|error| error.to_string())?;
    draft.accept(Origin { id, from, sent_at: now }).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        options: Options,
    }

    fn options(words: &[&str]) -> Options {
        Words::parse_from([&["publish", "r"], words].concat()).options
    }

    #[test]
    fn a_line_is_text_or_json_as_it_stands() {
        let text = message(&options(&["--key", "k"]), "x-1", "a \"b\"", 7).unwrap();
        assert_eq!(
            (text.data.get(), text.id.as_str(), text.from.as_str()),
            (r#"{"text":"a \"b\""}"#, "x-1", "roomcast")
        );
        assert_eq!((text.key.as_deref(), text.sent_at, text.room.as_str()), (Some("k"), 7, "r"));
        let json = message(&options(&["--json-lines", "--from", "feed"]), "x-1", "[1, 2]", 7).unwrap();
        assert_eq!((json.data.get(), json.from.as_str()), ("[1, 2]", "feed"));
    }

    #[test]
    fn a_line_that_is_no_message_says_why() {
        let refused = |line: &str| message(&options(&["--json-lines"]), "x-1", line, 7).unwrap_err();
        assert!(refused("{").starts_with("is no JSON"));
        assert!(refused("1e999").contains("numbers that fit a double"));
        assert!(refused(&format!("\"{}\"", "x".repeat(130_000))).contains("the limit is 120832"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_does_not_wait_for_nine_others() {
        let (mut writer, reader) = tokio::io::duplex(4_096);
        let mut input = Input { lines: BufReader::new(reader).lines(), number: 0, has_ended: false };
        let options = options(&[]);
        let numbers = async |input: &mut Input<_>| {
            let (batch, bad) = input.batch(&options, "x").await;
            assert!(bad.is_ok());
            batch.iter().map(|(line, _)| *line).collect::<Vec<_>>()
        };
        writer.write_all(b"one\n\nthree\nhalf").await.unwrap();
        assert_eq!(numbers(&mut input).await, [1, 3]);
        assert!(!input.has_ended);
        writer.write_all(" a line\n".repeat(12).as_bytes()).await.unwrap();
        assert_eq!(numbers(&mut input).await, (4..14).collect::<Vec<_>>());
        drop(writer);
        assert_eq!(numbers(&mut input).await, [14, 15]);
        assert!(input.has_ended);
    }

    #[tokio::test]
    async fn a_line_that_is_no_text_is_named() {
        let text: &[u8] = b"one\n\xff\n";
        let mut input = Input { lines: BufReader::new(text).lines(), number: 0, has_ended: false };
        let (batch, bad) = input.batch(&options(&[]), "x").await;
        assert_eq!((batch.len(), bad.unwrap_err().to_string().as_str()), (1, "line 2: is no UTF-8"));
    }

    #[test]
    fn ids_leave_room_for_the_line() {
        assert_eq!(id(&"x".repeat(54)).unwrap_err(), "must have 1 to 53 characters, has 54");
        assert!(message(&options(&[]), &format!("{}-9999999999", "x".repeat(53)), "a", 7).is_ok());
    }
}
