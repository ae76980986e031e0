//! Event source mappings: each queue read by its function, as its function needs it.

use aws_sdk_lambda::types::{EventSourceMappingConfiguration, FunctionResponseType};
use futures::future::join_all;

use super::{
    finding::{Area, Finding},
    patient::{Patient, unanswered},
};
use crate::failure::Failure;

/// A mapping of the template.
struct Expected {
    queue: &'static str,
    function: &'static str,
    /// The parameter that bounds it.
    concurrency: Concurrency,
    /// Whether the function reports failed records; the others of a batch are then deleted.
    gives_back: bool,
}

#[derive(Clone, Copy)]
enum Concurrency {
    Parameter(&'static str),
    Fixed(i32),
}

const MAPPINGS: [Expected; 6] = [
    Expected {
        queue: "BroadcastQueue",
        function: "FanoutFunction",
        concurrency: Concurrency::Parameter("FanoutMaximumConcurrency"),
        gives_back: true,
    },
    Expected {
        queue: "ShardQueue",
        function: "ShardsFunction",
        concurrency: Concurrency::Parameter("ShardsMaximumConcurrency"),
        gives_back: true,
    },
    Expected {
        queue: "EventQueue",
        function: "RelayFunction",
        concurrency: Concurrency::Parameter("RelayConcurrency"),
        gives_back: true,
    },
    Expected {
        queue: "RelayFailureQueue",
        function: "RelayFunction",
        concurrency: Concurrency::Fixed(2),
        gives_back: true,
    },
    Expected {
        queue: "PresenceQueue",
        function: "PresenceFunction",
        concurrency: Concurrency::Fixed(2),
        gives_back: true,
    },
    Expected {
        queue: "EphemeralQueue",
        function: "EphemeralFunction",
        concurrency: Concurrency::Fixed(2),
        gives_back: false,
    },
];

/// Functions that a stack may do without.
const OPTIONAL: [&str; 2] = ["PresenceFunction", "EphemeralFunction"];

/// Records of a batch, for all functions but `ephemeral`; for fan-out only where its environment says nothing else.
const BATCH: i32 = 10;

/// Records of a batch of ephemeral messages, when there is a batching window.
const WINDOW_BATCH: i32 = 1_000;

/// Looks at all mappings.
pub(super) async fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let is_there =
        |expected: &&Expected| !OPTIONAL.contains(&expected.function) || patient.resource(expected.function).is_ok();
    join_all(MAPPINGS.iter().filter(is_there).map(async |expected| {
        let subject = format!("{} to {}", expected.queue, expected.function);
        look(patient, expected, &subject)
            .await
            .unwrap_or_else(|failure| vec![Finding::problem(Area::Mappings, subject, failure.to_string())])
    }))
    .await
    .concat()
}

async fn look(patient: &Patient<'_>, expected: &Expected, subject: &str) -> Result<Vec<Finding>, Failure> {
    let queue = patient.queue_arn(expected.queue)?;
    let function = patient.function_arn(expected.function)?;
    let number = |name: &str| patient.parameter(name).and_then(|value| value.parse().ok());
    let concurrency = match expected.concurrency {
        Concurrency::Parameter(name) => number(name),
        Concurrency::Fixed(number) => Some(number),
    };
    let window = number("EphemeralWindowSeconds").filter(|_| expected.function == "EphemeralFunction").unwrap_or(0);
    let batch = if window > 0 { WINDOW_BATCH } else { batch_size(patient, expected.function) };
    let wanted = Wanted { batch, window, concurrency, gives_back: expected.gives_back };
    let problem = |what: &str| Finding::problem(Area::Mappings, subject, what);
    let listed = patient.lambda.list_event_source_mappings().event_source_arn(&queue).send().await;
    let mappings = match listed {
        Ok(listed) => listed.event_source_mappings.unwrap_or_default(),
        Err(error) => return Ok(vec![unanswered(Area::Mappings, subject, error)]),
    };
    // The function's ARN has its alias where there is one.
    let is_its = |mapping: &&EventSourceMappingConfiguration| mapping.function_arn() == Some(function.as_str());
    let others = mappings.iter().filter(|mapping| !is_its(mapping)).map(|mapping| {
        let (uuid, other) = (mapping.uuid().unwrap_or_default(), mapping.function_arn().unwrap_or_default());
        let what = format!("{other} reads the queue too, and takes what it should get");
        problem(&what).remedy(patient.aws(&format!("lambda delete-event-source-mapping --uuid {uuid}")))
    });
    let mut findings: Vec<_> = others.collect();
    let Some(mapping) = mappings.iter().find(is_its) else {
        let create = format!(
            "lambda create-event-source-mapping --function-name {function} --event-source-arn {queue} {}",
            wanted.options()
        );
        findings
            .push(problem("the queue is not mapped to the function: nothing reads it").remedy(patient.aws(&create)));
        return Ok(findings);
    };
    findings.extend(of_mapping(patient, mapping, subject, &wanted));
    Ok(findings)
}

/// The settings that a mapping must have in this stack.
struct Wanted {
    batch: i32,
    /// Seconds of the batching window.
    window: i32,
    concurrency: Option<i32>,
    gives_back: bool,
}

impl Wanted {
    /// The options of the command that makes such a mapping.
    fn options(&self) -> String {
        let window = (self.window > 0).then(|| format!("--maximum-batching-window-in-seconds {}", self.window));
        let gives_back = self.gives_back.then(|| "--function-response-types ReportBatchItemFailures".to_owned());
        let scaling = self.concurrency.map(|most| format!("--scaling-config MaximumConcurrency={most}"));
        let options = [Some(format!("--batch-size {}", self.batch)), window, gives_back, scaling];
        options.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// Looks at a mapping that is there.
fn of_mapping(
    patient: &Patient<'_>,
    mapping: &EventSourceMappingConfiguration,
    subject: &str,
    wanted: &Wanted,
) -> Vec<Finding> {
    let update = |words: &str| {
        let uuid = mapping.uuid().unwrap_or_default();
        patient.aws(&format!("lambda update-event-source-mapping --uuid {uuid} {words}"))
    };
    let problem = |what: &str, words: &str| Finding::problem(Area::Mappings, subject, what).remedy(update(words));
    let mut findings = Vec::new();
    match mapping.state().unwrap_or_default() {
        "Enabled" | "Enabling" | "Updating" | "Creating" => {}
        state => {
            let what = format!("{state}: the queue is not read, and what waits in it gets older");
            findings.push(problem(&what, "--enabled"));
        }
    }
    if wanted.gives_back && !mapping.function_response_types().contains(&FunctionResponseType::ReportBatchItemFailures)
    {
        let what = "without ReportBatchItemFailures: records that were given back are deleted, messages are lost";
        findings.push(problem(what, "--function-response-types ReportBatchItemFailures"));
    }
    let (has, batch) = (mapping.batch_size().unwrap_or_default(), wanted.batch);
    if has != batch && wanted.gives_back {
        let what =
            format!("batches of {has}, not of {batch} as the function's BATCH_SIZE says: it misjudges what waits");
        findings.push(problem(&what, &format!("--batch-size {batch}")));
    }
    let (waits, window) = (mapping.maximum_batching_window_in_seconds().unwrap_or_default(), wanted.window);
    if !wanted.gives_back && (has, waits) != (batch, window) {
        let what = format!(
            "batches of {has} within {waits} s, not of {batch} within {window} s: a room has more frames, or later"
        );
        let mend = update(&format!("--batch-size {batch} --maximum-batching-window-in-seconds {window}"));
        findings.push(Finding::warning(Area::Mappings, subject, what).remedy(mend));
    }
    let has = mapping.scaling_config().and_then(aws_sdk_lambda::types::ScalingConfig::maximum_concurrency);
    if let (Some(wanted), has) = (wanted.concurrency, has)
        && has != Some(wanted)
    {
        let has = has.map_or("no bound".to_owned(), |most| most.to_string());
        let what = format!("at most {has} batches at a time, not {wanted} as the stack's parameters say");
        let mend = update(&format!("--scaling-config MaximumConcurrency={wanted}"));
        findings.push(Finding::warning(Area::Mappings, subject, what).remedy(mend));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(Area::Mappings, subject, "enabled"));
    }
    findings
}

fn batch_size(patient: &Patient<'_>, function: &str) -> i32 {
    let environment = patient.functions.get(function).and_then(|function| function.environment()?.variables());
    let said = environment.and_then(|variables| variables.get("BATCH_SIZE")?.parse().ok());
    said.unwrap_or(BATCH)
}
