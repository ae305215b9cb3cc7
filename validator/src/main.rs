//! The command line of the validator.

mod cli;

use clap::{CommandFactory, Parser, Subcommand};
use cli::{
    Failure, completions, config, db, declare, export, import, init, keys, network, replay, run,
    verify, verify_certificate,
};
use std::{
    io::{self, Write},
    process::ExitCode,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Executes EVM blocks in parallel under declared access: locks on accounts and storage slots, revm on worker threads.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Network(network::NetworkArgs),
    Keys(keys::KeysArgs),
    VerifyCertificate(verify_certificate::VerifyCertificateArgs),
    Init(init::InitArgs),
    Import(Box<import::ImportArgs>),
    Export(export::ExportArgs),
    Verify(verify::VerifyArgs),
    Db(db::DbArgs),
    Config(Box<config::ConfigArgs>),
    Replay(replay::ReplayArgs),
    Declare(Box<declare::DeclareArgs>),
    Completions(completions::CompletionsArgs),
}

fn main() -> ExitCode {
    lockweave_validator::signatures::install_libsecp256k1();
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(*args),
        Command::Network(args) => network::run(args),
        Command::Keys(args) => keys::run(&args),
        Command::VerifyCertificate(args) => verify_certificate::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Import(args) => import::run(*args),
        Command::Export(args) => export::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Db(args) => return db::run(&args),
        Command::Config(args) => config::run(*args),
        Command::Replay(args) => replay::run(args),
        Command::Declare(args) => declare::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
    };
    match result {
        Ok(code) => code,
        // The reader of the output closed it.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(io::stderr(), "error: {failure}");
            ExitCode::from(2)
        }
    }
}
