//! Commands on reports that were written before.

use std::path::{Path, PathBuf};

use clap::Args;
use lockweave_load_generator::{LoadError, Report, compare, page, short, unlike};

use super::write_file;

#[derive(Debug, Args)]
pub(super) struct CompareArguments {
    /// The report of one run, as `run --json` writes it.
    a: PathBuf,
    /// The report of the other.
    b: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct PageArguments {
    /// A report, as `run --json` writes it.
    report: PathBuf,
    /// Where the page goes.
    page: PathBuf,
}

pub(super) fn compare_files(arguments: &CompareArguments) -> Result<bool, LoadError> {
    let (a, b) = (read(&arguments.a)?, read(&arguments.b)?);
    println!("A: {}\nB: {}", arguments.a.display(), arguments.b.display());
    for difference in unlike(&a, &b) {
        println!("not made alike: {difference}");
    }
    println!(
        "\n{:<12} {:>10} {:>10} {:>10}   95 % interval of B − A",
        "", "A", "B", "B − A"
    );
    for one in compare(&a, &b)? {
        let verdict = if one.is_significant() {
            ""
        } else {
            "  (chance alone can explain it)"
        };
        let interval = format!("{} to {}", short(one.interval.0), short(one.interval.1));
        println!(
            "{:<12} {:>10} {:>10} {:>10}   {interval} {}{verdict}",
            one.figure,
            short(one.a),
            short(one.b),
            short(one.difference),
            one.unit
        );
    }
    println!("\nThe intervals speak of the spread within these two runs, second by second.");
    Ok(true)
}

pub(super) fn make_page(arguments: &PageArguments) -> Result<bool, LoadError> {
    write_file(&arguments.page, &page(&read(&arguments.report)?))?;
    Ok(true)
}

fn read(path: &Path) -> Result<Report, LoadError> {
    let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|error| {
        let why = "is no report of `lockweave-loadgen run --json`";
        LoadError::Options(format!("{} {why}: {error}", path.display()))
    })
}
