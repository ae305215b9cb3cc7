//! `keys`: a node's key.

use super::Failure;
use clap::{Args, Subcommand};
use lockweave_validator::network::{NetworkError, keys};
use serde_json::json;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Make a node's key, or show the public key of one.
///
/// A node signs its votes and authenticates its connections with its key. `network init` makes one for each
/// node. Private keys stay in their files: no command prints them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lockweave-validator keys new --out node.key\n  \
                  lockweave-validator keys show node.key\n\nNever run two nodes with one key: they would vote \
                  against each other, which proves them liars."
)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key in a new file that only its owner can read.
    New {
        /// The file to make; it must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Print the public key as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the public key of a key file.
    Show {
        /// The key file.
        file: PathBuf,
        /// Print the public key as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(args: &KeysArgs) -> Result<ExitCode, Failure> {
    let (public, file, is_json) = match &args.command {
        Command::New { out, json } => (create(out)?, out, *json),
        Command::Show { file, json } => (keys::public(&keys::read(file)?), file, *json),
    };
    let mut out = io::stdout().lock();
    if is_json {
        let shown = json!({ "publicKey": public, "file": file.display().to_string() });
        writeln!(out, "{shown}")?;
    } else {
        writeln!(out, "{public}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a key file and returns the public key.
pub(super) fn create(path: &Path) -> Result<String, NetworkError> {
    let key = keys::generate().map_err(|source| NetworkError::WriteKey {
        path: path.display().to_string(),
        source,
    })?;
    keys::create(path, &key)?;
    Ok(keys::public(&key))
}
