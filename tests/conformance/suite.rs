//! What every suite does around its cases: files from the archive, cases from files, panics.

use super::{
    archive::{self, Fixture},
    engine::Engine,
    report::Report,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The group of what is no case, but should have been some.
const UNREADABLE: &str = "unreadable";

/// Runs every file of an archive, on all cores, and the repository's own; where there is no archive,
/// says so and runs only these.
///
/// An archive that breaks off, or in which nothing is for the suite, is a failure.
pub(crate) fn run_archive(
    name: &str,
    own: &Fixture,
    run_file: impl Fn(&mut Engine, &Fixture) -> Report + Sync,
) -> Report {
    let mut report = Report::default();
    if let Some(archive) = archive::find(name) {
        let (parts, read) = archive::for_each(&archive, archive::threads(), Engine::new, &run_file);
        for part in parts {
            report.merge(part);
        }
        let name = archive.display().to_string();
        if let Err(error) = read {
            let problem = format!("cannot be read to its end: {error}");
            report.case("archive", name, Err(problem), &[]);
        } else if report.is_empty() {
            let problem = "there is no case for this suite in it".to_owned();
            report.case("archive", name, Err(problem), &[]);
        }
    } else {
        println!(
            "no {name} in {}: only the repository's own cases are run; set LOCKWEAVE_FIXTURES to the \
             directory that holds the archive",
            archive::directory().display()
        );
    }
    report.merge(run_file(&mut Engine::new(), own));
    report
}

/// The tests of a file by their names. What cannot be read is a failure by the name of the file or, if
/// the file is JSON, of the test.
pub(crate) fn tests<T: DeserializeOwned>(
    report: &mut Report,
    file: &Fixture,
) -> BTreeMap<String, T> {
    let whole = serde_json::from_slice::<BTreeMap<String, T>>(&file.bytes);
    let tests = match whole {
        Ok(tests) => tests,
        Err(error) => {
            let Ok(tests) = serde_json::from_slice::<BTreeMap<String, Value>>(&file.bytes) else {
                report.case(UNREADABLE, file.path.clone(), Err(error.to_string()), &[]);
                return BTreeMap::new();
            };
            let mut readable = BTreeMap::new();
            for (name, test) in tests {
                match serde_json::from_value(test) {
                    Ok(test) => {
                        readable.insert(name, test);
                    }
                    Err(error) => {
                        let name = format!("{}: {name}", file.path);
                        report.case(UNREADABLE, name, Err(error.to_string()), &[]);
                    }
                }
            }
            return readable;
        }
    };
    if tests.is_empty() {
        let problem = "there is no test in it".to_owned();
        report.case(UNREADABLE, file.path.clone(), Err(problem), &[]);
    }
    tests
}

/// Runs a case. A panic is a failure of this case, and not the end of the others.
pub(crate) fn guarded(
    engine: &mut Engine,
    run: impl FnOnce(&Engine) -> Result<(), String>,
) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| run(engine))).unwrap_or_else(|panic| {
        *engine = Engine::new();
        Err(format!("it panicked: {}", text(&*panic)))
    })
}

/// What a panic said.
fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}
