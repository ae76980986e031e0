//! The difference between this machine's clock and that of AWS: with a large one, tokens signed here, and calls, are
//! refused.

use std::{
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_sdk_sqs::{
    Client, Config,
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef as Answered,
    },
    error::BoxError,
    primitives::{DateTime, DateTimeFormat},
};

use super::{
    finding::{Area, Finding},
    patient::{Patient, unanswered},
};

/// Seconds of difference that the network and the rounding of the answer's time explain.
const LEEWAY: i64 = 30;

/// Seconds of difference from which on a problem is reported: AWS refuses calls from five minutes on.
const REFUSED: i64 = 240;

/// Keeps the header `Date` of answers.
#[derive(Clone, Debug, Default)]
struct Dates(Arc<Mutex<Option<String>>>);

impl Intercept for Dates {
    fn name(&self) -> &'static str {
        "dates of answers"
    }

    fn read_before_deserialization(
        &self,
        answered: &Answered<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Some(date), Ok(mut kept)) = (answered.response().headers().get("date"), self.0.lock()) {
            *kept = Some(date.to_owned());
        }
        Ok(())
    }
}

/// Looks at the clock.
pub(super) async fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let dates = Dates::default();
    let config = Config::from(&patient.stack.sdk).to_builder().interceptor(dates.clone()).build();
    // Any call does that is answered at once.
    let answered = Client::from_conf(config).list_queues().max_results(1).send().await;
    let date = dates.0.lock().ok().and_then(|mut kept| kept.take());
    let theirs = date.and_then(|date| DateTime::from_str(&date, DateTimeFormat::HttpDate).ok());
    vec![match (theirs, answered) {
        (Some(theirs), _) => of_clocks(now(), theirs.secs()),
        (None, Err(error)) => unanswered(Area::Clock, "clock", error),
        (None, Ok(_)) => Finding::skipped(Area::Clock, "clock", "the answers have no date to compare with"),
    }]
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn of_clocks(ours: i64, theirs: i64) -> Finding {
    let off = ours.saturating_sub(theirs);
    let which = if off < 0 { "slow" } else { "fast" };
    let what = format!(
        "this machine's clock is {} s {which}: tokens made here are refused, and calls beyond five minutes",
        off.abs()
    );
    match off.abs() {
        off if off <= LEEWAY => Finding::ok(Area::Clock, "clock", format!("within {LEEWAY} s of AWS")),
        off if off <= REFUSED => Finding::warning(Area::Clock, "clock", what).remedy("sudo timedatectl set-ntp true"),
        _ => Finding::problem(Area::Clock, "clock", what).remedy("sudo timedatectl set-ntp true"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Verdict, of_clocks};

    #[test]
    fn a_clock_is_off_either_way() {
        let verdict = |ours, theirs| of_clocks(ours, theirs).verdict;
        assert_eq!((verdict(1_030, 1_000), verdict(1_000, 1_030)), (Verdict::Ok, Verdict::Ok));
        assert_eq!((verdict(1_031, 1_000), verdict(1_000, 1_240)), (Verdict::Warning, Verdict::Warning));
        assert_eq!((verdict(1_241, 1_000), verdict(1_000, 1_241)), (Verdict::Problem, Verdict::Problem));
        assert!(of_clocks(1_000, 1_300).what.contains("300 s slow"));
    }
}
