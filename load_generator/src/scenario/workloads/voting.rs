//! Votes on proposals.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;

use super::{contracts::Voting, single_contract::SingleContract};
use crate::{
    random::RandomSource,
    scenario::model::{Action, Answers, Description, Query, Scenario, check_equal, check_growth},
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
    make: |settings| SingleContract::scenario(settings, 32, 1000, Votes),
};

struct Votes(SingleContract);

impl Scenario for Votes {
    fn kinds(&self) -> Vec<String> {
        vec!["vote".to_owned()]
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        self.0.address = script.deploy(&Voting::BYTECODE, &[]);
        for members in script.senders().chunks(MEMBERS_AT_ONCE) {
            let call = Voting::admitCall {
                members: members.to_vec(),
                weight: U256::from(100).to(),
            };
            script.call(self.0.address, call.abi_encode(), 6_000_000);
        }
    }

    fn queries(&self) -> Vec<Query> {
        let items = self.0.picker.items();
        let casts = Voting::castsCall {
            first: U256::ZERO,
            end: U256::from(items),
        };
        let mut queries = vec![self.0.view(&casts)];
        for proposal in 0..items {
            let proposal = U256::from(proposal);
            queries.push(self.0.view(&Voting::talliesCall(proposal)));
            let parts = self.0.sender_parts();
            queries.extend(parts.map(|part| {
                let members = part.to_vec();
                self.0.view(&Voting::recountCall { proposal, members })
            }));
        }
        queries
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        let proposal = self.0.picker.pick(random);
        let sender = self.0.senders[turn];
        let call = Voting::voteCall {
            proposal: U256::from(proposal),
            support: random.below(2) == 0,
        };
        let mut access = Access::default();
        let contract = self.0.address;
        access.reads.add_mapped(contract, address_key(sender), 0);
        access.writes.add_mapped(contract, number_key(proposal), 1);
        let of_proposal = mapping_slot(number_key(proposal), slot(2));
        let choice = mapping_slot(address_key(sender), of_proposal);
        access.writes.add(contract, choice);
        self.0.call(turn, call.abi_encode(), 120_000, access)
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        check_growth(
            "votes cast",
            before.word(0, 0),
            after.word(0, 0),
            included[0],
        )?;
        let parts = self.0.sender_parts().len();
        for proposal in 0..self.0.picker.items() {
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
