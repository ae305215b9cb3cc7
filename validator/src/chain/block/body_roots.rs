//! The roots by which a header commits to its block's body.

use super::chain_block::Envelope;
use alloy_consensus::{
    Block,
    proofs::{calculate_ommers_root, calculate_transaction_root, calculate_withdrawals_root},
};
use alloy_primitives::B256;
use thiserror::Error;

/// A root in the header is not that of the body. Where header or body has no withdrawals, that root is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the header's {field} is {stated}, but the block's is {computed}")]
pub struct RootMismatch {
    /// The field, as JSON-RPC has it.
    pub field: &'static str,
    /// The root in the header.
    pub stated: B256,
    /// The root of the body.
    pub computed: B256,
}

/// Checks that the header commits to the body; the first root that is wrong is the error.
pub fn check_roots(block: &Block<Envelope>) -> Result<(), RootMismatch> {
    let Block { header, body } = block;
    let check = |field, stated: Option<B256>, computed: Option<B256>| {
        let mismatch = RootMismatch {
            field,
            stated: stated.unwrap_or_default(),
            computed: computed.unwrap_or_default(),
        };
        (stated == computed).then_some(()).ok_or(mismatch)
    };
    let transactions = calculate_transaction_root(&body.transactions);
    let stated = header.transactions_root;
    check("transactionsRoot", Some(stated), Some(transactions))?;
    let ommers = calculate_ommers_root(&body.ommers);
    check("sha3Uncles", Some(header.ommers_hash), Some(ommers))?;
    let withdrawals = body.withdrawals.as_ref();
    let withdrawals = withdrawals.map(|withdrawals| calculate_withdrawals_root(withdrawals));
    check("withdrawalsRoot", header.withdrawals_root, withdrawals)
}
