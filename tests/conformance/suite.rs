//! What every suite does around its cases: files from the archive, cases from files, panics.

use super::{
    archive::{self, Fixture},
    engine::Engine,
    report::Report,
};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs every file of an archive, on all cores; where there is no archive, says so and what is run
/// `instead`.
pub(crate) fn run_archive(
    name: &str,
    instead: &str,
    run_file: impl Fn(&mut Engine, &Fixture) -> Report + Sync,
) -> Report {
    let mut report = Report::default();
    let Some(archive) = archive::find(name) else {
        println!(
            "no {name} in {}: {instead}; set LOCKWEAVE_FIXTURES to the directory that holds the archive",
            archive::directory().display()
        );
        return report;
    };
    match archive::for_each(&archive, archive::threads(), Engine::new, run_file) {
        Ok(reports) => reports.into_iter().for_each(|part| report.merge(part)),
        Err(error) => {
            let name = archive.display().to_string();
            report.case("archive", name, Err(error.to_string()), &[]);
        }
    }
    report
}

/// The tests of a file by their names; none, and a failure, if it cannot be read.
pub(crate) fn tests<T: DeserializeOwned>(
    report: &mut Report,
    file: &Fixture,
) -> BTreeMap<String, T> {
    serde_json::from_slice(&file.bytes).unwrap_or_else(|error| {
        report.case("unreadable", file.path.clone(), Err(error.to_string()), &[]);
        BTreeMap::new()
    })
}

/// Runs a case. A panic is a failure of this case, and not the end of the others.
pub(crate) fn guarded(
    engine: &mut Engine,
    run: impl FnOnce(&Engine) -> Result<(), String>,
) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| run(engine))).unwrap_or_else(|_| {
        *engine = Engine::new();
        Err("the engine panicked".to_owned())
    })
}
