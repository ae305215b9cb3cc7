//! `network`: networks of validators.
//!
//! * `init`: keys, genesis and configuration
//! * `add`: one more node
//! * `up`: nodes as processes on this machine
//! * `status`: what the nodes say
//! * `processes`: starting, watching and stopping nodes
//! * `child`: the first step of a node's process
//! * `folder`: the files of a network
//! * `hosts`, `ports`: where the nodes are
//! * `table`: text in columns
//! * `error`: what goes wrong

mod add;
mod child;
mod error;
mod folder;
mod hosts;
mod init;
mod ports;
mod processes;
mod status;
mod table;
mod up;

pub(crate) use error::NetworkFailure;

use super::Failure;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// Networks of validators: make one, run one on this machine, look at one.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lockweave-validator network init --validators 4 --dir net\n  \
                  lockweave-validator network up --dir net\n  \
                  lockweave-validator network status --rpc http://127.0.0.1:8545\n\nOn a host of its own, a node runs \
                  with `lockweave-validator run --network NODE/network.toml`."
)]
pub(crate) struct NetworkArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitArgs),
    Add(add::AddArgs),
    Up(up::UpArgs),
    Start(up::StartArgs),
    Status(status::StatusArgs),
    #[command(hide = true)]
    Child(child::ChildArgs),
}

pub(crate) fn run(args: NetworkArgs) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Init(args) => init::run(&args),
        Command::Add(args) => add::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Start(args) => up::start(&args),
        Command::Status(args) => status::run(&args),
        Command::Child(args) => Err(child::run(&args).into()),
    }
}
