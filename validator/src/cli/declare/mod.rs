//! `declare`: the keys that transactions access.

mod recorded;

use super::{Failure, rpc};
use alloy_primitives::{Address, Bytes, U256};
use clap::Args;
use lockweave_evm_adapter::ChainSpec;
use lockweave_validator::{recorded::RecordedBlocks, replay::ReplayError};
use recorded::declare_recorded;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::{self, Write},
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
    thread,
    time::Duration,
};

/// Print the keys that a call or a recorded transaction accesses.
///
/// One JSON object per line: every key with its mode, and the transaction as an unsigned one of type 0x44,
/// which declares its accesses.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 something was printed, 2 the input cannot be used.\n\nExamples:\n  \
        lockweave-validator declare --replay mainnet_blocks.tar.zst:14029313 --transaction 3\n  \
        lockweave-validator declare --rpc http://127.0.0.1:8545 --to 0x5fbd… --data 0xa9059cbb…"
)]
pub(crate) struct DeclareArgs {
    /// A recording and the number of a block in it, as PATH:BLOCK.
    #[arg(
        long,
        value_name = "PATH:BLOCK",
        required_unless_present = "rpc",
        conflicts_with = "rpc"
    )]
    replay: Option<RecordedPlace>,
    /// Only the transaction with this index; otherwise all of the block.
    #[arg(long, value_name = "INDEX", requires = "replay")]
    transaction: Option<usize>,
    /// Node to ask, by `lockweave_declareAccess`, as http://HOST:PORT.
    #[arg(long, value_name = "URL")]
    rpc: Option<String>,
    /// Sender of the call.
    #[arg(long, value_name = "ADDRESS", requires = "rpc")]
    from: Option<Address>,
    /// Recipient of the call; without it, a contract is created.
    #[arg(long, value_name = "ADDRESS", requires = "rpc")]
    to: Option<Address>,
    /// Data of the call.
    #[arg(long, value_name = "HEX", requires = "rpc")]
    data: Option<Bytes>,
    /// Value of the call in wei.
    #[arg(long, value_name = "WEI", requires = "rpc")]
    value: Option<U256>,
    /// Gas limit of the call.
    #[arg(long, value_name = "GAS", requires = "rpc")]
    gas: Option<u64>,
}

/// A block of a recording.
#[derive(Clone, Debug)]
struct RecordedPlace {
    path: PathBuf,
    block: u64,
}

impl FromStr for RecordedPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once(':');
        let place = parts.and_then(|(path, block)| {
            let block = block.parse().ok()?;
            let path = PathBuf::from(path);
            Some(Self { path, block })
        });
        place.ok_or_else(|| "give a path and a block number, as PATH:BLOCK".to_owned())
    }
}

pub(crate) fn run(args: &DeclareArgs) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    match (&args.replay, &args.rpc) {
        (Some(place), _) => declare_from(&mut out, place, args.transaction)?,
        (None, Some(url)) => {
            let answer = ask(url, args)?;
            serde_json::to_writer(&mut out, &answer).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        (None, None) => unreachable!("clap requires one of the two"),
    }
    Ok(ExitCode::SUCCESS)
}

fn declare_from(
    out: &mut impl Write,
    place: &RecordedPlace,
    transaction: Option<usize>,
) -> Result<(), Failure> {
    let wanted = BTreeSet::from([place.block]);
    let blocks = RecordedBlocks::open(&place.path, Some(&wanted)).map_err(ReplayError::from)?;
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    for block in blocks {
        let block = block.map_err(ReplayError::from)?;
        let declared = declare_recorded(&ChainSpec::mainnet(), block, cores)?;
        if let Some(index) = transaction
            && index >= declared.len()
        {
            return Err(Failure::Declare(format!(
                "block {} has {} transactions, so there is no transaction {index}",
                place.block,
                declared.len()
            )));
        }
        let chosen = declared
            .iter()
            .filter(|one| transaction.is_none_or(|index| one.transaction_index == index));
        for one in chosen {
            serde_json::to_writer(&mut *out, one).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

/// Longest wait for the node's answer.
const PATIENCE: Duration = Duration::from_secs(30);

fn ask(url: &str, args: &DeclareArgs) -> Result<Value, Failure> {
    let mut call = json!({});
    let mut set = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            call[field] = value;
        }
    };
    set("from", args.from.map(|address| json!(address)));
    set("to", args.to.map(|address| json!(address)));
    set("data", args.data.as_ref().map(|data| json!(data)));
    set("value", args.value.map(|value| json!(value)));
    set("gas", args.gas.map(|gas| json!(format!("{gas:#x}"))));
    let params = json!([call, "latest"]);
    rpc::call(url, "lockweave_declareAccess", &params, PATIENCE)
        .map_err(|why| Failure::Declare(format!("{url}: {why}")))
}
