//! The first step of a node's process: it becomes the node, and ends when its supervisor does.

use super::error::NetworkFailure;
use clap::Args;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::{
    env, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Options that a node takes from its network file. Values from the environment would be the same for all nodes.
const OF_THE_FILE: [&str; 3] = [
    "LOCKWEAVE_DATADIR",
    "LOCKWEAVE_HTTP_ADDR",
    "LOCKWEAVE_HTTP_PORT",
];

/// Become a node that ends with the process that started it.
#[derive(Debug, Args)]
pub(super) struct ChildArgs {
    /// The process that starts it.
    #[arg(long, value_name = "PID")]
    parent: u32,
    /// The node's network file.
    #[arg(long, value_name = "FILE")]
    network: PathBuf,
}

/// The command that runs a node as a child of this process.
///
/// A process can ask for a signal at its parent's death only for itself, so the child does it and then executes `run`
/// in its place. The child has a process group of its own. Otherwise Ctrl-C would reach it directly as well, and a
/// second signal ends a node without an orderly stop.
pub(super) fn command(network: &Path) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command
        .args(["network", "child", "--parent"])
        .arg(std::process::id().to_string())
        .arg("--network")
        .arg(network)
        .process_group(0);
    Ok(command)
}

/// Becomes the node. Returns only if that fails.
pub(super) fn run(args: &ChildArgs) -> NetworkFailure {
    let failed = |source| NetworkFailure::Exec { source };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return failed(error.into());
    }
    // The parent may have died before that.
    let parent = getppid().and_then(|pid| u32::try_from(pid.as_raw_pid()).ok());
    if parent != Some(args.parent) {
        return NetworkFailure::Orphan;
    }
    let executable = match env::current_exe() {
        Ok(executable) => executable,
        Err(source) => return failed(source),
    };
    let mut command = Command::new(executable);
    command.args(["run", "--network"]).arg(&args.network);
    for name in OF_THE_FILE {
        command.env_remove(name);
    }
    failed(command.exec())
}
