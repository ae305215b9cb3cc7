//! What can be sent. A scenario is pure: it states its deployment, its calls and its questions, and others carry
//! them to the chain. So each can be tested without a node, and run against any.

use alloy_primitives::{Address, Bytes, U256};

use super::script::Script;
use crate::{
    error::LoadError,
    random::{Dice, Hotness},
    transaction::Access,
};

/// A scenario's entry.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// As `--scenario` takes it.
    pub name: &'static str,
    /// What its transactions do.
    pub does: &'static str,
    /// What they conflict on, and what an item (`--items`) is.
    pub conflicts: &'static str,
    /// What is checked at the end.
    pub checks: &'static str,
    pub(super) make: fn(&Settings) -> Result<Box<dyn Scenario>, LoadError>,
}

/// What the options decide about a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Decides every choice.
    pub seed: u64,
    /// Who sends.
    pub senders: Vec<Address>,
    /// How many recipients, pools, markets, proposals … there are; each scenario has its own default.
    pub items: Option<usize>,
    /// How much transactions meet in the same items.
    pub hotness: Hotness,
    /// Scenarios and weights of `mixed`.
    pub mix: Vec<(String, u32)>,
    /// The trace of `replay`: JSON lines, as `lockweave-validator declare` writes them.
    pub trace: Option<std::path::PathBuf>,
}

/// One transaction, before it has a nonce.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    /// Position of its sender.
    pub sender: usize,
    /// Position in [`Scenario::kinds`].
    pub kind: usize,
    /// Who is called or paid.
    pub to: Address,
    /// Wei.
    pub value: U256,
    /// Call data.
    pub input: Bytes,
    /// Gas that is enough without declarations.
    pub gas_limit: u64,
    /// What it may touch.
    pub access: Access,
    /// What the judgement counts it as when it is included.
    pub units: u64,
}

/// Something to be asked of the chain's state before and after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// An address's balance; answered with one word, in wei.
    Balance(Address),
    /// A view function.
    View {
        /// The contract.
        to: Address,
        /// Call data.
        input: Bytes,
    },
}

/// The chain's answers, in the order of the questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers(pub Vec<Bytes>);

impl Answers {
    /// Word `word` of answer `index` as a number. A missing one is 0, as on a chain without the contract; then the
    /// judgement fails on its figures.
    pub(crate) fn word(&self, index: usize, word: usize) -> U256 {
        self.0
            .get(index)
            .and_then(|bytes| bytes.get(word * 32..word * 32 + 32))
            .map(U256::from_be_slice)
            .unwrap_or_default()
    }

    /// Sum of word `word` over the answers of a range.
    pub(crate) fn sum(&self, range: std::ops::Range<usize>, word: usize) -> U256 {
        range.map(|index| self.word(index, word)).sum()
    }

    /// The answers of a range, on their own.
    pub(crate) fn part(&self, range: std::ops::Range<usize>) -> Self {
        Self(self.0.get(range).map_or_else(Vec::new, <[Bytes]>::to_vec))
    }
}

/// A kind of load. See the [module](self).
pub(crate) trait Scenario: Send {
    /// The kinds of its transactions.
    fn kinds(&self) -> Vec<String>;

    /// States what has to be on the chain. Must depend on nothing but the settings, so that a second run finds
    /// everything in place.
    fn set_up(&mut self, script: &mut Script<'_>);

    /// What the invariant is judged by.
    fn questions(&self) -> Vec<Question>;

    /// The state from which the run starts, for scenarios whose calls depend on it.
    fn begin(&mut self, before: &Answers) {
        let _ = before;
    }

    /// The next transaction; `turn` is the sender whose turn it is.
    fn next(&mut self, turn: usize, dice: &mut Dice) -> Action;

    /// Whether the state after the run is what its included transactions should have left; if not, what is wrong.
    /// `included` are the sums of their units, by kind.
    fn judge(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String>;
}

/// `what` must have grown by `expected`.
pub(super) fn grown(what: &str, before: U256, after: U256, expected: u64) -> Result<(), String> {
    let expected = U256::from(expected);
    match after.checked_sub(before) {
        Some(gain) if gain == expected => Ok(()),
        _ => Err(format!(
            "{what} went from {before} to {after}; the included transactions say +{expected}"
        )),
    }
}

/// Two ways of counting must agree.
pub(super) fn same(what: &str, one: U256, other: U256) -> Result<(), String> {
    if one == other {
        Ok(())
    } else {
        Err(format!("{what}: {one} and {other} should be the same"))
    }
}

/// Items of a scenario within its bound.
pub(super) fn items(settings: &Settings, default: usize, bound: usize) -> Result<usize, LoadError> {
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
