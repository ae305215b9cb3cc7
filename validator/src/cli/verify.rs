//! `verify`: a chain, executed again.

use super::{
    Failure,
    datadir::{self, DatadirArgs},
    progress::{self, show},
};
use clap::Args;
use lockweave_validator::{
    store::{DurableStore, Retention},
    verify::verify,
};
use serde_json::json;
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Execute a chain again, one transaction after another, and hold everything against what is stored.
///
/// Receipts, logs, gas, the commitment to the state after each block, the links between blocks, and at
/// the end the whole state and the commitment computed from it. Of a chain whose first blocks or states
/// are no longer kept, what is kept is checked.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 all is right, 1 something is wrong, 2 the input cannot be used, 3 all \
                  that can be checked is right, but not everything is kept that the first blocks would \
                  have to be executed with."
)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    datadir: DatadirArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// The exit status where what can be checked is right, but not all can be.
const PARTLY: u8 = 3;

pub(crate) fn run(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let (datadir, parameters) = datadir::existing(&args.datadir.datadir)?;
    let store = DurableStore::open(datadir, &parameters, Retention::everything())?;
    let progress = progress::bar(false, "{bar:30} {pos}/{len} {elapsed}", 0);
    let result = verify(&parameters, &store, |done, of| show(&progress, done, of));
    progress.finish_and_clear();
    let (outcome, exit) = match &result {
        Ok(verified) if verified.is_whole() => ("right", ExitCode::SUCCESS),
        Ok(_) => ("partly", ExitCode::from(PARTLY)),
        Err(_) => ("wrong", ExitCode::from(1)),
    };
    let mut out = io::stdout().lock();
    match result {
        Ok(verified) if args.json => {
            writeln!(
                out,
                "{}",
                json!({ "outcome": outcome, "verified": verified })
            )?;
        }
        Err(problem) if args.json => {
            let problem = problem.to_string();
            writeln!(out, "{}", json!({ "outcome": outcome, "problem": problem }))?;
        }
        Ok(verified) => writeln!(out, "{verified}")?,
        Err(problem) => writeln!(out, "wrong: {problem}")?,
    }
    Ok(exit)
}
