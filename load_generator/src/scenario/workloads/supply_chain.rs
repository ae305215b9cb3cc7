//! Goods that are scanned along a supply chain.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;

use super::{contracts::SupplyChain, single_contract::SingleContract};
use crate::{
    error::LoadError,
    random::RandomSource,
    scenario::model::{Action, Answers, Description, Query, Scenario, Settings, check_growth},
    scenario::script::Script,
    transaction::{Access, address_key, mapping_slot, number_key, slot},
};

/// Items and places in one view call.
const AT_ONCE: usize = 1000;

/// The entry of the catalogue.
pub(in crate::scenario) const SCENARIO: Description = Description {
    name: "supply-chain",
    does: "scans an item at a place; an item's history is a hash chain",
    conflicts: "items' histories (an item is an item) and places' counts",
    checks: "scans by item, by place and by party equal the included transactions",
    make: Tracking::make,
};

struct Tracking {
    contract: SingleContract,
}

impl Tracking {
    fn make(settings: &Settings) -> Result<Box<dyn Scenario>, LoadError> {
        Ok(Box::new(Self {
            contract: SingleContract::new(settings, 10_000, 100_000)?,
        }))
    }
}

impl Scenario for Tracking {
    fn kinds(&self) -> Vec<String> {
        vec!["scan".to_owned()]
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        self.contract.address = script.deploy(&SupplyChain::BYTECODE, &[]);
    }

    fn queries(&self) -> Vec<Query> {
        let items = self.contract.picker.items();
        let ranges = (0..items).step_by(AT_ONCE).map(|first| {
            let end = U256::from(items.min(first + AT_ONCE));
            let first = U256::from(first);
            self.contract.view(&SupplyChain::sumsCall { first, end })
        });
        let parties = self.contract.sender_parts().map(|part| {
            let parties = part.to_vec();
            self.contract.view(&SupplyChain::sumOfCall { parties })
        });
        ranges.chain(parties).collect()
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        let item = self.contract.picker.pick(random);
        // Places are chosen uniformly: hotness applies to items only.
        let place = random.below(self.contract.picker.items());
        let call = SupplyChain::scanCall {
            item: U256::from(item),
            place: place as u64,
        };
        let mut access = Access::default();
        for (key, mapping) in [
            (number_key(item), 0),
            (number_key(item), 1),
            (number_key(place), 2),
            (address_key(self.contract.senders[turn]), 3),
        ] {
            let written = mapping_slot(key, slot(mapping));
            access.writes.add(self.contract.address, written);
        }
        self.contract.call(turn, call.abi_encode(), 180_000, access)
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        let ranges = self.contract.picker.items().div_ceil(AT_ONCE);
        let all = after.0.len();
        for (what, range, word) in [
            ("scans by item", 0..ranges, 0),
            ("scans by place", 0..ranges, 1),
            ("scans by party", ranges..all, 0),
        ] {
            let was = before.sum(range.clone(), word);
            check_growth(what, was, after.sum(range, word), included[0])?;
        }
        Ok(())
    }
}
