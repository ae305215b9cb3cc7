//! Transfers of an ERC-20 token.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;

use super::{
    contracts::Token,
    tokens::{balance_slot, balances, endow, supply},
};
use crate::{
    error::LoadError,
    random::{Picker, RandomSource},
    scenario::model::{
        Action, Answers, Description, Query, Scenario, Settings, check_equal, check_sum_growth,
        item_count,
    },
    scenario::script::Script,
    transaction::{Access, recipients},
};

/// The entry of the catalogue.
pub(in crate::scenario) const SCENARIO: Description = Description {
    name: "erc20",
    does: "transfers 1 unit of an ERC-20 token to a holder",
    conflicts: "holders' token balances (an item is a receiving holder)",
    checks: "the holders gained the included amount; all balances add up to the supply",
    make: Erc20::make,
};

struct Erc20 {
    token: Address,
    senders: Vec<Address>,
    holders: Vec<Address>,
    picker: Picker,
}

impl Erc20 {
    fn make(settings: &Settings) -> Result<Box<dyn Scenario>, LoadError> {
        let items = item_count(settings, 1024, 100_000)?;
        Ok(Box::new(Self {
            token: Address::ZERO,
            senders: settings.senders.clone(),
            holders: recipients(settings.seed, u32::try_from(items).unwrap_or(u32::MAX)),
            picker: Picker::new(items, settings.hotness)?,
        }))
    }
}

impl Scenario for Erc20 {
    fn kinds(&self) -> Vec<String> {
        vec!["transfer".to_owned()]
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        self.token = script.deploy(&Token::BYTECODE, &[]);
        endow(
            script,
            self.token,
            script.senders(),
            U256::from(1) << 80,
            &[],
        );
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries = vec![supply(self.token)];
        queries.extend(balances(self.token, &self.holders));
        queries.extend(balances(self.token, &self.senders));
        queries
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        let to = self.holders[self.picker.pick(random)];
        let mut access = Access::default();
        access
            .writes
            .add(self.token, balance_slot(self.senders[turn]));
        access.writes.add(self.token, balance_slot(to));
        let value = U256::ONE;
        Action::call(
            turn,
            self.token,
            Token::transferCall { to, value }.abi_encode(),
            80_000,
            access,
        )
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        let of_holders = 1..1 + balances(self.token, &self.holders).len();
        let both = (before, after);
        check_sum_growth("the holders' tokens", both, &of_holders, 0, included[0])?;
        let all = after.sum(1..after.0.len(), 0);
        check_equal("supply and balances", after.word(0, 0), all)
    }
}
