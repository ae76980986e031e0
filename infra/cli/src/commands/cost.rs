//! `roomcast cost`: the price of a workload a month. It needs no stack.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use crate::{
    cost::{capacity, prices::Prices, report::Report, workload},
    failure::Failure,
    output::Output,
};

/// The file name that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Options of `roomcast cost`.
#[derive(Args, Debug)]
pub struct Options {
    /// The workload's description, a JSON file, or - for standard input: docs/cost.md says what is in it,
    /// docs/examples has some.
    #[arg(required_unless_present = "capacity")]
    pub file: Option<PathBuf>,
    /// A price list in place of the one that is built in.
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// What an account takes, by its quota of requests a second, in place of what a workload costs.
    #[arg(long, conflicts_with_all = ["file", "prices"])]
    pub capacity: bool,
}

/// Prints the calls and the price of a workload.
///
/// # Errors
/// When a file cannot be read; each of its mistakes is named.
pub fn run(options: &Options, output: &Output) -> Result<ExitCode, Failure> {
    if options.capacity {
        let tables = capacity::markdown();
        output.item(&json!({ "markdown": tables }), || tables.trim_end().to_owned());
        return Ok(ExitCode::SUCCESS);
    }
    let prices =
        options.prices.as_deref().map(|path| fs::read_to_string(path).map_err(unreadable(path))).transpose()?;
    let prices = Prices::read(prices.as_deref()).map_err(wrong(options.prices.as_deref()))?;
    let file = options.file.as_deref().unwrap_or(Path::new(STANDARD_INPUT));
    let text =
        if file == Path::new(STANDARD_INPUT) { io::read_to_string(io::stdin()) } else { fs::read_to_string(file) };
    let text = text.map_err(unreadable(file))?;
    let workload = workload::read(&text).map_err(wrong(Some(file)))?;
    let report = Report::of(&workload, &prices);
    output.item(&report.json(), || report.text().trim_end().to_owned());
    Ok(ExitCode::SUCCESS)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Asked(format!("{} cannot be read: {error}", path.display()))
}

fn wrong(path: Option<&Path>) -> impl FnOnce(Vec<String>) -> Failure {
    let shown = path.map_or_else(String::new, |path| path.display().to_string());
    move |problems| Failure::Asked(format!("{shown}:\n  {}", problems.join("\n  ")))
}
