//! `verify`: a chain, executed again.

use super::{
    Failure,
    datadir::{self, DatadirArgs},
    progress::{self, show},
};
use clap::Args;
use lockweave_validator::{
    store::{ChainStore, DurableStore, Retention},
    verify::verify,
};
use serde_json::json;
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Execute a chain again, one transaction after another, and hold everything against what is stored.
///
/// Receipts, logs, gas, the state root after each block, the links between blocks, and at the end the state
/// root computed from all stored accounts. Of a chain whose first blocks or states are no longer kept, what
/// is kept is checked.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 all is right, 1 something is wrong, 2 the input cannot be used, 3 all \
                  that can be checked is right, but not everything is kept that the first blocks would \
                  have to be executed with."
)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    datadir: DatadirArgs,
    /// Only compute the state root from all stored accounts, and compare it with the newest header's.
    #[arg(long)]
    state: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// The exit status where what can be checked is right, but not all can be.
const PARTLY: u8 = 3;

pub(crate) fn run(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let (datadir, parameters) = datadir::existing(&args.datadir.datadir)?;
    let store = DurableStore::open(datadir, &parameters, Retention::everything())?;
    if args.state {
        return verify_state(&store, args.json);
    }
    let progress = progress::bar(false, "{bar:30} {pos}/{len} {elapsed}", 0);
    let state = progress::bar(false, "state root {bar:30} {percent}% {elapsed}", 0);
    let result = verify(
        &parameters,
        &store,
        |done, of| show(&progress, done, of),
        |done, of| show(&state, done, of),
    );
    progress.finish_and_clear();
    state.finish_and_clear();
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

/// Computes the state root from all stored accounts, and compares it with the newest header's.
fn verify_state(store: &DurableStore, is_json: bool) -> Result<ExitCode, Failure> {
    let progress = progress::bar(is_json, "state root {bar:30} {percent}% {elapsed}", 0);
    let state = store.db().recompute(|done, of| show(&progress, done, of))?;
    progress.finish_and_clear();
    let head = store.head();
    let stated = head.header.state_root;
    let is_right = state.state_root == stated;
    let mut out = io::stdout().lock();
    if is_json {
        let outcome = if is_right { "right" } else { "wrong" };
        let found = json!({
            "outcome": outcome,
            "block": head.number(),
            "stateRoot": stated,
            "computed": state.state_root,
            "accounts": state.accounts,
            "slots": state.slots,
        });
        writeln!(out, "{found}")?;
    } else if is_right {
        let (accounts, slots) = (state.accounts, state.slots);
        let number = head.number();
        writeln!(
            out,
            "right: {accounts} accounts and {slots} slots have the state root {stated} of block {number}"
        )?;
    } else {
        writeln!(
            out,
            "wrong: the header of block {} has state root {stated}, the stored accounts have {}; restore a \
             snapshot, or import the chain again",
            head.number(),
            state.state_root
        )?;
    }
    Ok(if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
