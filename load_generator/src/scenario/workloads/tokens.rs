//! ERC-20 tokens as several scenarios use them.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;

use super::contracts::Token;
use crate::{
    scenario::model::Question,
    scenario::script::Script,
    transaction::{address_key, mapping_slot, slot},
};

/// Addresses in one view call.
pub(super) const ADDRESSES_AT_ONCE: usize = 500;

/// Gas of one endowing transaction, about.
const ENDOW_GAS: usize = 8_000_000;

/// Gas that a holder's balance costs, and each of its allowances.
const HOLDER_GAS: usize = 30_000;
const ALLOWANCE_GAS: usize = 25_000;

/// Gives every holder `amount` new tokens, which every spender may take.
pub(super) fn endow(
    script: &mut Script<'_>,
    token: Address,
    holders: &[Address],
    amount: U256,
    spenders: &[Address],
) {
    let each = HOLDER_GAS + ALLOWANCE_GAS * spenders.len();
    for some in holders.chunks((ENDOW_GAS / each).max(1)) {
        let call = Token::endowCall {
            holders: some.to_vec(),
            amount,
            spenders: spenders.to_vec(),
        };
        let gas = 100_000 + each * some.len();
        script.call(token, call.abi_encode(), gas as u64);
    }
}

/// The slot of a holder's balance.
pub(super) fn balance_slot(holder: Address) -> B256 {
    mapping_slot(address_key(holder), slot(1))
}

/// The slot of what a spender may take from a holder.
pub(super) fn allowance_slot(holder: Address, spender: Address) -> B256 {
    mapping_slot(
        address_key(spender),
        mapping_slot(address_key(holder), slot(2)),
    )
}

/// A view call.
pub(super) fn view(to: Address, call: &impl SolCall) -> Question {
    Question::View {
        to,
        input: Bytes::from(call.abi_encode()),
    }
}

/// What a holder has.
pub(super) fn balance(token: Address, holder: Address) -> Question {
    view(token, &Token::balanceOfCall(holder))
}

/// What there is.
pub(super) fn supply(token: Address) -> Question {
    view(token, &Token::totalSupplyCall {})
}

/// What the holders have, in as many questions as their number needs.
pub(super) fn balances(token: Address, holders: &[Address]) -> Vec<Question> {
    let parts = holders.chunks(ADDRESSES_AT_ONCE);
    parts
        .map(|part| {
            let holders = part.to_vec();
            view(token, &Token::balanceOfAllCall { holders })
        })
        .collect()
}
