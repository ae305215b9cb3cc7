//! Mints of tokens with consecutive numbers, among token transfers.
//!
//! A mint writes its owner into a slot that depends on how many mints are before it. So every simulation on
//! the state before the block finds the same slot, and nearly every one is wrong.

use super::{
    WorkloadName, another,
    erc20::{account, insert_holder, insert_token, transfer},
    insert_contract, made,
};
use crate::{
    engine::block::{Block, BlockError},
    workload::mix,
};
use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, TxKind, U256, address};
use lockweave_runtime::MemoryState;

const TRANSACTIONS: usize = 20_000;
/// One transaction in this many is a mint.
const MINT_SHARE: u64 = 4;
const COLLECTIONS: u64 = 4;
const TOKEN: Address = address!("0x70ce400000000000000000000000000000000001");
/// `id = next++; owners[id] = caller; balances[caller]++; emit Transfer(0, caller, id)`, whatever the input.
/// The variables are the slots 0 to 2.
const COLLECTION: &str = "5f54806001015f55805f5260016020526040\
    5f2033905533 5f5260026020526040 5f20805460010190 55335f7f\
    ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef5f5fa400";

pub(super) fn block(name: WorkloadName, transactions: Option<usize>) -> Result<Block, BlockError> {
    let count = transactions.unwrap_or(TRANSACTIONS) as u64;
    let mut state = MemoryState::new();
    insert_token(&mut state, TOKEN);
    let collection = |index: u64| Address::left_padding_from(&(0xc0_11ec + index).to_be_bytes());
    for index in 0..COLLECTIONS {
        insert_contract(&mut state, collection(index), &COLLECTION.replace(' ', ""));
        state.insert_slot(collection(index), U256::ZERO, U256::ONE);
    }
    for index in 0..count {
        insert_holder(&mut state, TOKEN, account(index));
    }
    let transactions = (0..count).map(|index| {
        let chosen = mix(index ^ 0x0417_0000);
        let transaction = if chosen.is_multiple_of(MINT_SHARE) {
            mint(collection(chosen / MINT_SHARE % COLLECTIONS))
        } else {
            transfer(TOKEN, 0, account(another(index, count)))
        };
        (account(index), transaction)
    });
    made(name, state, transactions)
}

fn mint(collection: Address) -> TxLegacy {
    TxLegacy {
        chain_id: Some(1),
        gas_price: 1,
        gas_limit: 150_000,
        to: TxKind::Call(collection),
        ..TxLegacy::default()
    }
}
