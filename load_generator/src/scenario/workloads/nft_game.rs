//! A breeding game with standing bids for animals.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;

use super::{contracts::NftGame, single_contract::SingleContract};
use crate::{
    error::LoadError,
    random::RandomSource,
    scenario::model::{
        Action, Answers, Description, Query, Scenario, Settings, check_equal, check_sum_growth,
    },
    scenario::script::Script,
    transaction::{Access, address_key, number_key},
};

const BREED: usize = 0;
const SELL: usize = 1;

/// Sires and bids that one transaction opens or one query sums up.
const AT_ONCE: usize = 100;

/// The amount of a bid.
const PRICE: u64 = 10;

/// The entry of the catalogue.
pub(in crate::scenario) const SCENARIO: Description = Description {
    name: "nft-game",
    does: "breeds an animal with a public sire, and sells it to a standing bid",
    conflicts: "sires and bids (an item is one of each)",
    checks: "births and sales equal the included transactions; the sum of coins is unchanged",
    make: Breeding::make,
};

struct Breeding {
    contract: SingleContract,
    /// By sender: the number of animals it has bred, and whether it still owns the last one.
    bred: Vec<(u64, bool)>,
}

impl Breeding {
    fn make(settings: &Settings) -> Result<Box<dyn Scenario>, LoadError> {
        Ok(Box::new(Self {
            contract: SingleContract::new(settings, 256, 10_000)?,
            bred: vec![(0, false); settings.senders.len()],
        }))
    }
}

/// The id of an animal; the contract computes it in the same way.
fn id(breeder: Address, count: u64) -> U256 {
    (U256::from_be_slice(breeder.as_slice()) << 64) | U256::from(count)
}

impl Scenario for Breeding {
    fn kinds(&self) -> Vec<String> {
        vec!["breed".to_owned(), "sell".to_owned()]
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        self.contract.address = script.deploy(&NftGame::BYTECODE, &[]);
        for (first, end) in self.contract.ranges(AT_ONCE) {
            let call = NftGame::openCall { first, end };
            script.call(self.contract.address, call.abi_encode(), 6_000_000);
        }
    }

    fn queries(&self) -> Vec<Query> {
        let counts = self.contract.senders.iter();
        let mut queries: Vec<_> = counts
            .map(|sender| self.contract.view(&NftGame::bredByCall(*sender)))
            .collect();
        queries.extend(self.contract.sender_parts().map(|part| {
            let players = part.to_vec();
            self.contract.view(&NftGame::sumsOfCall { players })
        }));
        let ranges = self.contract.ranges(AT_ONCE);
        queries.extend(
            ranges.map(|(first, end)| self.contract.view(&NftGame::sumsCall { first, end })),
        );
        queries
    }

    fn begin(&mut self, before: &Answers) {
        for (index, (count, own)) in self.bred.iter_mut().enumerate() {
            *count = before.word(index, 0).saturating_to();
            *own = false;
        }
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        let sender = self.contract.senders[turn];
        let item = self.contract.picker.pick(random);
        let (count, own) = self.bred[turn];
        let contract = self.contract.address;
        let mut access = Access::default();
        let mut write = |key: B256, mapping: u64| {
            access.writes.add_mapped(contract, key, mapping);
        };
        let (kind, input) = if own {
            let animal = id(sender, count - 1);
            write(animal.into(), 0);
            write(address_key(sender), 3);
            write(number_key(item), 5);
            self.bred[turn] = (count, false);
            let bid = U256::from(item);
            (SELL, NftGame::sellCall { id: animal, bid }.abi_encode())
        } else {
            let animal = id(sender, count);
            write(animal.into(), 0);
            write(animal.into(), 1);
            write(address_key(sender), 2);
            write(number_key(item), 4);
            if let Some(last) = count.checked_sub(1) {
                let mother = id(sender, last).into();
                access.reads.add_mapped(contract, mother, 1);
            }
            self.bred[turn] = (count + 1, true);
            let sire = U256::from(item);
            (BREED, NftGame::breedCall { sire }.abi_encode())
        };
        Action {
            kind,
            ..self.contract.call(turn, input, 180_000, access)
        }
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        let first = self.contract.senders.len();
        let players = first..first + self.contract.sender_parts().len();
        let opened = players.end..players.end + self.contract.ranges(AT_ONCE).count();
        let (bred, sold) = (included[BREED], included[SELL]);
        for (what, range, word, expected) in [
            ("animals bred by players", &players, 0, bred),
            ("offspring of sires", &opened, 0, bred),
            ("animals bought", &opened, 2, sold),
            ("players' coins", &players, 1, sold * PRICE),
        ] {
            check_sum_growth(what, (before, after), range, word, expected)?;
        }
        let coins = |answers: &Answers| answers.sum(players.start..opened.end, 1);
        check_equal("coins before and after", coins(before), coins(after))
    }
}
