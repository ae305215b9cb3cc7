//! Plain transfers, token transfers and swaps by recurring accounts: 60, 20 and 20 % by gas.

use super::{
    WorkloadName,
    erc20::{insert_token, insert_tokens, transfer},
    holder, made,
    swaps::{insert_cluster, insert_trader, swap},
};
use crate::{
    engine::block::{Block, BlockError},
    workload::mix,
};
use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, TxKind, U256, map::HashMap};
use lockweave_runtime::MemoryState;

/// One giga-gas of them.
const TRANSACTIONS: usize = 36_800;
const ACCOUNTS: u64 = 100_000;
const FIRST_ADDRESS: u64 = 1_000_000;
const TOKENS: u64 = 3;
const POOLS: u64 = 2;
/// Swaps and token transfers in 368 transactions: a fifth of the gas each. Swap, token transfer and transfer take about
/// 147,000, 27,000 and 21,000 gas.
const SWAPS: u64 = 14;
const TOKEN_TRANSFERS: u64 = 68;
const CYCLE: u64 = 368;

pub(super) fn block(name: WorkloadName, transactions: Option<usize>) -> Result<Block, BlockError> {
    let transactions = transactions.unwrap_or(TRANSACTIONS) as u64;
    let account = |index: u64| Address::from_word(U256::from(FIRST_ADDRESS + index).into());
    let ether = U256::from(1_000_000_000_000_000_000_u64);
    let mut state = MemoryState::new();
    for index in 0..ACCOUNTS {
        state.insert_account(account(index), holder(0, ether));
    }
    let tokens: Vec<_> = (0..TOKENS)
        .map(|index| Address::from_word(U256::from(FIRST_ADDRESS - 1 - index).into()))
        .collect();
    for token in &tokens {
        insert_token(&mut state, *token);
        for index in 0..ACCOUNTS {
            insert_tokens(&mut state, *token, account(index), ether);
        }
    }
    let clusters: Vec<_> = (0..POOLS)
        .map(|index| insert_cluster(&mut state, index))
        .collect();
    let mut nonces: HashMap<u64, u64> = HashMap::default();
    let mut list = Vec::new();
    for index in 0..transactions {
        let random = |salt: u64, below: u64| mix(mix(index) ^ salt) % below;
        let (sender, recipient) = (random(1, ACCOUNTS), random(2, ACCOUNTS));
        let nonce = nonces.entry(sender).or_default();
        let kind = random(3, CYCLE);
        let chosen = |from: usize, salt| usize::try_from(random(salt, from as u64)).unwrap_or(0);
        let transaction = if kind < SWAPS {
            let cluster = &clusters[chosen(clusters.len(), 4)];
            insert_trader(&mut state, cluster, account(sender));
            swap(cluster, account(sender), *nonce)
        } else if kind < SWAPS + TOKEN_TRANSFERS {
            transfer(tokens[chosen(tokens.len(), 5)], *nonce, account(recipient))
        } else {
            TxLegacy {
                chain_id: Some(1),
                nonce: *nonce,
                gas_price: 1,
                gas_limit: 21_000,
                to: TxKind::Call(account(recipient)),
                value: U256::ONE,
                ..TxLegacy::default()
            }
        };
        *nonce += 1;
        list.push((account(sender), transaction));
    }
    made(name, state, list.into_iter())
}
