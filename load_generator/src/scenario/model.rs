//! The [`Scenario`] trait and its types.

use alloy_primitives::{Address, Bytes, U256};

use super::script::Script;
use crate::{
    error::LoadError,
    random::{Hotness, RandomSource},
    transaction::Access,
};

/// An entry of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The value of `--scenario`.
    pub name: &'static str,
    /// What its transactions do.
    pub does: &'static str,
    /// The state its transactions conflict on, and what an item (`--items`) is.
    pub conflicts: &'static str,
    /// What is checked after the run.
    pub checks: &'static str,
    pub(super) make: fn(&Settings) -> Result<Box<dyn Scenario>, LoadError>,
}

/// Options of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Seed of every random choice.
    pub seed: u64,
    /// The sending accounts.
    pub senders: Vec<Address>,
    /// Number of recipients, pools, markets, proposals …; each scenario has a default.
    pub items: Option<usize>,
    /// How often transactions access the same items.
    pub hotness: Hotness,
    /// Parts of `mixed` with their weights.
    pub mix: Vec<(String, u32)>,
    /// The trace of `replay`: JSON lines, as `lockweave-validator declare` writes them.
    pub trace: Option<std::path::PathBuf>,
}

/// One transaction without a nonce.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    /// Index of the sender.
    pub sender: usize,
    /// Index into [`Scenario::kinds`].
    pub kind: usize,
    /// The called contract or paid account.
    pub to: Address,
    /// Wei.
    pub value: U256,
    /// Call data.
    pub input: Bytes,
    /// Sufficient gas, without the cost of declarations.
    pub gas_limit: u64,
    /// The accessed slots.
    pub access: Access,
    /// How much an included transaction counts in [`Scenario::check`].
    pub units: u64,
}

impl Action {
    /// A call of kind 0 that counts 1 and sends no ether.
    pub(crate) fn call(
        sender: usize,
        to: Address,
        input: Vec<u8>,
        gas_limit: u64,
        access: Access,
    ) -> Self {
        Self {
            sender,
            kind: 0,
            to,
            value: U256::ZERO,
            input: input.into(),
            gas_limit,
            access,
            units: 1,
        }
    }
}

/// A query of the chain's state before and after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// An address's balance; the answer is one word, in wei.
    Balance(Address),
    /// A call of a view function.
    View {
        /// The contract.
        to: Address,
        /// Call data.
        input: Bytes,
    },
}

/// The chain's answers, in the order of the queries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers(pub Vec<Bytes>);

impl Answers {
    /// Word `word` of answer `index` as a number. A missing word is 0, as on a chain without the contract; the check
    /// then fails on its figures.
    pub(crate) fn word(&self, index: usize, word: usize) -> U256 {
        self.0
            .get(index)
            .and_then(|bytes| bytes.get(word * 32..word * 32 + 32))
            .map(U256::from_be_slice)
            .unwrap_or_default()
    }

    /// The sum of word `word` over a range of answers.
    pub(crate) fn sum(&self, range: std::ops::Range<usize>, word: usize) -> U256 {
        range.map(|index| self.word(index, word)).sum()
    }

    /// A range of the answers.
    pub(crate) fn part(&self, range: std::ops::Range<usize>) -> Self {
        Self(self.0.get(range).map_or_else(Vec::new, <[Bytes]>::to_vec))
    }
}

/// A kind of load. A scenario does no I/O: other folders carry its calls and queries to the chain.
pub(crate) trait Scenario: Send {
    /// Names of the kinds of its transactions.
    fn kinds(&self) -> Vec<String>;

    /// Writes the deployment. It must depend on the settings only, so that a second run finds everything in place.
    fn set_up(&mut self, script: &mut Script<'_>);

    /// The queries that [`Self::check`] needs.
    fn queries(&self) -> Vec<Query>;

    /// Receives the answers before the run, for scenarios whose calls depend on the state.
    fn begin(&mut self, before: &Answers) {
        let _ = before;
    }

    /// The next transaction. `turn` is the index of the sender whose turn it is.
    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action;

    /// Checks the state after the run against the included transactions; the error says what is wrong. `included` are
    /// the sums of their units, by kind.
    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String>;
}

/// Checks that `what` has grown by `expected`.
pub(super) fn check_growth(
    what: &str,
    before: U256,
    after: U256,
    expected: u64,
) -> Result<(), String> {
    let expected = U256::from(expected);
    match after.checked_sub(before) {
        Some(gain) if gain == expected => Ok(()),
        _ => Err(format!(
            "{what} went from {before} to {after}; from the included transactions, +{expected} was expected"
        )),
    }
}

/// Checks that the sum of word `word` over a range of answers has grown by `expected`.
pub(super) fn check_sum_growth(
    what: &str,
    (before, after): (&Answers, &Answers),
    range: &std::ops::Range<usize>,
    word: usize,
    expected: u64,
) -> Result<(), String> {
    let sum = |answers: &Answers| answers.sum(range.clone(), word);
    check_growth(what, sum(before), sum(after), expected)
}

/// Checks that two ways of counting agree.
pub(super) fn check_equal(what: &str, one: U256, other: U256) -> Result<(), String> {
    if one == other {
        Ok(())
    } else {
        Err(format!("{what}: {one} and {other} should be equal"))
    }
}

/// The number of items, within the scenario's bound.
pub(super) fn item_count(
    settings: &Settings,
    default: usize,
    bound: usize,
) -> Result<usize, LoadError> {
    let items = settings
        .items
        .unwrap_or(default.max(settings.hotness.hot_items));
    if items == 0 || items > bound {
        return Err(LoadError::Options(format!(
            "this scenario can have 1 to {bound} items (--items), not {items}"
        )));
    }
    Ok(items)
}
