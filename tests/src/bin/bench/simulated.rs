//! A hundred environments, which no machine has the cores for: the project's simulation of the rate limiter.

use std::process::Command;

use crate::figures::Series;

/// What came of the simulation. It is the same in every run.
pub(crate) struct Simulated {
    pub(crate) goodput: Series,
    pub(crate) waste: Series,
    pub(crate) undelivered: Series,
}

/// Runs the simulation, and reads the line that it prints.
pub(crate) fn measure() -> Result<Simulated, String> {
    let mut command = Command::new("cargo");
    command.args(["test", "--quiet", "--locked", "--package", "fanout", "--lib"]);
    command.args(["a_hundred_environments", "--", "--nocapture"]);
    let output = command.output().map_err(|error| format!("cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let value = |name: &str| {
        let words = said.split_whitespace();
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
    })
}
