//! `replay`: recorded blocks, executed in parallel and checked.

use super::{Failure, progress};
use clap::Args;
use lockweave_evm_adapter::ChainSpec;
use lockweave_validator::{
    config::threads,
    recorded::RecordedBlocks,
    replay::{
        AccessSource, ReplayError, ReplayOptions, Replayer, TemplateUse,
        report::{Format, Summary},
    },
};
use std::{
    collections::BTreeSet,
    io::{self, Write},
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    thread,
};

/// Execute recorded blocks in parallel and check the result.
///
/// Every block is executed on one thread (the oracle) and on worker threads under locks. Gas, receipts
/// root and logs bloom are held against the block's header; state, receipts, logs and gas of every
/// parallel run are held against the oracle. Times leave out reading, signature recovery and the
/// checks.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 all blocks are right, 1 a block is wrong, 2 the input or the \
                        command line cannot be used.\n\nA recording has blocks/NUMBER/block.json (as \
                        JSON-RPC gives it, with full transactions) and pre_state.json for each \
                        block, and codes.json and block_hashes.json beside or above them.\n\nExample:\n  lockweave-validator replay \
                        mainnet_blocks.tar.zst --threads 4 --repeat 5"
)]
pub(crate) struct ReplayArgs {
    /// A recording: a folder or .tar.zst archive of blocks with the state before them.
    path: PathBuf,
    /// Worker threads [default: the number of cores].
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<NonZeroUsize>,
    /// Where the access sets of the parallel run come from.
    #[arg(long, value_enum, default_value_t = AccessSource::Recorded)]
    access: AccessSource,
    /// Runs of each block; medians are reported.
    #[arg(long, value_name = "R", default_value = "1")]
    repeat: NonZeroUsize,
    /// With `--access inferred`: whether calls that match a template are simulated anyway.
    #[arg(long, value_enum, default_value_t)]
    templates: TemplateUse,
    /// Only these blocks, by number, separated by commas.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    blocks: Option<Vec<u64>>,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: ReplayArgs) -> Result<ExitCode, Failure> {
    let summary = replay(args)?;
    Ok(ExitCode::from(u8::from(summary.failed > 0)))
}

fn replay(args: ReplayArgs) -> Result<Summary, Failure> {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let options = ReplayOptions {
        threads: args.threads.unwrap_or(cores),
        access: args.access,
        repeat: args.repeat,
        templates: args.templates,
    };
    let wanted: Option<BTreeSet<u64>> = args.blocks.map(|blocks| blocks.into_iter().collect());
    let format = if args.json {
        Format::Json
    } else {
        Format::Text
    };
    let blocks = RecordedBlocks::open(&args.path, wanted.as_ref()).map_err(ReplayError::from)?;
    let mut replayer = Replayer::new(options, ChainSpec::mainnet())?;
    let template = "{bar:30} {pos}/{len} {msg} {elapsed}";
    let progress = progress::bar(args.json, template, blocks.len() as u64);
    let mut out = io::stdout().lock();
    let mut summary = Summary::default();
    progress.suspend(|| format.write_header(&mut out))?;
    for block in blocks {
        let block = block.map_err(ReplayError::from)?;
        progress.set_message(format!("block {}", block.header.number));
        let report = replayer.replay(block)?;
        summary.add(&report);
        progress.suspend(|| {
            format.write_block(&mut out, &report)?;
            out.flush()
        })?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    format.write_summary(&mut out, &summary)?;
    out.flush()?;
    Ok(summary)
}
