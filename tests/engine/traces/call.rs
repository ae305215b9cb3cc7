//! Calls of the contract, the state before them, and the runs that are compared.

use super::program::{CALLED, CONTRACT, SENDERS, word};
use crate::support::{Ran, insert_account, run_serially, signed};
use alloy_consensus::{Header, TxEip1559};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use lockweave::{
    EvmExecutor, EvmTransaction, MemoryState, Step,
    evm::{BlockContext, ChainSpec, SpecId, TxDeclared},
    runtime::StateView,
};
use proptest::prelude::*;
use std::sync::Arc;

const BASE_FEE: u64 = 7;

/// A call of the contract.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    sender: usize,
    selector: u8,
    arguments: Vec<U256>,
    gas: u64,
    tip: u128,
    value: u64,
    /// Slots that an access list names, if there is one; and whether it is signed as a declaration of all accesses.
    listed: Option<(Vec<U256>, bool)>,
    nonce_off: bool,
}

pub(super) fn parts() -> impl Strategy<Value = Parts> {
    let gas = prop_oneof![8 => Just(2_000_000_u64), 2 => 21_000_u64..70_000];
    let listed = prop_oneof![
        5 => Just(None),
        2 => (prop::collection::vec((0_u64..5).prop_map(U256::from), 4), any::<bool>()).prop_map(Some),
        1 => (Just((0..5).map(U256::from).collect::<Vec<_>>()), any::<bool>()).prop_map(Some),
    ];
    let argument = prop_oneof![2 => (0_u64..2).prop_map(U256::from), 1 => word()];
    let arguments = prop::collection::vec(argument, 2);
    let value = prop::sample::select(vec![0_u64, 0, 0, 0, 0, 0, 0, 1]);
    let nonce_off =
        prop::sample::select(vec![false, false, false, false, false, false, false, true]);
    (
        0_usize..2,
        0_u8..2,
        arguments,
        gas,
        0_u128..3,
        value,
        listed,
        nonce_off,
    )
        .prop_map(
            |(sender, selector, arguments, gas, tip, value, listed, nonce_off)| Parts {
                sender,
                selector,
                arguments,
                gas,
                tip,
                value,
                listed,
                nonce_off,
            },
        )
}

impl Parts {
    pub(super) fn step(&self, nonces: &mut [u64; 2]) -> Step {
        let mut input = vec![self.selector, 1, 2, 3];
        let words = self.arguments.iter().flat_map(U256::to_be_bytes::<32>);
        input.extend(words);
        let nonce = nonces[self.sender] + u64::from(self.nonce_off);
        nonces[self.sender] += u64::from(!self.nonce_off);
        let (slots, is_signed) = self.listed.clone().unwrap_or_default();
        let list = slots.iter().flat_map(|slot| {
            [CONTRACT, CALLED[0]].map(|address| AccessListItem {
                address,
                storage_keys: vec![B256::from(*slot)],
            })
        });
        let access_list = AccessList(list.collect());
        let (to, value, input) = (
            TxKind::Call(CONTRACT),
            U256::from(self.value),
            Bytes::from(input),
        );
        let (chain_id, gas_limit, max_fee_per_gas) = (1, self.gas, 9);
        let max_priority_fee_per_gas = self.tip;
        let envelope = if is_signed {
            let transaction = TxDeclared {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                input,
                reads: AccessList(access_list.0.iter().skip(4).cloned().collect()),
                writes: AccessList(access_list.0.iter().take(4).cloned().collect()),
                ..TxDeclared::default()
            };
            signed(transaction)
        } else {
            let transaction = TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                access_list,
                input,
            };
            signed(transaction)
        };
        Step::Transaction(EvmTransaction::new(envelope, SENDERS[self.sender]))
    }
}

/// The state before a block. A contract without code does not exist.
pub(super) fn state(code: &[u8], called: [&[u8]; 2], slots: &[u64]) -> Arc<dyn StateView> {
    let mut state = MemoryState::new();
    let codes = [
        (CONTRACT, code),
        (CALLED[0], called[0]),
        (CALLED[1], called[1]),
    ];
    for (address, code) in codes {
        if !code.is_empty() {
            insert_account(&mut state, address, 1, U256::ZERO, code);
        }
    }
    for sender in SENDERS {
        insert_account(&mut state, sender, 0, U256::from(10_u64.pow(17)), &[]);
    }
    for (slot, value) in slots.iter().enumerate() {
        state.insert_slot(CONTRACT, U256::from(slot), U256::from(*value));
        state.insert_slot(CALLED[0], U256::from(slot), U256::from(*value));
    }
    Arc::new(state)
}

pub(super) fn context(fork: SpecId, beneficiary: Address) -> BlockContext {
    let since = |first| fork.is_enabled_in(first);
    let header = Header {
        number: 1,
        timestamp: 1_000,
        difficulty: U256::from(if since(SpecId::MERGE) { 0 } else { 77 }),
        mix_hash: B256::repeat_byte(8),
        gas_limit: 30_000_000,
        beneficiary,
        base_fee_per_gas: since(SpecId::LONDON).then_some(BASE_FEE),
        excess_blob_gas: since(SpecId::CANCUN).then_some(0),
        ..Header::default()
    };
    BlockContext::new(&ChainSpec::single_fork(1, fork), &header)
}

/// Calls by the first sender, each with these words as calldata and this gas limit.
pub(super) fn plain_calls(calls: &[([u64; 2], u64)]) -> Vec<Step> {
    let steps = calls.iter().zip(0..).map(|((words, gas_limit), nonce)| {
        let input = words
            .map(|word| U256::from(word).to_be_bytes::<32>())
            .concat();
        let transaction = TxEip1559 {
            chain_id: 1,
            nonce,
            gas_limit: *gas_limit,
            max_fee_per_gas: 9,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(CONTRACT),
            input: input.into(),
            ..TxEip1559::default()
        };
        Step::Transaction(EvmTransaction::new(signed(transaction), SENDERS[0]))
    });
    steps.collect()
}

/// Runs steps by traces after the first of each kind and compares the results with those of plain execution. Returns
/// how many steps ran by traces, and the results.
pub(super) fn traced(context: &BlockContext, codes: [&[u8]; 3], steps: &[Step]) -> (u64, Vec<Ran>) {
    let [code, called @ ..] = codes;
    let state = state(code, called, &[5, 5, 5, 5]);
    let plain = run_serially(&mut EvmExecutor::new(context), context, &state, steps);
    let mut executor = EvmExecutor::new(context).with_traces(0);
    assert_eq!(run_serially(&mut executor, context, &state, steps), plain);
    (executor.traced(), plain.0)
}
