//! Invalid transactions are skipped whatever else is asked for.

use crate::{Access, Engine, RecordedAccess, SharedState};
use alloy_consensus::{Header, SignableTransaction, TxEnvelope, TxLegacy, transaction::Recovered};
use alloy_primitives::{Address, B256, Signature, U256};
use lockweave_evm_adapter::{ChainSpec, EvmBlock, SpecId};
use lockweave_runtime::{Account, MemoryState, OutcomeKind};

const SENDER: Address = Address::repeat_byte(1);

fn state() -> SharedState {
    let mut state = MemoryState::new();
    let owner = Account {
        balance: U256::from(1_000_000),
        ..Account::default()
    };
    state.insert_account(SENDER, owner);
    SharedState::new(state)
}

/// Payments of one sender with these nonces, each to an account of its own.
fn block(engine: &Engine, nonces: &[u64]) -> EvmBlock {
    let transactions = nonces.iter().map(|nonce| {
        let transaction = TxLegacy {
            nonce: *nonce,
            gas_price: 1,
            gas_limit: 21_000,
            to: Address::with_last_byte(u8::try_from(0x40 + nonce).expect("few")).into(),
            value: U256::ONE,
            ..TxLegacy::default()
        };
        let signed = transaction.into_signed(Signature::test_signature());
        Recovered::new_unchecked(TxEnvelope::from(signed), SENDER)
    });
    let header = Header {
        number: 1,
        gas_limit: 1_000_000,
        base_fee_per_gas: Some(1),
        withdrawals_root: Some(B256::ZERO),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        ..Header::default()
    };
    let chain = ChainSpec::single_fork(1, SpecId::CANCUN);
    let block = engine.block(&chain, &header).transactions(transactions);
    block.lay_out().expect("a header of its fork")
}

#[test]
fn an_access_list_is_that_of_the_block_without_its_skipped_transactions() {
    let engine = Engine::builder().threads(2).build().expect("threads");
    let valid = block(&engine, &[0, 1]);
    let expected = engine.run(&valid).build_access_list().execute(&state());
    let expected = expected.expect("a valid block");

    let with_invalid = block(&engine, &[0, 9, 1]);
    let run = || engine.run(&with_invalid).skip_invalid().keep_access();
    let found = run().execute(&state()).expect("one is skipped");
    let recorded = RecordedAccess::new(found.access.clone());
    for recorded in [recorded.clone(), recorded.numbered()] {
        for access in [Access::Inferred, Access::Recorded(&recorded)] {
            let listed = run().access(access).build_access_list();
            let executed = listed.execute(&state()).expect("one is skipped");
            assert_eq!(executed.sealed, found.sealed);
            assert_eq!(executed.skipped, found.skipped);
            assert_eq!(executed.skipped.len(), 1);
            assert_eq!(executed.access, found.access);
            assert_eq!(executed.changes(), expected.changes());
            assert_eq!(executed.access_list, expected.access_list);
            let skipped = (executed.sealed.outcomes.iter().zip(with_invalid.steps()))
                .filter(|(outcome, step)| {
                    outcome.kind == OutcomeKind::System && step.transaction().is_some()
                })
                .count();
            assert_eq!(skipped, 1);
        }
    }
    // An executor of a block with a list is used again for one without.
    let again = run().execute(&state()).expect("one is skipped");
    assert_eq!(again.sealed, found.sealed);
}

#[test]
fn a_given_list_and_skipping_exclude_each_other() {
    let engine = Engine::builder().threads(2).build().expect("threads");
    let block = block(&engine, &[0, 1]);
    let built = engine.run(&block).build_access_list().execute(&state());
    let list = built.expect("a valid block").access_list.expect("a list");
    let run = engine.run(&block).access(Access::Listed(&list));
    let error = run.skip_invalid().execute(&state()).expect_err("excluded");
    assert!(error.to_string().contains("skip_invalid"), "{error}");
}
