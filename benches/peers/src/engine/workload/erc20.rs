//! Transfers of one ERC-20 token.

use super::{WorkloadName, another, holder, insert_contract, made};
use crate::{
    engine::block::{Block, BlockError},
    workload::mix,
};
use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, B256, TxKind, U256, address, hex, keccak256};
use lockweave_runtime::MemoryState;

/// 0.9 giga-gas of transfers.
const TRANSFERS: usize = 33_628;
const TOKEN: Address = address!("0x70ce400000000000000000000000000000000001");
/// Accounts in the hot set.
const HOT_HOLDERS: u64 = 10;
/// One transfer in this many goes to the hot set.
const HOT_SHARE: u64 = 10;

/// The recipients of tokens.
#[derive(Clone, Copy)]
pub(super) enum Recipients {
    Themselves,
    Random,
    /// One in ten to a small set, the others random.
    Hot,
    /// The sender of the next transfer.
    Next,
}

pub(super) fn block(
    name: WorkloadName,
    transfers: Option<usize>,
    recipients: Recipients,
) -> Result<Block, BlockError> {
    let transfers = transfers.unwrap_or(TRANSFERS) as u64;
    let mut state = MemoryState::new();
    insert_token(&mut state, TOKEN);
    for index in 0..=transfers {
        insert_holder(&mut state, TOKEN, account(index));
    }
    let transactions = (0..transfers).map(|index| {
        let recipient = match recipients {
            Recipients::Themselves => index,
            Recipients::Hot if mix(index ^ 0x00f0_0000).is_multiple_of(HOT_SHARE) => {
                mix(index ^ 0x0ff0_0000) % HOT_HOLDERS.min(transfers)
            }
            Recipients::Random | Recipients::Hot => another(index, transfers),
            Recipients::Next => index + 1,
        };
        let sender = account(index);
        (sender, transfer(TOKEN, 0, account(recipient)))
    });
    made(name, state, transactions)
}

/// The account with this index.
pub(super) fn account(index: u64) -> Address {
    Address::from_word(keccak256(U256::from(index).to_be_bytes::<32>()))
}

/// The token's account with its code.
pub(super) fn insert_token(state: &mut MemoryState, token: Address) {
    insert_contract(
        state,
        token,
        include_str!("../../../../contracts/Token.hex"),
    );
}

/// An account with ether and tokens.
pub(super) fn insert_holder(state: &mut MemoryState, token: Address, holder_address: Address) {
    let one = U256::from(1_000_000_000_000_000_000_u64);
    state.insert_account(holder_address, holder(0, one));
    insert_tokens(state, token, holder_address, one);
}

/// Tokens of an account.
pub(super) fn insert_tokens(
    state: &mut MemoryState,
    token: Address,
    holder: Address,
    amount: U256,
) {
    // The balances are the token's first variable.
    let slot = keccak256([holder.into_word(), B256::ZERO].concat());
    state.insert_slot(token, slot.into(), amount);
}

/// A small transfer.
pub(super) fn transfer(token: Address, nonce: u64, recipient: Address) -> TxLegacy {
    let mut input = hex!("a9059cbb").to_vec();
    input.extend_from_slice(recipient.into_word().as_slice());
    input.extend_from_slice(&U256::from(1_000).to_be_bytes::<32>());
    TxLegacy {
        chain_id: Some(1),
        nonce,
        gas_price: 1,
        gas_limit: 100_000,
        to: TxKind::Call(token),
        value: U256::ZERO,
        input: input.into(),
    }
}
