//! A market for energy by delivery period.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;

use super::{contracts::EnergyMarket, single_contract::SingleContract};
use crate::{
    error::LoadError,
    random::RandomSource,
    scenario::model::{
        Action, Answers, Description, Query, Scenario, Settings, check_equal, check_growth,
    },
    scenario::script::Script,
    transaction::{Access, address_key, mapping_slot, number_key, slot},
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
    make: EnergyTrade::make,
};

struct EnergyTrade {
    contract: SingleContract,
}

impl EnergyTrade {
    fn make(settings: &Settings) -> Result<Box<dyn Scenario>, LoadError> {
        Ok(Box::new(Self {
            contract: SingleContract::new(settings, 96, 10_000)?,
        }))
    }
}

impl Scenario for EnergyTrade {
    fn kinds(&self) -> Vec<String> {
        vec!["sell".to_owned(), "buy".to_owned()]
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        self.contract.address = script.deploy(&EnergyMarket::BYTECODE, &[]);
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
            script.call(self.contract.address, input, 6_000_000);
        }
        for (first, end) in self.contract.ranges(AT_ONCE) {
            script.call(self.contract.address, open(&[], first, end), 6_000_000);
        }
    }

    fn queries(&self) -> Vec<Query> {
        let periods = self.contract.ranges(AT_ONCE).map(|(first, end)| {
            let call = EnergyMarket::sumsOfPeriodsCall { first, end };
            self.contract.view(&call)
        });
        let households = self.contract.sender_parts().map(|part| {
            let households = part.to_vec();
            self.contract.view(&EnergyMarket::sumsOfCall { households })
        });
        periods.chain(households).collect()
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        let item = self.contract.picker.pick(random);
        let period = U256::from(item);
        let kind = if random.below(2) == 0 { SELL } else { BUY };
        let energy = ENERGY;
        let input = if kind == SELL {
            EnergyMarket::sellCall { period, energy }.abi_encode()
        } else {
            EnergyMarket::buyCall { period, energy }.abi_encode()
        };
        let mut access = Access::default();
        let book = mapping_slot(number_key(item), slot(0));
        access.writes.add(self.contract.address, book);
        let meter = mapping_slot(address_key(self.contract.senders[turn]), slot(1));
        access.writes.add(self.contract.address, meter);
        Action {
            kind,
            units: ENERGY,
            ..self.contract.call(turn, input, 120_000, access)
        }
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        let periods = 0..self.contract.ranges(AT_ONCE).count();
        let households = periods.end..after.0.len();
        for (what, range, kind) in [
            ("energy offered in periods", &periods, SELL),
            ("energy wanted in periods", &periods, BUY),
            ("energy sold by households", &households, SELL),
            ("energy bought by households", &households, BUY),
        ] {
            let was = before.sum(range.clone(), kind);
            check_growth(what, was, after.sum(range.clone(), kind), included[kind])?;
        }
        let money = |answers: &Answers| answers.sum(0..answers.0.len(), 2);
        check_equal("money before and after", money(before), money(after))
    }
}
