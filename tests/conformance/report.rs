//! What became of a suite's cases, and its closing line.

use std::collections::BTreeMap;

/// Failures that are printed in full; the count says how many there are.
const FAILURES_SHOWN: usize = 200;

/// A case that is known not to pass.
pub(crate) struct Listed {
    /// What the case's name begins with.
    pub(crate) case: &'static str,
    /// Why it does not pass.
    pub(crate) reason: &'static str,
}

/// A tally of passed, failed and listed cases.
#[derive(Default)]
pub(crate) struct Report {
    passed: usize,
    by_group: BTreeMap<String, usize>,
    failed: Vec<(String, String)>,
    listed: Vec<(String, &'static str)>,
}

impl Report {
    /// Counts one case of a group (a fork, a directory).
    pub(crate) fn case(
        &mut self,
        group: &str,
        name: String,
        result: Result<(), String>,
        known: &[Listed],
    ) {
        match result {
            Ok(()) => {
                self.passed += 1;
                *self.by_group.entry(group.to_owned()).or_default() += 1;
            }
            Err(problem) => match known.iter().find(|known| name.starts_with(known.case)) {
                Some(known) => self.listed.push((name, known.reason)),
                None => self.failed.push((name, problem)),
            },
        }
    }

    /// Takes over the counts of another.
    pub(crate) fn merge(&mut self, other: Self) {
        self.passed += other.passed;
        for (group, count) in other.by_group {
            *self.by_group.entry(group).or_default() += count;
        }
        self.failed.extend(other.failed);
        self.listed.extend(other.listed);
    }

    /// Prints failures, listed cases and, as the last line, the count. Returns whether nothing
    /// failed.
    pub(crate) fn close(mut self, suite: &str) -> bool {
        self.failed.sort();
        self.listed.sort();
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
        for (group, count) in &self.by_group {
            println!("{group}: {count} passed");
        }
        println!(
            "{suite}: {} passed, {} failed, {} listed",
            self.passed,
            self.failed.len(),
            self.listed.len()
        );
        self.failed.is_empty()
    }
}
