//! A suite around its cases: files from the archive, cases from files, panics, the closing line.

use super::{
    archive::{self, Fixture},
    durable::Sample,
    engine::Engine,
    report::Report,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

/// The group of files and tests that cannot be read.
const UNREADABLE: &str = "unreadable";

/// A suite: where its cases are, and how they are reported.
pub(crate) struct Suite {
    /// Its name, in the closing line and in the table.
    pub(crate) name: &'static str,
    /// The archive with its cases.
    pub(crate) archive: &'static str,
    /// Name and text of a small file of the same form in the repository, which always runs.
    pub(crate) own: (&'static str, &'static str),
    /// One case in this many runs on the accounts database too; `LOCKWEAVE_ON_DISK` overrides it.
    pub(crate) sample: u64,
    /// Notes below the table.
    pub(crate) notes: &'static [&'static str],
}

impl Suite {
    /// Runs every file and prints the report; the last line is the count.
    pub(crate) fn run(
        &self,
        run_file: impl Fn(&mut Engine, &Fixture, Sample) -> Report + Sync,
    ) -> ExitCode {
        let start = Instant::now();
        let sample = Sample::one_in(self.sample);
        let own = Fixture::own(self.own.0, self.own.1);
        let mut report = run_archive(self.archive, &own, |engine, file| {
            run_file(engine, file, sample.of(file))
        });
        for note in self.notes {
            report.note(note);
        }
        sample.print();
        println!("{:.1} s", start.elapsed().as_secs_f64());
        if report.close(self.name) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Runs every file of an archive, on all cores, and then the repository's own file. Without the archive only the
/// own file runs, and a line says so.
///
/// An archive that cannot be read to its end, or that has no case for the suite, is a failure.
fn run_archive(
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

/// The tests of a file by their names. A file that is not JSON is one failure; in a JSON file each test that cannot be
/// read is one.
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

/// Runs a case. A panic fails this case; the others still run.
pub(crate) fn guarded(
    engine: &mut Engine,
    run: impl FnOnce(&Engine) -> Result<(), String>,
) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| run(engine))).unwrap_or_else(|panic| {
        *engine = Engine::new();
        Err(format!("it panicked: {}", text(&*panic)))
    })
}

/// The message of a panic.
fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}
