//! `roomcast bench`: measures how fast a deployed stack broadcasts, within an allowed number of posts.
//!
//! Members join one room with a random name, and senders that are no members send to it. Each message costs at most as
//! many posts as the room has members: fan-out packs waiting messages together. Everything that was made is removed at
//! the end.

mod figures;
mod members;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use futures::future::try_join_all;
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use self::{
    figures::{Figures, Sent},
    members::Members,
};
use crate::{client::Client, failure::Failure, output::Output, stack::Stack, token, traces::Traces};

/// Seconds of sending, when the number of messages is not given.
const SECONDS: f64 = 10.0;

/// Messages per second of one sender, well below the share of a subject.
const RATE_OF_SENDER: f64 = 10.0;

/// Seconds for which tokens are valid.
const TOKEN_SECONDS: u64 = 3_600;

/// The time for a reply, or for a broadcast after the last message.
const WITHIN: Duration = Duration::from_secs(20);

/// Options of `roomcast bench`.
#[derive(Args, Debug)]
pub struct Options {
    /// Posts that it may cause, at the most: members times messages. The account's other users share its requests.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub posts: u64,
    /// Members of the room.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=5_000))]
    pub connections: u64,
    /// Messages per second.
    #[arg(long, default_value_t = 5.0, value_parser = rate)]
    pub rate: f64,
    /// Messages; ten seconds of the rate if not said, or fewer where the posts do not suffice.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub messages: Option<u64>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=200.0).contains(&rate) => Ok(rate),
        _ => Err("must be a number from 0.1 to 200".to_owned()),
    }
}

impl Options {
    /// The number of messages to send: those that are wanted, as far as the budget allows.
    fn messages(&self) -> Result<u64, Failure> {
        let allowed = self.posts / self.connections;
        let needed = |messages: u64| messages.saturating_mul(self.connections);
        match self.messages {
            Some(messages) if needed(messages) > self.posts => Err(Failure::Asked(format!(
                "{} connections times {messages} messages are {} posts, more than the {} of --posts",
                self.connections,
                needed(messages),
                self.posts
            ))),
            Some(messages) => Ok(messages),
            None if allowed == 0 => Err(Failure::Asked(format!(
                "one message to {} connections is more posts than the {} of --posts",
                self.connections, self.posts
            ))),
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 2,000")]
            None => Ok(allowed.min((self.rate * SECONDS).ceil() as u64)),
        }
    }
}

/// Measures the stack. The exit code is 1 when a message was lost or came out of order.
///
/// # Errors
/// When the budget does not suffice, when the stack does not take part, or when it was interrupted.
pub async fn run(options: Options, stack: &Stack, output: &Output) -> Result<ExitCode, Failure> {
    let messages = options.messages()?;
    let random: String = (0..12).map(|_| fastrand::alphanumeric()).collect();
    let room = format!("bench:{random}");
    let mut subjects: Vec<_> = (0..options.connections).map(|number| format!("{room}:member-{number}")).collect();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 20")]
    let senders = (options.rate / RATE_OF_SENDER).ceil() as usize;
    subjects.extend((0..senders).map(|number| format!("{room}:sender-{number}")));
    let traces = Traces { rooms: vec![room.clone()], subjects };
    let mut terminated = signal(SignalKind::terminate()).map_err(Failure::call("signals were to be listened to"))?;
    let measured = tokio::select! {
        measured = measure(&options, (stack, &room), messages, &traces, *output) => measured,
        _ = tokio::signal::ctrl_c() => Err(Failure::Met("interrupted".to_owned())),
        _ = terminated.recv() => Err(Failure::Met("terminated".to_owned())),
    };
    // The members have left, so nothing is written while the room is removed.
    let removed = traces.remove(stack).await;
    let figures = measured?;
    removed?;
    output.item(&figures, || figures.table());
    Ok(if figures.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(
    options: &Options,
    (stack, room): (&Stack, &str),
    messages: u64,
    traces: &Traces,
    output: Output,
) -> Result<Figures, Failure> {
    let rights = json!({ room: ["join", "send"] });
    let tokens =
        try_join_all(traces.subjects.iter().map(|subject| token::sign(stack, subject, rights.clone(), TOKEN_SECONDS)))
            .await?;
    let members = usize::try_from(options.connections).unwrap_or(usize::MAX).min(tokens.len());
    let (of_members, of_senders) = tokens.split_at(members);
    let mut members = Members::join(stack, room, of_members, output).await?;
    let mut senders = try_join_all(of_senders.iter().map(|token| Client::connect(stack, token))).await?;
    let bar = output.progress(Some(messages), "sending");
    let started = Instant::now();
    let mut sent = Vec::new();
    let mut pace = interval(Duration::from_secs_f64(1.0 / options.rate));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..messages {
        pace.tick().await;
        // A sender waits for its reply: when replies take long, fewer messages are sent than wanted, and the figures
        // show it.
        let sender = usize::try_from(number).unwrap_or(0) % senders.len();
        sent.push(send(&mut senders[sender], room, number).await?);
        bar.inc(1);
    }
    let sending = started.elapsed();
    bar.finish_and_clear();
    let received = members.finish(sent.len(), WITHIN, output).await;
    for sender in senders {
        sender.close().await;
    }
    Ok(Figures::of(&sent, &received, options.posts, sending))
}

/// Sends one message. Returns when it was sent and accepted, and its id.
async fn send(sender: &mut Client, room: &str, number: u64) -> Result<Sent, Failure> {
    let began_at = Instant::now();
    let frame = json!({ "action": "sendMessage", "roomId": room, "data": { "bench": number } });
    let accepted = sender.request("accepted", frame, WITHIN).await?;
    let id = accepted["id"].as_str().unwrap_or_default().to_owned();
    Ok(Sent { id, began_at, accepted_at: Instant::now() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(posts: u64, connections: u64, messages: Option<u64>) -> Options {
        Options { posts, connections, rate: 5.0, messages }
    }

    #[test]
    fn no_more_is_sent_than_the_posts_allow() {
        assert_eq!(options(1_000, 10, None).messages().unwrap(), 50);
        assert_eq!(options(99, 10, None).messages().unwrap(), 9);
        assert_eq!(options(100, 10, Some(10)).messages().unwrap(), 10);
        let refusal = options(100, 10, Some(11)).messages().unwrap_err().to_string();
        assert!(refusal.contains("110 posts"), "{refusal}");
        assert!(options(9, 10, None).messages().is_err());
        assert!(options(u64::MAX - 1, 3, Some(u64::MAX)).messages().is_err());
    }
}
