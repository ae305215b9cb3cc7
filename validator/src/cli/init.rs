//! `init`: a new chain.

use super::{
    Failure,
    datadir::{DatadirArgs, development},
};
use clap::Args;
use lockweave_validator::{chain::ChainParameters, store::Datadir};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Make a chain in a data folder, from a genesis file in geth's format.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lockweave-validator init --datadir data --genesis genesis.json\n  \
                  lockweave-validator run --datadir data"
)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    datadir: DatadirArgs,
    /// The genesis file.
    #[arg(long, value_name = "FILE", required_unless_present = "dev")]
    genesis: Option<PathBuf>,
    /// The development chain.
    #[arg(long, conflicts_with = "genesis")]
    dev: bool,
}

pub(crate) fn run(args: &InitArgs) -> Result<ExitCode, Failure> {
    let parameters = match &args.genesis {
        Some(path) => ChainParameters::read(path)?,
        None => development()?.0,
    };
    let datadir = Datadir::open(&args.datadir.datadir)?;
    let hash = datadir.init(&parameters)?;
    let chain_id = parameters.spec.chain_id;
    writeln!(
        io::stdout(),
        "Chain {chain_id}, genesis {hash}, in {}",
        datadir.path().display()
    )?;
    Ok(ExitCode::SUCCESS)
}
