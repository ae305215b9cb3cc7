//! ERC-20 tokens, shared by several scenarios.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;

use super::contracts::Token;
use crate::{
    scenario::model::Query,
    scenario::script::Script,
    transaction::{address_key, mapping_slot, slot},
};

/// Addresses in one view call.
pub(super) const ADDRESSES_AT_ONCE: usize = 500;

/// Approximate gas of one `endow` transaction.
const ENDOW_GAS: usize = 8_000_000;

/// Gas per holder, and per allowance of a holder.
const HOLDER_GAS: usize = 30_000;
const ALLOWANCE_GAS: usize = 25_000;

/// Mints `amount` tokens for every holder and approves every spender.
pub(super) fn endow(
    script: &mut Script<'_>,
    token: Address,
    holders: &[Address],
    amount: U256,
    spenders: &[Address],
) {
    let each = HOLDER_GAS + ALLOWANCE_GAS * spenders.len();
    for chunk in holders.chunks((ENDOW_GAS / each).max(1)) {
        let call = Token::endowCall {
            holders: chunk.to_vec(),
            amount,
            spenders: spenders.to_vec(),
        };
        let gas = 100_000 + each * chunk.len();
        script.call(token, call.abi_encode(), gas as u64);
    }
}

/// Storage slot of a holder's balance.
pub(super) fn balance_slot(holder: Address) -> B256 {
    mapping_slot(address_key(holder), slot(1))
}

/// Storage slot of a spender's allowance from a holder.
pub(super) fn allowance_slot(holder: Address, spender: Address) -> B256 {
    mapping_slot(
        address_key(spender),
        mapping_slot(address_key(holder), slot(2)),
    )
}

/// A query by a view call.
pub(super) fn view(to: Address, call: &impl SolCall) -> Query {
    Query::View {
        to,
        input: Bytes::from(call.abi_encode()),
    }
}

/// A query of a holder's balance.
pub(super) fn balance(token: Address, holder: Address) -> Query {
    view(token, &Token::balanceOfCall(holder))
}

/// A query of the total supply.
pub(super) fn supply(token: Address) -> Query {
    view(token, &Token::totalSupplyCall {})
}

/// Queries of the holders' balances, with [`ADDRESSES_AT_ONCE`] holders each.
pub(super) fn balances(token: Address, holders: &[Address]) -> Vec<Query> {
    let parts = holders.chunks(ADDRESSES_AT_ONCE);
    parts
        .map(|part| {
            let holders = part.to_vec();
            view(token, &Token::balanceOfAllCall { holders })
        })
        .collect()
}
