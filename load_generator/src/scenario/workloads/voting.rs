//! Votes on proposals.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;

use super::{contracts::Voting, single_contract::SingleContract};
use crate::{
    error::LoadError,
    random::RandomSource,
    scenario::model::{
        Action, Answers, Description, Query, Scenario, Settings, check_equal, check_growth,
    },
    scenario::script::Script,
    transaction::{Access, address_key, mapping_slot, number_key, slot},
};

/// Members registered by one transaction.
const MEMBERS_AT_ONCE: usize = 200;

/// The entry of the catalogue.
pub(in crate::scenario) const SCENARIO: Description = Description {
    name: "voting",
    does: "votes on a proposal, or changes an earlier vote",
    conflicts: "proposals' tallies (an item is a proposal)",
    checks: "votes cast equal the included transactions; tallies equal a recount",
    make: Votes::make,
};

struct Votes {
    contract: SingleContract,
}

impl Votes {
    fn make(settings: &Settings) -> Result<Box<dyn Scenario>, LoadError> {
        Ok(Box::new(Self {
            contract: SingleContract::new(settings, 32, 1000)?,
        }))
    }
}

impl Scenario for Votes {
    fn kinds(&self) -> Vec<String> {
        vec!["vote".to_owned()]
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        self.contract.address = script.deploy(&Voting::BYTECODE, &[]);
        for members in script.senders().chunks(MEMBERS_AT_ONCE) {
            let call = Voting::admitCall {
                members: members.to_vec(),
                weight: U256::from(100).to(),
            };
            script.call(self.contract.address, call.abi_encode(), 6_000_000);
        }
    }

    fn queries(&self) -> Vec<Query> {
        let items = self.contract.picker.items();
        let casts = Voting::castsCall {
            first: U256::ZERO,
            end: U256::from(items),
        };
        let mut queries = vec![self.contract.view(&casts)];
        for proposal in 0..items {
            let proposal = U256::from(proposal);
            queries.push(self.contract.view(&Voting::talliesCall(proposal)));
            let parts = self.contract.sender_parts();
            queries.extend(parts.map(|part| {
                let members = part.to_vec();
                self.contract
                    .view(&Voting::recountCall { proposal, members })
            }));
        }
        queries
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        let proposal = self.contract.picker.pick(random);
        let sender = self.contract.senders[turn];
        let call = Voting::voteCall {
            proposal: U256::from(proposal),
            support: random.below(2) == 0,
        };
        let mut access = Access::default();
        let weight = mapping_slot(address_key(sender), slot(0));
        access.reads.add(self.contract.address, weight);
        let tally = mapping_slot(number_key(proposal), slot(1));
        access.writes.add(self.contract.address, tally);
        let of_proposal = mapping_slot(number_key(proposal), slot(2));
        let choice = mapping_slot(address_key(sender), of_proposal);
        access.writes.add(self.contract.address, choice);
        self.contract.call(turn, call.abi_encode(), 120_000, access)
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        check_growth(
            "votes cast",
            before.word(0, 0),
            after.word(0, 0),
            included[0],
        )?;
        let parts = self.contract.sender_parts().len();
        for proposal in 0..self.contract.picker.items() {
            let at = 1 + proposal * (1 + parts);
            for side in 0..2 {
                let recount = after.sum(at + 1..at + 1 + parts, side);
                let what = format!("proposal {proposal}: tally and recount");
                check_equal(&what, after.word(at, side), recount)?;
            }
        }
        Ok(())
    }
}
