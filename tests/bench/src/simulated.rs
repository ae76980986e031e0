//! The project's simulations of the rate limiter: for a hundred environments, which would need more cores than a
//! machine has, and for effects that only show in many repetitions.

use std::process::Command;

use crate::figures::Series;

/// The results of the simulations, which are the same in every run.
pub(crate) struct Simulated {
    pub(crate) goodput: Series,
    pub(crate) waste: Series,
    pub(crate) undelivered: Series,
    /// The time of broadcasts on a full account with ephemeral messages beside them, relative to that without.
    pub(crate) beside_ephemerals: Series,
    /// The time of other rooms' messages with publications of presence beside them, relative to that without.
    pub(crate) beside_presence: Series,
}

/// Runs the simulations, and reads what they print.
pub(crate) fn measure() -> Result<Simulated, String> {
    let mut command = Command::new("cargo");
    command.args(["test", "--quiet", "--locked", "--package", "fanout", "--lib", "--"]);
    command.args(["a_hundred_environments", "ephemerals_beside", "messages_beside_presence", "--nocapture"]);
    let output = command.output().map_err(|error| format!("cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let value = |name: &str| {
        // A passed test is a dot without a space after it.
        let words = said.split_whitespace().map(|word| word.trim_start_matches('.'));
        let value = words.filter_map(|word| word.split_once('=')).find(|(key, _)| *key == name);
        let value = value.and_then(|(_, value)| value.parse::<f64>().ok());
        value.map(|value| Series::from_iter([value])).ok_or_else(|| {
            format!("the simulation did not say {name}: {said}{}", String::from_utf8_lossy(&output.stderr))
        })
    };
    Ok(Simulated {
        goodput: value("goodput_100_sim")?,
        waste: value("waste_100_sim")?,
        undelivered: value("undelivered")?,
        beside_ephemerals: value("broadcast_beside_ephemerals_sim")?,
        beside_presence: value("messages_beside_presence_sim")?,
    })
}
