//! Reports of the results, printed and written.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::all::Measured;
use crate::bars::{Bar, Limit};
use crate::broadcasts::{Broadcasts, IDEAL, LARGEST};
use crate::clients::{CLIENTS, CONNECTIONS, Client, of};
use crate::ephemerals::{Ephemerals, ROOM};
use crate::figures::short;
use crate::rooms::{HOT_ROOM, Rooms, SMALL_AND_BIG};
use crate::throttled::{Refused, Throttled};

/// The figures by their keys.
pub(crate) fn json(bars: &[Bar]) -> Value {
    let figures = bars.iter().map(|bar| (bar.key.clone(), bar.measured.median().into()));
    Value::Object(figures.collect::<Map<_, _>>())
}

/// The page about them.
pub(crate) fn markdown(measured: &Measured, bars: &[Bar], provenance: &[String]) -> String {
    let mut page = format!(
        "# What `make bench` measured\n\nWritten by `make bench`. Medians of {} runs, with the least and the greatest in \
         brackets. All servers are on the same machine and share its cores with what is measured, so what counts is the \
         ratios: those are taken within each run.\n\n",
        measured.runs
    );
    for line in provenance {
        let _ = writeln!(page, "- {line}");
    }
    must_reach(&mut page, bars);
    clients(&mut page, measured);
    page.push_str(&broadcasts(&measured.broadcasts));
    rates(&mut page, measured);
    page.push_str(&throttled(&measured.throttled));
    page.push_str(&rooms_beside(&measured.rooms));
    page.push_str(&ephemerals_beside(&measured.ephemerals));
    functions(&mut page, measured);
    page
}

/// Adds a table of Markdown.
pub(crate) fn table<const N: usize>(page: &mut String, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    page.push_str(&line(&head.map(str::to_owned)));
    page.push_str(&line(&head.map(|_| "---".to_owned())));
    for row in rows {
        page.push_str(&line(&row));
    }
}

fn must_reach(page: &mut String, bars: &[Bar]) {
    page.push_str("\n## Must reach\n\n");
    let rows = bars.iter().map(|bar| {
        let limit = match bar.limit {
            Limit::AtMost(most) => format!("at most {}", short(most)),
            Limit::AtLeast(least) => format!("at least {}", short(least)),
            Limit::Below(bound) => format!("under {}", short(bound)),
            Limit::Exactly(value) => short(value),
        };
        let reached = if bar.is_reached() { "yes" } else { "**no**" };
        [bar.what.clone(), limit, bar.measured.to_string(), reached.to_owned(), format!("`{}`", bar.key)]
    });
    table(page, ["what", "bar", "measured", "reached", "key"], rows);
}

fn clients(page: &mut String, measured: &Measured) {
    let _ = write!(
        page,
        "\n## Clients\n\n200-byte bodies, one server in a process of its own, {CONNECTIONS} connections (boto3's loop uses \
         one, HTTP/2 as many requests at a time on one), each client in one process that takes turns with the others. CPU is the client's own.\n\n"
    );
    clients_table(page, measured, Client::Signed);
    page.push_str(
        "\nOver TLS, to a server with a certificate of its own making, which the clients trust (`wrk` trusts anybody):\n\n",
    );
    clients_table(page, measured, Client::TlsSigned);
}

/// Adds the table of the clients that speak TLS, or that do not, as `ours` does.
fn clients_table(page: &mut String, measured: &Measured, ours: Client) {
    let ours_posting = of(&measured.clients, ours);
    let rows = CLIENTS.iter().filter(|client| client.is_tls() == ours.is_tls()).map(|client| {
        let posting = of(&measured.clients, *client);
        [
            client.name().to_owned(),
            posting.per_second.to_string(),
            posting.cpu.to_string(),
            short(posting.cpu.over(&ours_posting.cpu).median()),
        ]
    });
    table(page, ["client", "posts/s", "CPU for each post (us)", "CPU, ours = 1"], rows);
}

/// The part about broadcasts.
pub(crate) fn broadcasts(measured: &Broadcasts) -> String {
    let mut page = String::new();
    rooms(&mut page, measured);
    latency_and_packing(&mut page, measured);
    page
}

fn rooms(page: &mut String, measured: &Broadcasts) {
    page.push_str(
        "\n## One broadcast\n\nA whole invocation of the real function through the Lambda Runtime API, in an environment of its \
         own that has just started; one message, no sharding. Time includes what the embedded DynamoDB takes for the pages. \
         Log writes are `PutItem` and `TransactWriteItems`.\n\n![Time and memory against the room's size](rooms.svg)\n\n",
    );
    let rows = measured.rooms.iter().map(|room| {
        [
            short(room.connections as f64),
            room.milliseconds.to_string(),
            room.cpu_milliseconds.to_string(),
            room.peak_mib.to_string(),
            room.posts.to_string(),
            room.queries.to_string(),
            room.writes.to_string(),
        ]
    });
    table(page, ["connections", "time (ms)", "CPU (ms)", "peak memory (MiB)", "posts", "`Query`", "log writes"], rows);
    let _ = write!(
        page,
        "\n`wrk` in the same runs: {} ms for {} posts.\n",
        measured.wrk_milliseconds,
        short(LARGEST as f64)
    );
}

fn latency_and_packing(page: &mut String, measured: &Broadcasts) {
    let latency = &measured.latency;
    let (concurrency, connections, _) = IDEAL;
    let _ = write!(
        page,
        "\n## At 10 ms latency\n\n{} connections, `FANOUT_CONCURRENCY={concurrency}`; the ideal is connections x the latency \
         that the server measured / concurrency. The bar holds for the first invocation of an environment.\n\n",
        short(connections as f64)
    );
    let row = [
        latency.server_milliseconds.to_string(),
        latency.milliseconds.to_string(),
        latency.cold.to_string(),
        latency.warm.to_string(),
    ];
    let head = ["server's latency (ms)", "time (ms)", "first invocation / ideal", "second invocation / ideal"];
    table(page, head, [row]);
    let packing = &measured.packing;
    page.push_str("\n## Packing\n\n");
    let rows =
        [("1", &packing.one), ("10", &packing.ten)].map(|(messages, posts)| [messages.to_owned(), posts.to_string()]);
    table(page, ["queued messages of a room", "posts for each connection"], rows);
}

fn rates(page: &mut String, measured: &Measured) {
    page.push_str(
        "\n## Rate control\n\nA token bucket of 10,000 requests/s with a burst of 5,000, and environments side by side that know \
         nothing of each other, from a cold start: one message to a room each. Goodput is what was delivered, as a \
         share of what the bucket had between the first post and the last; \"side by side\" counts until the first \
         environment was done.\n\n",
    );
    let rows = measured.rates.iter().map(|rate| {
        [
            rate.environments.to_string(),
            short(rate.room as f64),
            rate.goodput.to_string(),
            rate.side_by_side.to_string(),
            rate.waste.to_string(),
            rate.undelivered.to_string(),
            rate.seconds.to_string(),
        ]
    });
    let head = [
        "environments",
        "connections each",
        "goodput",
        "side by side",
        "posts answered 429",
        "undelivered",
        "time (s)",
    ];
    table(page, head, rows);
    let simulated = &measured.simulated;
    let _ = write!(
        page,
        "\n100 environments on an account of 2,500 requests/s, simulated with the function's own rate limiter: goodput {}, {} of \
         the posts answered 429, {} connections undelivered.\n",
        simulated.goodput, simulated.waste, simulated.undelivered
    );
}

/// The part about accounts that refuse posts.
pub(crate) fn throttled(measured: &Throttled) -> String {
    let mut page = "\n## Refused posts\n\nOne environment that has just started, one message. An account that has nothing for 60 ms \
         from the first post on, and then 10,000 requests/s:\n\n"
        .to_owned();
    let row = |refused: &Refused| {
        [
            refused.concurrency.to_string(),
            short(refused.connections as f64),
            refused.seconds.to_string(),
            refused.over_ideal.to_string(),
            refused.throttled.to_string(),
            refused.undelivered.to_string(),
        ]
    };
    let head = ["`FANOUT_CONCURRENCY`", "connections", "time (s)", "time / ideal", "posts answered 429", "undelivered"];
    table(&mut page, head, measured.empty.iter().map(row));
    page.push_str("\nOne that answers 429 to a tenth of the posts at random, however few they are:\n\n");
    table(&mut page, head, measured.random.iter().map(row));
    let interrupted = &measured.interrupted;
    let _ = write!(
        page,
        "\nOne of 2,500 requests/s with a burst of 1,250, and a room of 36,000, which takes longer than an invocation of 5 s \
         (3 s without the reserve): the record comes back at once until it is done, which at the account's rate takes five \
         invocations. Every post counts, answered 429 or not, in the last column.\n\n"
    );
    let row = [interrupted.invocations.to_string(), interrupted.delivered.to_string(), interrupted.posts.to_string()];
    table(&mut page, ["invocations", "posts delivered for each connection", "posts made for each connection"], [row]);
    page
}

/// The part about rooms beside others, and hot ones.
pub(crate) fn rooms_beside(measured: &Rooms) -> String {
    let (small, big) = SMALL_AND_BIG;
    let (connections, messages) = HOT_ROOM;
    let mut page = format!(
        "\n## Rooms side by side\n\nPosts take 10 ms. A room of {small} alone, and with its message behind that of a room of {} in \
         the same batch: from the batch's arrival to the small room's last post.\n\n",
        short(big as f64)
    );
    let head = ["alone (ms)", "beside (ms)", "beside / alone"];
    let over = measured.beside.over(&measured.alone).to_string();
    table(&mut page, head, [[measured.alone.to_string(), measured.beside.to_string(), over]]);
    let _ = write!(
        page,
        "\n{} messages that wait for a room of {}, in batches of ten through `fanout`, and their jobs in batches of up to ten \
         through `shards` at the same time:\n\n",
        short(messages as f64),
        short(connections as f64)
    );
    let row = [measured.hot_posts.to_string(), measured.hot_seconds.to_string()];
    table(&mut page, ["posts for each connection", "time (s)"], [row]);
    page
}

/// The part about broadcasts beside ephemeral messages.
pub(crate) fn ephemerals_beside(measured: &Ephemerals) -> String {
    let mut page = format!(
        "\n## Broadcasts beside ephemeral messages\n\nAn account of 2,500 requests/s that is full: two broadcasts to {}, and beside them \
         two environments with ephemeral messages for twice the posts that the stack spends on them.\n\n",
        short(ROOM as f64)
    );
    let head = ["without (s)", "with (s)", "with / without", "ephemeral posts meanwhile"];
    let over = measured.with.over(&measured.without).to_string();
    let row = [measured.without.to_string(), measured.with.to_string(), over, measured.posts.to_string()];
    table(&mut page, head, [row]);
    page
}

fn functions(page: &mut String, measured: &Measured) {
    let ingest = &measured.ingest;
    let _ = write!(
        page,
        "\n## The way in\n\n`message`, one frame to the queue: {} us of CPU, {} us of time, for each message.\n\n\
         ## Cold start and size\n\nFrom the process's start to its asking for the first event; the zip holds the stripped \
         bootstrap alone.\n\n",
        ingest.cpu_micros, ingest.wall_micros
    );
    let rows = measured.starts.iter().map(|start| {
        [
            format!("`{}`", start.name),
            start.init_milliseconds.to_string(),
            start.peak_mib.to_string(),
            short(start.zip_mb),
        ]
    });
    table(page, ["function", "init (ms)", "memory (MiB)", "zip (MB)"], rows);
}
