//! Plain transfers of one wei.

use super::{WorkloadName, another, holder, made};
use crate::engine::block::{Block, BlockError};
use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, TxKind, U256};
use lockweave_runtime::MemoryState;

/// One giga-gas of transfers.
const TRANSFERS: usize = 47_620;
/// The first account's address.
const FIRST_ADDRESS: u64 = 1_000;

/// The recipients of ether.
#[derive(Clone, Copy)]
pub(super) enum Recipients {
    Themselves,
    Random,
    OneHot,
}

pub(super) fn block(
    name: WorkloadName,
    transfers: Option<usize>,
    recipients: Recipients,
) -> Result<Block, BlockError> {
    let transfers = transfers.unwrap_or(TRANSFERS) as u64;
    let account = |index: u64| {
        let number = U256::from(FIRST_ADDRESS + index);
        Address::from_word(number.into())
    };
    let mut state = MemoryState::new();
    // The last account is the hot recipient; it sends nothing.
    for index in 0..=transfers {
        state.insert_account(account(index), holder(1, U256::MAX >> 1));
    }
    let transactions = (0..transfers).map(|index| {
        let recipient = match recipients {
            Recipients::Themselves => index,
            Recipients::Random => another(index, transfers),
            Recipients::OneHot => transfers,
        };
        let transaction = TxLegacy {
            chain_id: Some(1),
            nonce: 1,
            gas_price: 1,
            gas_limit: 21_000,
            to: TxKind::Call(account(recipient)),
            value: U256::ONE,
            ..TxLegacy::default()
        };
        (account(index), transaction)
    });
    made(name, state, transactions)
}
