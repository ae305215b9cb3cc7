//! What the tests of several folders set up: a block's environment, accounts, and calls of contracts.

use crate::{
    block::{BlockContext, ChainSpec, Step},
    transaction::EvmTransaction,
};
use alloy_consensus::{Header, Signed, TxEnvelope, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, Signature, U256};
use lockweave_runtime::{Account, Code, MemoryState};
use revm::primitives::hardfork::SpecId;
use std::sync::Arc;

pub(crate) fn context() -> BlockContext {
    let header = Header {
        number: 1,
        gas_limit: 30_000_000,
        base_fee_per_gas: Some(0),
        beneficiary: Address::repeat_byte(0xbe),
        withdrawals_root: Some(B256::ZERO),
        ..Header::default()
    };
    BlockContext::new(&ChainSpec::single_fork(1, SpecId::SHANGHAI), &header)
}

pub(crate) fn deploy(state: &mut MemoryState, address: Address, code: Vec<u8>) {
    let code = Arc::new(Code::new(Bytes::from(code)));
    let account = Account {
        nonce: 1,
        code_hash: code.hash(),
        ..Account::default()
    };
    state.insert_account(address, account);
    state.insert_code(code);
}

pub(crate) fn make_rich(state: &mut MemoryState, address: Address) {
    let rich = Account {
        balance: U256::MAX >> 8,
        ..Account::default()
    };
    state.insert_account(address, rich);
}

/// The sender's first transaction.
pub(crate) fn call(sender: Address, target: Address, value: U256, input: Vec<u8>) -> Step {
    let transaction = TxLegacy {
        gas_limit: 1_000_000,
        gas_price: 1,
        to: target.into(),
        value,
        input: input.into(),
        ..TxLegacy::default()
    };
    let signed = Signed::new_unhashed(transaction, Signature::test_signature());
    Step::Transaction(EvmTransaction::new(TxEnvelope::Legacy(signed), sender))
}
