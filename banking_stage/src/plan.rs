//! How a block is executed: the paths, and the one function that chooses among them.
//!
//! This file knows facts and reasons only; it uses no other file of the crate. `execute` collects the
//! facts and runs the path. Each path is a folder that implements `RunPath`. A new path is that folder,
//! a variant of [`Path`] with its condition here, and its line in `execute`.
//!
//! | workload | path | why | constant |
//! | --- | --- | --- | --- |
//! | plain payments, from 2,048 on; where sets are inferred, up to 8 other transactions in front and behind | [`Payments`](Path::Payments) | a payment's effect on an account depends on that account alone: no locks, no key numbers, no simulation | [`PAYMENTS_FROM`] |
//! | access sets are known: signed, recorded or listed | [`Locked`](Path::Locked) | locks check every access, and transactions without conflict run in parallel | |
//! | sets unknown; one thread, one transaction, or gas limits below 4 M apart from the highest | [`Sequential`](Path::Sequential), no prefetch | the block is over before a second thread would help | [`PREFETCH_GAS_MIN`] |
//! | sets unknown; fewer than 2,048 transactions | [`Sequential`](Path::Sequential), with prefetch | simulating, numbering and locking each wait for the slowest worker; one thread starts at once, and finds most transactions simulated | [`SEQUENTIAL_BELOW`] |
//! | the same, gas limits below 6 M apart from the highest | [`Sequential`](Path::Sequential), prefetch only if the beginning of the block is slow | gas is far cheaper in some blocks than in others | [`PREFETCH_GAS_SURE`] |
//! | sets unknown; the first transactions turn out to be a chain | [`Sequential`](Path::Sequential), no prefetch | there is nothing to run in parallel, and simulations do not hold | `inferred::dependence` |
//! | the block's access list is given (EIP-7928) | by list, in the engine crate (`listed`) | the list states every value, so nothing waits; the caller chooses it by giving the list | |
//! | sets unknown; all other blocks | [`Inferred`](Path::Inferred) | one thread alone would be the limit | [`SEQUENTIAL_BELOW`] |

use std::ops::Range;

/// Payments alone, fewer than this many, take as long on one thread.
pub(crate) const PAYMENTS_FROM: usize = 2_048;

/// In longer blocks the one thread's work per transaction becomes the limit, even where another thread has
/// simulated it; and their first transactions show early whether locks pay.
pub(crate) const SEQUENTIAL_BELOW: usize = 2_048;

/// No helper is woken to simulate transactions of a block whose gas limits, apart from the highest, sum up to
/// less.
pub(crate) const PREFETCH_GAS_MIN: u64 = 4_000_000;

/// Below this sum the time that the beginning of the block takes decides.
pub(crate) const PREFETCH_GAS_SURE: u64 = 6_000_000;

/// A way to execute a block.
///
/// The plan chooses one for each block. [`StageConfig::with_path`](crate::StageConfig::with_path) forces
/// one, for tests and measurements. The result of a block does not depend on its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// Without locks, account by account. Applies to blocks of plain payments; where sets are inferred, a few
    /// other transactions may stand in front and behind. If a payment turns out to be invalid, or an account
    /// has code, the partial result is discarded and the plan chooses another path.
    Payments,
    /// In block order on the calling thread, while prefetch workers simulate what comes next. Applies where
    /// sets are inferred: known sets have to be checked, which only locks do.
    Sequential,
    /// In parallel, under locks on known sets. Applies where the sets are known.
    Locked,
    /// In parallel, under locks on inferred sets; transactions whose set was wrong are repaired. Applies where
    /// sets are inferred and the first transactions are not a chain.
    Inferred,
}

/// Whether helpers simulate transactions before the calling thread runs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefetch {
    Never,
    AtOnce,
    /// Once the beginning of the block shows that much time is left.
    IfSlow,
}

#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) transactions: usize,
    /// Whether every transaction came with its access set.
    pub(crate) sets_known: bool,
    /// Workers of the stage, the calling thread included.
    pub(crate) threads: usize,
    /// The sum of the gas limits of all transactions but the longest, up to [`PREFETCH_GAS_SURE`]. Zero where
    /// nothing depends on it: with one thread, with known sets, and for payments.
    pub(crate) gas_of_others: u64,
    /// The payments of a block that has few other transactions, which stand in front and behind.
    pub(crate) payments: Option<Range<usize>>,
    /// Whether the first transactions were found to be a chain.
    pub(crate) is_chain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) path: Path,
    pub(crate) prefetch: Prefetch,
}

/// Chooses the path of a block; the [module](self) has the table of reasons.
///
/// `forced` is taken where it applies; otherwise the path is that of a block without it.
pub(crate) fn choose(facts: &Facts, sequential_below: usize, forced: Option<Path>) -> Plan {
    let prefetch = facts.prefetch();
    let path = match forced {
        Some(path) if facts.allow(path) => path,
        _ if facts.allow(Path::Payments) => Path::Payments,
        _ if facts.allow(Path::Locked) => Path::Locked,
        _ if !facts.allow(Path::Inferred)
            || prefetch == Prefetch::Never
            || facts.transactions < sequential_below =>
        {
            Path::Sequential
        }
        _ => Path::Inferred,
    };
    Plan { path, prefetch }
}

impl Facts {
    fn allow(&self, path: Path) -> bool {
        match path {
            Path::Payments => self.payments.as_ref().is_some_and(|payments| {
                // What stands around payments runs sequentially.
                !self.sets_known || *payments == (0..self.transactions)
            }),
            Path::Sequential => !self.sets_known,
            Path::Locked => self.sets_known,
            Path::Inferred => !self.sets_known && !self.is_chain,
        }
    }

    const fn prefetch(&self) -> Prefetch {
        if self.threads == 1
            || self.transactions < 2
            || self.is_chain
            || self.gas_of_others < PREFETCH_GAS_MIN
        {
            Prefetch::Never
        } else if self.gas_of_others < PREFETCH_GAS_SURE {
            Prefetch::IfSlow
        } else {
            Prefetch::AtOnce
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long block without declarations, on four threads.
    const LONG: Facts = Facts {
        transactions: 10_000,
        sets_known: false,
        threads: 4,
        gas_of_others: PREFETCH_GAS_SURE,
        payments: None,
        is_chain: false,
    };

    fn chosen(facts: &Facts) -> (Path, Prefetch) {
        let Plan { path, prefetch } = choose(facts, SEQUENTIAL_BELOW, None);
        (path, prefetch)
    }

    #[test]
    fn the_plan_follows_its_table() {
        let payments = |payments| Facts {
            payments: Some(payments),
            ..LONG
        };
        assert_eq!(chosen(&payments(0..10_000)).0, Path::Payments);
        assert_eq!(chosen(&payments(1..9_999)).0, Path::Payments);
        let known = |facts: Facts| Facts {
            sets_known: true,
            ..facts
        };
        assert_eq!(chosen(&known(payments(0..10_000))).0, Path::Payments);
        assert_eq!(chosen(&known(payments(1..9_999))).0, Path::Locked);
        assert_eq!(chosen(&known(LONG)).0, Path::Locked);
        assert_eq!(chosen(&LONG), (Path::Inferred, Prefetch::AtOnce));
        let short = Facts {
            transactions: SEQUENTIAL_BELOW - 1,
            ..LONG
        };
        assert_eq!(chosen(&short), (Path::Sequential, Prefetch::AtOnce));
        let chain = Facts {
            is_chain: true,
            ..LONG
        };
        let single = Facts {
            transactions: 1,
            ..LONG
        };
        let gas = |gas_of_others| Facts {
            gas_of_others,
            ..short.clone()
        };
        for (facts, prefetch) in [
            (chain, Prefetch::Never),
            (Facts { threads: 1, ..LONG }, Prefetch::Never),
            (single, Prefetch::Never),
            (gas(PREFETCH_GAS_MIN - 1), Prefetch::Never),
            (gas(PREFETCH_GAS_MIN), Prefetch::IfSlow),
        ] {
            assert_eq!(chosen(&facts), (Path::Sequential, prefetch), "{facts:?}");
        }
    }

    #[test]
    fn a_forced_path_is_taken_where_it_applies() {
        use Path::{Inferred, Locked, Payments, Sequential};
        let forced = |facts: &Facts, path| choose(facts, SEQUENTIAL_BELOW, Some(path)).path;
        let short = Facts {
            transactions: 1,
            threads: 1,
            ..LONG
        };
        assert_eq!(forced(&short, Path::Inferred), Path::Inferred);
        assert_eq!(forced(&LONG, Path::Sequential), Path::Sequential);
        // Where it does not, the plan decides.
        assert_eq!(forced(&LONG, Path::Payments), Path::Inferred);
        assert_eq!(forced(&short, Path::Locked), Path::Sequential);
        let chain = Facts {
            is_chain: true,
            ..LONG
        };
        assert_eq!(forced(&chain, Path::Inferred), Path::Sequential);
        let known = Facts {
            sets_known: true,
            ..LONG
        };
        for path in [Payments, Sequential, Locked, Inferred] {
            assert_eq!(forced(&known, path), Path::Locked);
        }
    }
}
