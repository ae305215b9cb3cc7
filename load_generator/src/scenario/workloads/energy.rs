//! A market for energy by delivery period.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;

use super::{contracts::EnergyMarket, single_contract::SingleContract};
use crate::{
    random::RandomSource,
    scenario::model::{
        Action, Answers, Description, Query, Scenario, check_equal, check_sum_growth,
    },
    scenario::script::Script,
    transaction::{Access, address_key, number_key},
};

const SELL: usize = 0;
const BUY: usize = 1;

/// Watt-hours of one trade.
const ENERGY: u64 = 10;

/// Households or periods opened by one transaction or queried by one view call.
const AT_ONCE: usize = 200;

/// Initial balance of every household and period, in cents.
const MONEY: u128 = 1_000_000_000_000_000;

/// The entry of the catalogue.
pub(in crate::scenario) const SCENARIO: Description = Description {
    name: "energy",
    does: "sells or buys energy in a delivery period, at a price that follows supply and demand",
    conflicts: "periods' order totals (an item is a period)",
    checks: "energy sold and bought is the same by period and by meter; the sum of money is unchanged",
    make: |settings| SingleContract::scenario(settings, 96, 10_000, EnergyTrade),
};

struct EnergyTrade(SingleContract);

impl Scenario for EnergyTrade {
    fn kinds(&self) -> Vec<String> {
        vec!["sell".to_owned(), "buy".to_owned()]
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        self.0.address = script.deploy(&EnergyMarket::BYTECODE, &[]);
        let open = |households: &[Address], first, end| {
            EnergyMarket::openCall {
                households: households.to_vec(),
                first,
                end,
                money: MONEY,
            }
            .abi_encode()
        };
        for households in script.senders().chunks(AT_ONCE) {
            let input = open(households, U256::ZERO, U256::ZERO);
            script.call(self.0.address, input, 6_000_000);
        }
        for (first, end) in self.0.ranges(AT_ONCE) {
            script.call(self.0.address, open(&[], first, end), 6_000_000);
        }
    }

    fn queries(&self) -> Vec<Query> {
        let periods = self.0.ranges(AT_ONCE).map(|(first, end)| {
            let call = EnergyMarket::sumsOfPeriodsCall { first, end };
            self.0.view(&call)
        });
        let households = self.0.sender_parts().map(|part| {
            let households = part.to_vec();
            self.0.view(&EnergyMarket::sumsOfCall { households })
        });
        periods.chain(households).collect()
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        let item = self.0.picker.pick(random);
        let period = U256::from(item);
        let kind = if random.below(2) == 0 { SELL } else { BUY };
        let energy = ENERGY;
        let input = if kind == SELL {
            EnergyMarket::sellCall { period, energy }.abi_encode()
        } else {
            EnergyMarket::buyCall { period, energy }.abi_encode()
        };
        let mut access = Access::default();
        let (contract, meter) = (self.0.address, address_key(self.0.senders[turn]));
        access.writes.add_mapped(contract, number_key(item), 0);
        access.writes.add_mapped(contract, meter, 1);
        Action {
            kind,
            units: ENERGY,
            ..self.0.call(turn, input, 120_000, access)
        }
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        let periods = 0..self.0.ranges(AT_ONCE).count();
        let households = periods.end..after.0.len();
        for (what, range, kind) in [
            ("energy offered in periods", &periods, SELL),
            ("energy wanted in periods", &periods, BUY),
            ("energy sold by households", &households, SELL),
            ("energy bought by households", &households, BUY),
        ] {
            check_sum_growth(what, (before, after), range, kind, included[kind])?;
        }
        let money = |answers: &Answers| answers.sum(0..answers.0.len(), 2);
        check_equal("money before and after", money(before), money(after))
    }
}
