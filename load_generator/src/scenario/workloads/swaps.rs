//! Swaps in constant-product pools.

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, SolValue};

use super::{
    contracts::{Pool, Token},
    tokens::{allowance_slot, balance, balance_slot, balances, endow, supply, view},
};
use crate::{
    error::LoadError,
    random::{Picker, RandomSource},
    scenario::model::{
        Action, Answers, Description, Query, Scenario, Settings, check_equal, item_count,
    },
    scenario::script::Script,
    transaction::{Access, slot},
};

/// Queries per pool.
const OF_POOL: usize = 3;

/// The entry of the catalogue.
pub(in crate::scenario) const SCENARIO: Description = Description {
    name: "swaps",
    does: "sells one token for the other in a constant-product pool like Uniswap V2",
    conflicts: "pools' reserves and token balances (an item is a pool; with --items 1 all swaps conflict)",
    checks: "no product of reserves fell; reserves equal the pools' balances; balances add up to each supply",
    make: Swaps::make,
};

struct Swaps {
    tokens: [Address; 2],
    pools: Vec<Address>,
    senders: Vec<Address>,
    deployer: Address,
    picker: Picker,
}

impl Swaps {
    fn make(settings: &Settings) -> Result<Box<dyn Scenario>, LoadError> {
        // Every sender approves every pool, so each pool adds to the deployment's cost.
        let items = item_count(settings, 8, 64)?;
        Ok(Box::new(Self {
            tokens: [Address::ZERO; 2],
            pools: Vec::new(),
            senders: settings.senders.clone(),
            deployer: Address::ZERO,
            picker: Picker::new(items, settings.hotness)?,
        }))
    }
}

impl Scenario for Swaps {
    fn kinds(&self) -> Vec<String> {
        vec!["swap".to_owned()]
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        self.deployer = script.deployer();
        self.tokens = [(); 2].map(|()| script.deploy(&Token::BYTECODE, &[]));
        let arguments = (self.tokens[0], self.tokens[1]).abi_encode_params();
        self.pools = (0..self.picker.items())
            .map(|_| script.deploy(&Pool::BYTECODE, &arguments))
            .collect();
        let liquidity = U256::from(1) << 90;
        for token in self.tokens {
            let pools = U256::from(self.pools.len());
            endow(
                script,
                token,
                &[self.deployer],
                liquidity * pools,
                &self.pools,
            );
            endow(
                script,
                token,
                script.senders(),
                U256::from(1) << 100,
                &self.pools,
            );
        }
        for pool in &self.pools {
            let call = Pool::addLiquidityCall {
                amount0: liquidity,
                amount1: liquidity,
            };
            script.call(*pool, call.abi_encode(), 500_000);
        }
    }

    fn queries(&self) -> Vec<Query> {
        let [first, second] = self.tokens;
        let of_pools = self.pools.iter().flat_map(|pool| {
            [
                view(*pool, &Pool::reservesCall {}),
                balance(first, *pool),
                balance(second, *pool),
            ]
        });
        let mut queries: Vec<_> = of_pools.collect();
        for token in self.tokens {
            queries.push(supply(token));
            queries.push(balance(token, self.deployer));
            queries.extend(balances(token, &self.senders));
        }
        queries
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        let pool = self.pools[self.picker.pick(random)];
        let sender = self.senders[turn];
        let zero_for_one = random.below(2) == 0;
        let call = Pool::swapCall {
            zeroForOne: zero_for_one,
            amountIn: U256::from(1_000_000 + random.below(1_000_000)),
            amountOutMin: U256::ZERO,
        };
        let mut access = Access::default();
        access.writes.add(pool, slot(0));
        for token in self.tokens {
            access.writes.add(token, balance_slot(sender));
            access.writes.add(token, balance_slot(pool));
        }
        let sold = self.tokens[usize::from(!zero_for_one)];
        access.reads.add(sold, allowance_slot(sender, pool));
        Action::call(turn, pool, call.abi_encode(), 200_000, access)
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        let mut grew = false;
        let mut held = [U256::ZERO; 2];
        for pool in 0..self.pools.len() {
            let at = pool * OF_POOL;
            let reserves = |answers: &Answers| [answers.word(at, 0), answers.word(at, 1)];
            let product = |[first, second]: [U256; 2]| first * second;
            let (was, is) = (reserves(before), reserves(after));
            if product(is) < product(was) {
                return Err(format!("pool {pool}: the product of its reserves fell"));
            }
            grew |= product(is) > product(was);
            for side in 0..2 {
                let balance = after.word(at + 1 + side, 0);
                check_equal(
                    &format!("pool {pool}: reserve and balance"),
                    is[side],
                    balance,
                )?;
                held[side] += balance;
            }
        }
        // The swap fee stays in the pool, so every swap makes its product grow.
        if grew != (included[0] > 0) {
            return Err(format!(
                "{} swaps were included, which contradicts the pools' reserves",
                included[0]
            ));
        }
        let parts = 1 + balances(self.tokens[0], &self.senders).len();
        for (side, held) in held.into_iter().enumerate() {
            let at = self.pools.len() * OF_POOL + side * (1 + parts);
            let others = after.sum(at + 1..at + 1 + parts, 0);
            check_equal(
                "a token's supply and balances",
                after.word(at, 0),
                held + others,
            )?;
        }
        Ok(())
    }
}
