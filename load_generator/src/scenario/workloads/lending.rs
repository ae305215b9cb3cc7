//! Deposits, loans and liquidations.

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolValue};

use super::{
    contracts::{Lending, Token},
    tokens::{
        ADDRESSES_AT_ONCE, allowance_slot, balance, balance_slot, balances, endow, supply, view,
    },
};
use crate::{
    error::LoadError,
    random::{Picker, RandomSource},
    scenario::model::{
        Action, Answers, Description, Query, Scenario, Settings, check_equal, item_count,
    },
    scenario::script::Script,
    transaction::{Access, address_key, mapping_slot, number_key, slot},
};

const DEPOSIT: usize = 0;
const BORROW: usize = 1;
const REPAY: usize = 2;
const WITHDRAW: usize = 3;
const PRICE: usize = 4;
const LIQUIDATE: usize = 5;

/// One of this many transactions sets a price, and one tries to liquidate.
const SPECIAL_EVERY: usize = 10;

/// The entry of the catalogue.
pub(in crate::scenario) const SCENARIO: Description = Description {
    name: "lending",
    does: "deposits, borrows, repays, withdraws, sets an oracle's price, liquidates",
    conflicts: "markets' totals and prices (an item is a market), and the position that is liquidated",
    checks: "positions add up to the totals and totals to the tokens held; balances add up to each supply",
    make: Loans::make,
};

struct Loans {
    lending: Address,
    collateral: Address,
    debt: Address,
    senders: Vec<Address>,
    picker: Picker,
    /// By sender: the market of its loan and the loan's next step.
    progress: Vec<(usize, usize)>,
}

impl Loans {
    fn make(settings: &Settings) -> Result<Box<dyn Scenario>, LoadError> {
        let items = item_count(settings, 8, 1024)?;
        Ok(Box::new(Self {
            lending: Address::ZERO,
            collateral: Address::ZERO,
            debt: Address::ZERO,
            senders: settings.senders.clone(),
            picker: Picker::new(items, settings.hotness)?,
            progress: vec![(0, DEPOSIT); settings.senders.len()],
        }))
    }

    fn choose(&mut self, turn: usize, random: &mut RandomSource) -> (usize, usize) {
        match random.below(SPECIAL_EVERY) {
            0 => (PRICE, self.picker.pick(random)),
            1 => (LIQUIDATE, self.picker.pick(random)),
            _ => {
                let (market, step) = self.progress[turn];
                let market = if step == DEPOSIT {
                    self.picker.pick(random)
                } else {
                    market
                };
                self.progress[turn] = (market, (step + 1) % PRICE);
                (step, market)
            }
        }
    }

    fn access(&self, kind: usize, market: usize, sender: Address, victim: Address) -> Access {
        let mut access = Access::default();
        let price = mapping_slot(number_key(market), slot(2));
        if kind == PRICE {
            access.writes.add(self.lending, price);
            return access;
        }
        let of_market = mapping_slot(number_key(market), slot(0));
        let party = if kind == LIQUIDATE { victim } else { sender };
        let position = mapping_slot(address_key(party), of_market);
        access.writes.add(self.lending, position);
        let totals = number_key(market);
        access.writes.add_mapped(self.lending, totals, 1);
        if matches!(kind, BORROW | WITHDRAW | LIQUIDATE) {
            access.reads.add(self.lending, price);
        }
        let (moves_collateral, moves_debt) = (
            matches!(kind, DEPOSIT | WITHDRAW | LIQUIDATE),
            matches!(kind, BORROW | REPAY | LIQUIDATE),
        );
        for (token, moves) in [(self.collateral, moves_collateral), (self.debt, moves_debt)] {
            if moves {
                access.writes.add(token, balance_slot(sender));
                access.writes.add(token, balance_slot(self.lending));
            }
        }
        let allowance = allowance_slot(sender, self.lending);
        match kind {
            DEPOSIT => access.reads.add(self.collateral, allowance),
            REPAY | LIQUIDATE => access.reads.add(self.debt, allowance),
            _ => {}
        }
        access
    }
}

impl Scenario for Loans {
    fn kinds(&self) -> Vec<String> {
        [
            "deposit",
            "borrow",
            "repay",
            "withdraw",
            "price",
            "liquidate",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        self.collateral = script.deploy(&Token::BYTECODE, &[]);
        self.debt = script.deploy(&Token::BYTECODE, &[]);
        let arguments = (self.collateral, self.debt).abi_encode_params();
        self.lending = script.deploy(&Lending::BYTECODE, &arguments);
        for token in [self.collateral, self.debt] {
            let much = U256::from(1) << 100;
            endow(script, token, script.senders(), much, &[self.lending]);
        }
        endow(
            script,
            self.debt,
            &[self.lending],
            U256::from(1) << 110,
            &[],
        );
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries = vec![
            supply(self.collateral),
            supply(self.debt),
            balance(self.collateral, self.lending),
            balance(self.debt, self.lending),
        ];
        for token in [self.collateral, self.debt] {
            queries.extend(balances(token, &self.senders));
        }
        for market in 0..self.picker.items() {
            let market = U256::from(market);
            queries.push(view(self.lending, &Lending::totalsCall(market)));
            let parts = self.senders.chunks(ADDRESSES_AT_ONCE);
            queries.extend(parts.map(|part| {
                let accounts = part.to_vec();
                view(self.lending, &Lending::sumsCall { market, accounts })
            }));
        }
        queries
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        let (kind, item) = self.choose(turn, random);
        let victim = self.senders[random.below(self.senders.len())];
        let market = U256::from(item);
        let input = match kind {
            DEPOSIT => Lending::depositCall::new((market, 1_000)).abi_encode(),
            BORROW => Lending::borrowCall::new((market, 700)).abi_encode(),
            REPAY => Lending::repayCall::new((market, 700)).abi_encode(),
            WITHDRAW => Lending::withdrawCall::new((market, 900)).abi_encode(),
            PRICE => {
                let price = U256::from(700 + random.below(600));
                Lending::setPriceCall::new((market, price)).abi_encode()
            }
            _ => Lending::liquidateCall::new((market, victim)).abi_encode(),
        };
        let access = self.access(kind, item, self.senders[turn], victim);
        Action {
            kind,
            ..Action::call(turn, self.lending, input, 250_000, access)
        }
    }

    fn check(&self, _: &Answers, after: &Answers, _: &[u64]) -> Result<(), String> {
        let parts = self.senders.chunks(ADDRESSES_AT_ONCE).len();
        let first_market = 4 + 2 * parts;
        let mut totals = [U256::ZERO; 2];
        for market in 0..self.picker.items() {
            let at = first_market + market * (1 + parts);
            for (side, total) in totals.iter_mut().enumerate() {
                let stated = after.word(at, side);
                let counted = after.sum(at + 1..at + 1 + parts, side);
                check_equal(
                    &format!("market {market}: total and positions"),
                    stated,
                    counted,
                )?;
                *total += stated;
            }
        }
        check_equal("collateral owed and held", totals[0], after.word(2, 0))?;
        let lent = (U256::from(1) << 110) - totals[1];
        check_equal("debt tokens not lent and held", lent, after.word(3, 0))?;
        for side in 0..2 {
            let at = 4 + side * parts;
            let all = after.word(2 + side, 0) + after.sum(at..at + parts, 0);
            check_equal("a token's supply and balances", after.word(side, 0), all)?;
        }
        Ok(())
    }
}
