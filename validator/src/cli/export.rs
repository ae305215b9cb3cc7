//! `export`: blocks to a file.

use super::{
    Failure,
    datadir::{self, DatadirArgs},
};
use alloy_rlp::Encodable;
use clap::Args;
use lockweave_validator::store::Retention;
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Write a chain's blocks to a file: RLP, one after another, without genesis.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    datadir: DatadirArgs,
    /// The first block.
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    from: u64,
    /// The last block [default: the newest].
    #[arg(long, value_name = "NUMBER")]
    to: Option<u64>,
    /// The file; `-` for standard output.
    file: PathBuf,
}

pub(crate) fn run(args: &ExportArgs) -> Result<ExitCode, Failure> {
    let opened = datadir::open(&args.datadir.datadir, None, false, Retention::everything())?;
    let head = opened.store.head().number();
    let last = args.to.unwrap_or(head).min(head);
    let to_stdout = args.file == Path::new("-");
    let mut out: Box<dyn Write> = if to_stdout {
        Box::new(BufWriter::new(io::stdout().lock()))
    } else {
        let file = File::create(&args.file).map_err(|source| Failure::File {
            path: args.file.display().to_string(),
            source,
        })?;
        Box::new(BufWriter::new(file))
    };
    let mut encoded = Vec::new();
    let mut written = 0;
    for number in args.from..=last {
        let Some(block) = opened.store.block(number)? else {
            break;
        };
        encoded.clear();
        block.to_consensus().encode(&mut encoded);
        out.write_all(&encoded)?;
        written += 1;
    }
    out.flush()?;
    if !to_stdout {
        writeln!(
            io::stdout(),
            "Wrote {written} blocks to {}",
            args.file.display()
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
