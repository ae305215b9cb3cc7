//! `verify`: a chain, executed again.

use super::{Failure, datadir::DatadirArgs};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lockweave_validator::{
    store::{Datadir, DurableStore, Retention},
    verify::verify,
};
use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

/// Execute a chain again, one transaction after another, and hold everything against what is stored.
///
/// Receipts, logs, gas, the commitment to the state after each block, the links between blocks, and at
/// the end the whole state and the commitment computed from it.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 all is right, 1 something is wrong, 2 the input cannot be used."
)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    datadir: DatadirArgs,
}

/// Runs the command.
pub(crate) fn run(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let datadir = Datadir::open(&args.datadir.datadir)?;
    let parameters = datadir.parameters()?.ok_or_else(|| Failure::NoChain {
        path: args.datadir.datadir.display().to_string(),
    })?;
    let store = DurableStore::open(datadir, &parameters, Retention::everything())?;
    let progress = if io::stderr().is_terminal() {
        ProgressBar::new(0)
    } else {
        ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed}");
    progress.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let result = verify(&parameters, &store, |done, of| {
        progress.set_length(of);
        progress.set_position(done);
    });
    progress.finish_and_clear();
    match result {
        Ok(verified) => {
            writeln!(io::stdout(), "{verified}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problem) => {
            writeln!(io::stdout(), "wrong: {problem}")?;
            Ok(ExitCode::from(1))
        }
    }
}
