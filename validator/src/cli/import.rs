//! `import`: blocks from a file.

use super::{
    Failure,
    config::HistorySource,
    datadir::{self, DatadirArgs, Opened},
};
use clap::Args;
use lockweave_validator::{
    chain::{ChainParameters, rlp_file::RlpBlocks},
    import::{Imported, Importer},
};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};
use tracing::info;

/// Add blocks from a file to a chain: RLP, one after another, as `export` and other clients write them.
///
/// Every block is executed and compared with its header. Blocks that the chain already has are skipped. How
/// much history is kept is set as for `run`: by flag, environment or configuration file.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lockweave-validator import --datadir data --genesis genesis.json \
                  chain.rlp"
)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    datadir: DatadirArgs,
    /// The chain, if the data folder is empty: a genesis file in geth's format.
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Give each block the state root that execution gives, so that its hash changes: for chains that a
    /// release before Ethereum's state root in headers made. If it is stopped, the same call goes on.
    #[arg(long)]
    reseal: bool,
    #[command(flatten)]
    history: HistorySource,
    /// The file; `-` for standard input.
    file: PathBuf,
}

pub(crate) fn run(args: ImportArgs) -> Result<ExitCode, Failure> {
    let wanted = (args.genesis.as_deref())
        .map(ChainParameters::read)
        .transpose()?;
    let datadir = &args.datadir.datadir;
    let retention = args.history.load(datadir)?;
    let opened = datadir::open(datadir, wanted.as_ref(), false, retention)?;
    let added = add_blocks(&opened, &args.file, args.reseal)?;
    let head = opened.store.head();
    writeln!(
        io::stdout(),
        "Added {added} blocks; the newest is {} ({}), the oldest that is kept {}",
        head.number(),
        head.hash,
        opened.store.oldest_block()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Adds the blocks of a file to a chain; returns how many were new.
pub(super) fn add_blocks(opened: &Opened, path: &Path, reseals: bool) -> Result<usize, Failure> {
    let reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = File::open(path).map_err(|source| Failure::File {
            path: path.display().to_string(),
            source,
        })?;
        Box::new(BufReader::new(file))
    };
    let mut importer = Importer::new(opened.parameters.clone(), Arc::clone(&opened.store));
    if reseals {
        importer = importer.resealing();
    }
    let mut added = 0;
    for block in RlpBlocks::new(reader) {
        added += usize::from(importer.import(block?)? == Imported::Added);
    }
    let head = opened.store.head();
    info!(target: "import", added, head = head.number(), hash = %head.hash, "imported");
    Ok(added)
}
