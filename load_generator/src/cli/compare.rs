//! Commands that read reports.

use std::path::{Path, PathBuf};

use clap::Args;
use lockweave_load_generator::{
    LoadError, Report, compare, differing_settings, html_page, short_number,
};

use super::write_file;

#[derive(Debug, Args)]
pub(super) struct CompareArguments {
    /// Report A, a `run --json` file.
    a: PathBuf,
    /// Report B, a `run --json` file.
    b: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct PageArguments {
    /// The report, a `run --json` file.
    report: PathBuf,
    /// The page to write.
    page: PathBuf,
}

pub(super) fn compare_files(arguments: &CompareArguments) -> Result<bool, LoadError> {
    let (a, b) = (read(&arguments.a)?, read(&arguments.b)?);
    println!("A: {}\nB: {}", arguments.a.display(), arguments.b.display());
    for difference in differing_settings(&a, &b) {
        println!("differing settings: {difference}");
    }
    println!(
        "\n{:<12} {:>10} {:>10} {:>10}   95 % interval of B − A",
        "", "A", "B", "B − A"
    );
    for one in compare(&a, &b)? {
        let verdict = if one.is_significant() {
            ""
        } else {
            "  (not significant)"
        };
        let interval = format!(
            "{} to {}",
            short_number(one.interval.0),
            short_number(one.interval.1)
        );
        println!(
            "{:<12} {:>10} {:>10} {:>10}   {interval} {}{verdict}",
            one.figure,
            short_number(one.a),
            short_number(one.b),
            short_number(one.difference),
            one.unit
        );
    }
    println!("\nThe intervals cover the variation between the seconds of these two runs only.");
    Ok(true)
}

pub(super) fn write_page(arguments: &PageArguments) -> Result<bool, LoadError> {
    write_file(&arguments.page, &html_page(&read(&arguments.report)?))?;
    Ok(true)
}

fn read(path: &Path) -> Result<Report, LoadError> {
    let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|error| {
        let why = "is not a report of `lockweave-loadgen run --json`";
        LoadError::Options(format!("{} {why}: {error}", path.display()))
    })
}
