//! What can be sent. A scenario is pure: it states its deployment, its calls and its questions, and others carry
//! them to the chain. So each can be tested without a node, and run against any.

use alloy_primitives::{Address, Bytes, U256};

use crate::{
    access::Access,
    dice::{Dice, Hotness},
    error::LoadError,
};

pub mod catalogue;
mod energy;
mod erc20;
mod lending;
mod mixed;
mod nft_game;
mod script;
mod supply_chain;
mod swaps;
mod tokens;
mod trace;
mod transfers;
mod voting;

pub use catalogue::{CATALOGUE, Description, make};
pub use script::{Script, Step};
pub use transfers::TRANSFER_GAS;

/// What the options decide about a scenario.
#[derive(Clone, Debug)]
pub struct Settings {
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
pub struct Action {
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
pub enum Question {
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
pub struct Answers(pub Vec<Bytes>);

impl Answers {
    /// Word `word` of answer `index` as a number. A missing one is 0, as on a chain without the contract; then the
    /// judgement fails on its figures.
    pub fn word(&self, index: usize, word: usize) -> U256 {
        self.0
            .get(index)
            .and_then(|bytes| bytes.get(word * 32..word * 32 + 32))
            .map(U256::from_be_slice)
            .unwrap_or_default()
    }

    /// Sum of word `word` over the answers of a range.
    pub fn sum(&self, range: std::ops::Range<usize>, word: usize) -> U256 {
        range.map(|index| self.word(index, word)).sum()
    }

    /// The answers of a range, on their own.
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        Self(self.0.get(range).map_or_else(Vec::new, <[Bytes]>::to_vec))
    }
}

/// A kind of load. See the [module](self).
pub trait Scenario: Send {
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
fn grown(what: &str, before: U256, after: U256, expected: u64) -> Result<(), String> {
    let expected = U256::from(expected);
    match after.checked_sub(before) {
        Some(gain) if gain == expected => Ok(()),
        _ => Err(format!(
            "{what} went from {before} to {after}; the included transactions say +{expected}"
        )),
    }
}

/// Two ways of counting must agree.
fn same(what: &str, one: U256, other: U256) -> Result<(), String> {
    if one == other {
        Ok(())
    } else {
        Err(format!("{what}: {one} and {other} should be the same"))
    }
}

/// Items of a scenario within its bound.
fn items(settings: &Settings, default: usize, bound: usize) -> Result<usize, LoadError> {
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

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, Bytes};

    use super::{Action, Answers, CATALOGUE, Scenario, Script, Settings, make};
    use crate::dice::{Dice, Hotness};

    fn settings(seed: u64) -> Settings {
        Settings {
            seed,
            senders: (1..=5).map(Address::repeat_byte).collect(),
            items: None,
            hotness: Hotness::default(),
            mix: Vec::new(),
            trace: None,
        }
    }

    /// Every scenario that needs no file.
    fn names() -> impl Iterator<Item = &'static str> {
        let names = CATALOGUE.iter().map(|one| one.name);
        names.filter(|name| *name != "replay")
    }

    fn ready(name: &str, seed: u64) -> Box<dyn Scenario> {
        let settings = settings(seed);
        let mut scenario = make(name, &settings).expect("sound settings");
        let mut script = Script::new(Address::repeat_byte(9), &settings.senders);
        scenario.set_up(&mut script);
        scenario.begin(&Answers::default());
        scenario
    }

    fn actions(name: &str, seed: u64) -> Vec<Action> {
        let mut scenario = ready(name, seed);
        let mut dice = Dice::new(seed);
        (0..200)
            .map(|index| scenario.next(index % 5, &mut dice))
            .collect()
    }

    #[test]
    fn a_seed_decides_everything() {
        for name in names() {
            let of = |seed| format!("{:?}", actions(name, seed));
            assert_eq!(of(1), of(1), "{name}");
            assert_ne!(of(1), of(2), "{name}");
        }
    }

    #[test]
    fn actions_are_within_what_the_scenario_states() {
        for name in names() {
            let kinds = ready(name, 1).kinds().len();
            let actions = actions(name, 1);
            assert!(actions.iter().all(|action| action.kind < kinds), "{name}");
            for (index, action) in actions.iter().enumerate() {
                assert_eq!(action.sender, index % 5, "{name}");
                // A call that declares nothing could not be declared.
                let declares = !action.access.to_list().0.is_empty();
                assert_eq!(declares, !action.input.is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn an_empty_chain_is_not_taken_for_a_good_one() {
        for name in names() {
            let scenario = ready(name, 1);
            let zeros = Bytes::from(vec![0; 96]);
            let answers = Answers(vec![zeros; scenario.questions().len()]);
            let included = vec![1; scenario.kinds().len()];
            let verdict = scenario.judge(&answers, &answers, &included);
            assert!(verdict.is_err(), "{name}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let with = |name: &str, change: fn(&mut Settings)| {
            let mut settings = settings(1);
            change(&mut settings);
            make(name, &settings).is_err()
        };
        assert!(with("no-such-thing", |_| ()));
        assert!(with("replay", |_| ()), "without a trace");
        assert!(with("erc20", |settings| settings.senders.clear()));
        assert!(with("swaps", |settings| settings.items = Some(65)));
        assert!(with("voting", |settings| settings.items = Some(0)));
        let mix = |parts: &[(&str, u32)]| {
            let mut settings = settings(1);
            let parts = parts
                .iter()
                .map(|(name, weight)| ((*name).to_owned(), *weight));
            settings.mix = parts.collect();
            make("mixed", &settings).is_err()
        };
        assert!(mix(&[("mixed", 1)]));
        assert!(mix(&[("erc20", 0)]));
        assert!(!mix(&[("erc20", 1), ("transfers", 3)]));
    }
}
