//! A market for energy by delivery period.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;

use super::{
    contracts::EnergyMarket,
    tokens::{ADDRESSES_AT_ONCE, view},
};
use crate::{
    error::LoadError,
    random::{Picker, RandomSource},
    scenario::model::{
        Action, Answers, Description, Query, Scenario, Settings, check_growth, items, same,
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
    market: Address,
    senders: Vec<Address>,
    picker: Picker,
}

impl EnergyTrade {
    fn make(settings: &Settings) -> Result<Box<dyn Scenario>, LoadError> {
        let items = items(settings, 96, 10_000)?;
        Ok(Box::new(Self {
            market: Address::ZERO,
            senders: settings.senders.clone(),
            picker: Picker::new(items, settings.hotness)?,
        }))
    }

    fn ranges(&self) -> impl Iterator<Item = (U256, U256)> {
        let end = self.picker.items();
        (0..end)
            .step_by(AT_ONCE)
            .map(move |first| (U256::from(first), U256::from(end.min(first + AT_ONCE))))
    }
}

impl Scenario for EnergyTrade {
    fn kinds(&self) -> Vec<String> {
        vec!["sell".to_owned(), "buy".to_owned()]
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        self.market = script.deploy(&EnergyMarket::BYTECODE, &[]);
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
            script.call(self.market, input, 6_000_000);
        }
        for (first, end) in self.ranges() {
            script.call(self.market, open(&[], first, end), 6_000_000);
        }
    }

    fn queries(&self) -> Vec<Query> {
        let periods = self.ranges().map(|(first, end)| {
            let call = EnergyMarket::sumsOfPeriodsCall { first, end };
            view(self.market, &call)
        });
        let households = self.senders.chunks(ADDRESSES_AT_ONCE).map(|part| {
            let households = part.to_vec();
            view(self.market, &EnergyMarket::sumsOfCall { households })
        });
        periods.chain(households).collect()
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        let item = self.picker.pick(random);
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
        access.writes.add(self.market, book);
        let meter = mapping_slot(address_key(self.senders[turn]), slot(1));
        access.writes.add(self.market, meter);
        Action {
            sender: turn,
            kind,
            to: self.market,
            value: U256::ZERO,
            input: input.into(),
            gas_limit: 120_000,
            access,
            units: ENERGY,
        }
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        let periods = 0..self.ranges().count();
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
        same("money before and after", money(before), money(after))
    }
}
