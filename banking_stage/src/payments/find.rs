//! Where the payments of a block are.

use std::ops::Range;

/// In front of the payments and behind them there may be so many other transactions each: those of the
/// protocol in every block.
const OTHERS_MAX: usize = 8;

/// So many transactions are examined, which rules out most other blocks.
const PROBES: usize = 16;

/// The payments of a block: at least `at_least`, with no other transaction between them as far as a few
/// probes tell.
pub(crate) fn find_payments(
    transactions: usize,
    at_least: usize,
    is_payment: impl Fn(usize) -> bool,
) -> Option<Range<usize>> {
    if transactions < at_least {
        return None;
    }
    let first = (0..transactions.min(OTHERS_MAX + 1)).find(|task| is_payment(*task))?;
    let last = (transactions.saturating_sub(OTHERS_MAX + 1)..transactions)
        .rfind(|task| is_payment(*task))?;
    let payments = first..last + 1;
    let are_many = payments.len() >= at_least.max(1);
    let probes = (1..PROBES).map(|probe| first + payments.len() * probe / PROBES);
    (are_many && probes.into_iter().all(is_payment)).then_some(payments)
}
