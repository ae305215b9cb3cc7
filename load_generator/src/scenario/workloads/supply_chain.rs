//! Goods that are scanned along a supply chain.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;

use super::{contracts::SupplyChain, single_contract::SingleContract};
use crate::{
    random::RandomSource,
    scenario::model::{Action, Answers, Description, Query, Scenario, check_sum_growth},
    scenario::script::Script,
    transaction::{Access, address_key, number_key},
};

/// Items and places in one view call.
const AT_ONCE: usize = 1000;

/// The entry of the catalogue.
pub(in crate::scenario) const SCENARIO: Description = Description {
    name: "supply-chain",
    does: "scans an item at a place; an item's history is a hash chain",
    conflicts: "items' histories (an item is an item) and places' counts",
    checks: "scans by item, by place and by party equal the included transactions",
    make: |settings| SingleContract::scenario(settings, 10_000, 100_000, Tracking),
};

struct Tracking(SingleContract);

impl Scenario for Tracking {
    fn kinds(&self) -> Vec<String> {
        vec!["scan".to_owned()]
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        self.0.address = script.deploy(&SupplyChain::BYTECODE, &[]);
    }

    fn queries(&self) -> Vec<Query> {
        let ranges = self.0.ranges(AT_ONCE);
        let ranges = ranges.map(|(first, end)| self.0.view(&SupplyChain::sumsCall { first, end }));
        let parties = self.0.sender_parts().map(|part| {
            let parties = part.to_vec();
            self.0.view(&SupplyChain::sumOfCall { parties })
        });
        ranges.chain(parties).collect()
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        let item = self.0.picker.pick(random);
        // Places are chosen uniformly: hotness applies to items only.
        let place = random.below(self.0.picker.items());
        let call = SupplyChain::scanCall {
            item: U256::from(item),
            place: place as u64,
        };
        let mut access = Access::default();
        for (key, mapping) in [
            (number_key(item), 0),
            (number_key(item), 1),
            (number_key(place), 2),
            (address_key(self.0.senders[turn]), 3),
        ] {
            access.writes.add_mapped(self.0.address, key, mapping);
        }
        self.0.call(turn, call.abi_encode(), 180_000, access)
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        let ranges = self.0.ranges(AT_ONCE).count();
        let all = after.0.len();
        for (what, range, word) in [
            ("scans by item", 0..ranges, 0),
            ("scans by place", 0..ranges, 1),
            ("scans by party", ranges..all, 0),
        ] {
            check_sum_growth(what, (before, after), &range, word, included[0])?;
        }
        Ok(())
    }
}
