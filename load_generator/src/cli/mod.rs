//! The command line. Exit code 0: the result is good; 1: it is not; 2: there is no result.

use std::{ffi::OsString, io::Write, path::Path, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use lockweave_load_generator::{CATALOGUE, LoadError, run};

mod arguments;
mod compare;
mod file;
mod live;
mod output;
mod search;

use arguments::LoadArguments;
use output::OutputArguments;

/// Load generator for any EVM JSON-RPC endpoint.
///
/// Latencies count from the intended send time, every transaction is accounted for, and a seed decides every choice.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends load and reports the results. Exit code 0: no transaction is lost and the invariant is not broken; 1:
    /// otherwise; 2: the run failed.
    #[command(args_override_self = true)]
    Run(Box<RunArguments>),
    /// Searches for the highest rate that the node sustains. Exit code 0: found; 1: no rate is sustained.
    #[command(args_override_self = true)]
    FindMax(Box<search::SearchArguments>),
    /// Compares the reports of two runs, with confidence intervals.
    Compare(compare::CompareArguments),
    /// Renders a `run --json` report as an HTML page.
    Page(compare::PageArguments),
    /// Lists the scenarios: what each does, conflicts on and checks.
    Scenarios,
}

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let result = file::with_scenario_file(arguments).and_then(|arguments| {
        // Clap prints usage errors itself and exits with code 2.
        match Cli::parse_from(arguments).command {
            Command::Scenarios => {
                print_scenarios();
                Ok(true)
            }
            Command::Run(arguments) => run_load(&arguments),
            Command::FindMax(arguments) => search::find(&arguments),
            Command::Compare(arguments) => compare::compare_files(&arguments),
            Command::Page(arguments) => compare::write_page(&arguments),
        }
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("lockweave-loadgen: {error}");
            ExitCode::from(2)
        }
    }
}

fn print_scenarios() {
    let entries = CATALOGUE.map(|one| {
        format!(
            "{}\n    Does:         {}.\n    Conflicts on: {}.\n    Checks:       {}.\n",
            one.name, one.does, one.conflicts, one.checks
        )
    });
    // A closed pipe is not an error.
    let _ = std::io::stdout().write_all(entries.concat().as_bytes());
}

fn run_load(arguments: &RunArguments) -> Result<bool, LoadError> {
    let options = arguments.load.options()?;
    let mut live = live::Live::new(&options.pace, arguments.output.lines()?);
    let report = on_runtime(run(&options, &mut live))?;
    live.end();
    output::print(&report);
    arguments.output.write(&report)?;
    println!("{}", output::summary_line(&report));
    Ok(report.is_sound())
}

/// Runs a future on a multi-threaded runtime.
fn on_runtime<T>(future: impl Future<Output = Result<T, LoadError>>) -> Result<T, LoadError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| LoadError::Options(format!("cannot start threads: {error}")))?;
    runtime.block_on(future)
}

/// Writes a whole file.
fn write_file(path: &Path, text: &str) -> Result<(), LoadError> {
    std::fs::write(path, text).map_err(|source| LoadError::Write {
        path: path.to_owned(),
        source,
    })
}
