//! Embedding the EVM: a block of transfers, executed on all cores, checked against one core.
//!
//! `cargo run --release --example embed_evm`

use alloy_consensus::{Header, Signed, TxEnvelope, TxLegacy};
use alloy_primitives::{Address, Signature, TxKind, U256};
use lockweave::{
    AccessMode, AccessSet, BankingStage, ChainSpec, EvmExecutor, EvmTransaction, MemoryState,
    OpenBlock, Sanitized, StageConfig, StateKey, StateView, Step,
    evm::{BlockContext, SpecId},
    execute_block,
    runtime::{Account, Declaration, GrantedState, SerialState, execute_serially},
    seal_block,
};
use std::sync::Arc;

fn account(index: u64) -> Address {
    Address::from_word(U256::from(index + 1_000).into())
}

/// One wei from one account to another. The signature was checked when the sender was recovered.
fn transfer(from: u64, to: u64) -> Step {
    let transaction = TxLegacy {
        gas_limit: 21_000,
        gas_price: 1,
        to: TxKind::Call(account(to)),
        value: U256::ONE,
        ..TxLegacy::default()
    };
    let signed = Signed::new_unhashed(transaction, Signature::test_signature());
    Step::Transaction(EvmTransaction::new(
        TxEnvelope::Legacy(signed),
        account(from),
    ))
}

/// What a transfer touches: the recipient and the block's beneficiary are only added to.
fn declare(from: u64, to: u64, beneficiary: Address) -> AccessSet {
    AccessSet::build(|set| {
        set.insert(StateKey::account(account(from)), AccessMode::Write)
            .insert(StateKey::code(account(from)), AccessMode::Read)
            .insert(StateKey::account(account(to)), AccessMode::Credit)
            .insert(StateKey::code(account(to)), AccessMode::Read)
            .insert(StateKey::account(beneficiary), AccessMode::Credit);
    })
    .expect("five keys are few")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let accounts = 10_000;
    let mut before = MemoryState::new();
    let mut owner = Account::default();
    owner.balance += U256::from(1_000_000);
    for index in 0..accounts {
        before.insert_account(account(index), owner);
    }
    let view: Arc<dyn StateView> = Arc::new(before);
    let header = Header {
        number: 1,
        gas_limit: u64::MAX,
        ..Header::default()
    };
    let chain = ChainSpec::single_fork(1, SpecId::BERLIN);
    let context = BlockContext::new(&chain, &header);

    // Every account sends to its neighbour.
    let sanitize = |from| Sanitized {
        transaction: transfer(from, (from + 1) % accounts),
        access: declare(from, (from + 1) % accounts, header.beneficiary),
        declaration: Declaration::Inferred,
    };
    let transactions: Vec<_> = (0..accounts).map(sanitize).collect();
    let steps: Vec<_> = transactions
        .iter()
        .map(|tx| tx.transaction.clone())
        .collect();

    let stage = BankingStage::new(StageConfig::default())?;
    let open = OpenBlock::new(Arc::clone(&view), context.rules(), transactions);
    let worker_context = context.clone();
    let make = move |_: Option<_>| EvmExecutor::<GrantedState<Step>>::new(&worker_context);
    let (open, result) = execute_block(&stage, open, make, Step::gas_hint);
    result?;
    let (sealed, _) = seal_block(&stage, open)?;

    let mut oracle = SerialState::new(view, context.rules());
    let expected = execute_serially(&mut EvmExecutor::new(&context), &mut oracle, &steps)?;
    assert_eq!(sealed, expected, "as if they had run one after another");
    println!(
        "{} receipts, equal to the serial run",
        sealed.receipts()?.len()
    );
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
