//! The results of a suite's cases, its closing line, and its table in docs/CONFORMANCE.md.

use super::archive::workspace;
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs,
};

/// Failures that are printed in full. The count covers all.
const FAILURES_SHOWN: usize = 200;

/// The variable that names the file for the suite's table, relative to the workspace.
const TABLE: &str = "LOCKWEAVE_CONFORMANCE_TABLE";

/// A case that is known not to pass.
pub(crate) struct Listed {
    /// The beginning of the case's name.
    pub(crate) case: &'static str,
    /// Why it does not pass.
    pub(crate) reason: &'static str,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    passed: usize,
    failed: usize,
    listed: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            listed,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {listed} listed")
    }
}

/// A tally of passed, failed and listed cases.
#[derive(Default)]
pub(crate) struct Report {
    groups: BTreeMap<String, Counts>,
    failed: Vec<(String, String)>,
    listed: Vec<(String, &'static str)>,
    /// Listed cases that pass.
    unlisted: Vec<String>,
    /// Notes below the table.
    notes: Vec<&'static str>,
}

impl Report {
    /// Adds a note below the table.
    pub(crate) fn note(&mut self, note: &'static str) {
        self.notes.push(note);
    }

    /// Whether there was no case.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Counts one case of a group (a fork, a directory, a method).
    pub(crate) fn case(
        &mut self,
        group: &str,
        name: String,
        result: Result<(), String>,
        known: &[Listed],
    ) {
        let counts = self.groups.entry(group.to_owned()).or_default();
        match result {
            Ok(()) => {
                counts.passed += 1;
                if known.iter().any(|known| name.starts_with(known.case)) {
                    self.unlisted.push(name);
                }
            }
            Err(problem) => {
                if let Some(known) = known.iter().find(|known| name.starts_with(known.case)) {
                    counts.listed += 1;
                    self.listed.push((name, known.reason));
                } else {
                    counts.failed += 1;
                    self.failed.push((name, problem));
                }
            }
        }
    }

    /// Adds the counts of another report.
    pub(crate) fn merge(&mut self, other: Self) {
        for (group, counts) in other.groups {
            let sum = self.groups.entry(group).or_default();
            sum.passed += counts.passed;
            sum.failed += counts.failed;
            sum.listed += counts.listed;
        }
        self.failed.extend(other.failed);
        self.listed.extend(other.listed);
        self.unlisted.extend(other.unlisted);
        self.notes.extend(other.notes);
    }

    fn total(&self) -> Counts {
        let mut total = Counts::default();
        for counts in self.groups.values() {
            total.passed += counts.passed;
            total.failed += counts.failed;
            total.listed += counts.listed;
        }
        total
    }

    /// Prints failures, listed cases and, as the last line, the count. Writes the table if the variable is set. Returns
    /// whether nothing failed.
    pub(crate) fn close(mut self, suite: &str) -> bool {
        self.failed.sort();
        self.listed.sort();
        if let Some(path) = std::env::var_os(TABLE) {
            let path = workspace().join(path);
            let text = fs::read_to_string(&path).unwrap_or_else(|_| HEAD.to_owned());
            if let Err(error) = fs::write(&path, with_section(&text, suite, &self.table())) {
                let path = path.display().to_string();
                self.case("table", path, Err(error.to_string()), &[]);
            }
        }
        for (name, problem) in self.failed.iter().take(FAILURES_SHOWN) {
            println!("FAILED {name}: {problem}");
        }
        if let Some(more) = self.failed.len().checked_sub(FAILURES_SHOWN)
            && more > 0
        {
            println!("… and {more} more that failed");
        }
        for (name, reason) in &self.listed {
            println!("LISTED {name}: {reason}");
        }
        for name in &self.unlisted {
            println!("PASSES {name}: it need not be listed any more");
        }
        for (group, counts) in &self.groups {
            println!("{group}: {counts}");
        }
        println!("{suite}: {}", self.total());
        self.failed.is_empty()
    }

    /// The suite's counts as a table, and its listed cases with their reasons.
    fn table(&self) -> String {
        let mut text =
            String::from("| | passed | failed | listed |\n| --- | ---: | ---: | ---: |\n");
        let total = [("**all**".to_owned(), self.total())];
        let groups = self.groups.iter().map(|(name, one)| (name.clone(), *one));
        for (name, counts) in groups.chain(total) {
            let Counts {
                passed,
                failed,
                listed,
            } = counts;
            writeln!(text, "| {name} | {passed} | {failed} | {listed} |").expect("into memory");
        }
        if !self.listed.is_empty() {
            text.push_str("\nListed:\n\n");
        }
        for (name, reason) in &self.listed {
            writeln!(text, "* `{name}`: {reason}").expect("into memory");
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            writeln!(text, "* {note}").expect("into memory");
        }
        text
    }
}

/// The beginning of the file.
const HEAD: &str = "# Conformance\n\nWhat Ethereum's own suites come to, run through the engine and the \
    validator. Every section is written by\nits suite; nothing here is written by hand:\n\n```sh\n\
    LOCKWEAVE_CONFORMANCE_TABLE=docs/CONFORMANCE.md cargo test --release --test ethereum_state_tests \\\n  \
    --test ethereum_blockchain_tests --test block_access_lists --test rpc_compat\n```\n";

/// The text with the section of a suite replaced, or added at the end.
fn with_section(text: &str, suite: &str, table: &str) -> String {
    let title = format!("\n## {suite}\n");
    let section = format!("{title}\n{table}");
    let Some(start) = text.find(&title) else {
        return format!("{text}{section}");
    };
    let behind = &text[start + title.len()..];
    let end = behind.find("\n## ").unwrap_or(behind.len());
    format!("{}{section}{}", &text[..start], &behind[end..])
}
