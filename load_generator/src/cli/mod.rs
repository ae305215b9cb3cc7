//! The command line. Exit code 0: what was asked for holds; 1: it does not; 2: it could not be found out.

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

/// Honest load for any EVM JSON-RPC endpoint.
///
/// Latencies count from the intended send time, every transaction is accounted for, and a seed decides what is sent.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends load and reports what became of it. Exit code 0: all accounted for and the invariant holds; 1: not so;
    /// 2: the run could not be made.
    #[command(args_override_self = true)]
    Run(Box<RunArguments>),
    /// Searches the highest rate that the node keeps up with. Exit code 0: there is one; 1: there is none.
    #[command(args_override_self = true)]
    FindMax(Box<search::SearchArguments>),
    /// Compares the reports of two runs, with confidence intervals.
    Compare(compare::CompareArguments),
    /// Makes the page of a report that `--json` wrote.
    Page(compare::PageArguments),
    /// Says what each scenario does, conflicts on and checks.
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
        // Clap's own way out, with its own words and code 2.
        match Cli::parse_from(arguments).command {
            Command::Scenarios => {
                tell_scenarios();
                Ok(true)
            }
            Command::Run(arguments) => make_run(&arguments),
            Command::FindMax(arguments) => search::find(&arguments),
            Command::Compare(arguments) => compare::compare_files(&arguments),
            Command::Page(arguments) => compare::make_page(&arguments),
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

fn tell_scenarios() {
    let entries = CATALOGUE.map(|one| {
        format!(
            "{}\n    Does:         {}.\n    Conflicts on: {}.\n    Checks:       {}.\n",
            one.name, one.does, one.conflicts, one.checks
        )
    });
    // A reader that has seen enough closes the pipe: no fault of ours.
    let _ = std::io::stdout().write_all(entries.concat().as_bytes());
}

fn make_run(arguments: &RunArguments) -> Result<bool, LoadError> {
    let options = arguments.load.options()?;
    let mut live = live::Live::new(&options.pace, arguments.output.lines()?);
    let report = on_runtime(run(&options, &mut live))?;
    live.end();
    output::tell(&report);
    arguments.output.write(&report)?;
    println!("{}", output::short(&report));
    Ok(report.is_sound())
}

/// Runs a future on all cores.
fn on_runtime<T>(future: impl Future<Output = Result<T, LoadError>>) -> Result<T, LoadError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| LoadError::Options(format!("no threads to run on: {error}")))?;
    runtime.block_on(future)
}

/// Writes a whole file.
fn write_file(path: &Path, text: &str) -> Result<(), LoadError> {
    std::fs::write(path, text).map_err(|source| LoadError::Write {
        path: path.to_owned(),
        source,
    })
}
