//! Our executor against plain revm, one transaction after another on revm's own database.
//!
//! Journal, credits and account loading are our own; results must equal revm's.

use crate::support::{Case, generate};
use lockweave::{
    MemoryState, StateView, Step,
    runtime::{OutcomeKind, Status},
};
use proptest::prelude::*;
use revm::{
    Context, DatabaseCommit, ExecuteEvm, MainBuilder, MainContext,
    context::{TxEnv, either::Either, result::ExecutionResult},
    database::{CacheDB, EmptyDB},
    primitives::{Address, AddressMap, KECCAK_EMPTY, TxKind, U256},
    state::{AccountInfo, Bytecode},
};
use std::collections::BTreeMap;

/// The state before the block in revm's database.
pub(crate) fn database(state: &MemoryState) -> CacheDB<EmptyDB> {
    let mut database = CacheDB::new(EmptyDB::new());
    for (address, account) in state.accounts() {
        let code = (account.code_hash != KECCAK_EMPTY).then(|| {
            let code = state
                .code(account.code_hash)
                .expect("in memory")
                .expect("recorded");
            Bytecode::new_raw(code.bytes().clone())
        });
        let info = AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            code,
            ..AccountInfo::default()
        };
        database.insert_account_info(address, info);
        for (slot, value) in state.slots(address) {
            let stored = database.insert_account_storage(address, slot, value);
            stored.expect("an empty database does not fail");
        }
    }
    database
}

/// revm's form of a generated transaction, built here from the envelope, not by the adapter.
fn environment(step: &Step) -> Option<TxEnv> {
    use alloy_consensus::{Transaction as _, Typed2718};
    let transaction = step.transaction()?;
    let envelope = transaction.envelope();
    let tip = envelope.max_priority_fee_per_gas();
    Some(TxEnv {
        tx_type: envelope.ty(),
        caller: transaction.sender(),
        gas_limit: envelope.gas_limit(),
        gas_price: envelope.max_fee_per_gas(),
        kind: envelope.to().map_or(TxKind::Create, TxKind::Call),
        value: envelope.value(),
        data: envelope.input().clone(),
        nonce: envelope.nonce(),
        chain_id: envelope.chain_id(),
        access_list: envelope.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: tip,
        authorization_list: Vec::<Either<_, _>>::new(),
        ..TxEnv::default()
    })
}

/// An account and its non-zero slots.
pub(crate) type Contents =
    BTreeMap<Address, (u64, U256, alloy_primitives::B256, BTreeMap<U256, U256>)>;

fn contents_of_ours(state: &MemoryState) -> Contents {
    let accounts = state.accounts().map(|(address, account)| {
        let slots = state.slots(address).collect();
        (
            address,
            (account.nonce, account.balance, account.code_hash, slots),
        )
    });
    accounts.collect()
}

/// With EIP-161 an empty account does not exist; revm's database keeps its record.
pub(crate) fn contents_of_revm(database: &CacheDB<EmptyDB>, clear_empty: bool) -> Contents {
    use revm::database::AccountState;
    let accounts = database.cache.accounts.iter();
    let existing = accounts.filter(|(_, account)| {
        let cleared = clear_empty && account.info.is_empty();
        account.account_state != AccountState::NotExisting && !cleared
    });
    existing
        .map(|(address, account)| {
            let slots = account.storage.iter();
            let slots = slots.filter(|(_, value)| !value.is_zero());
            let slots = slots.map(|(slot, value)| (*slot, *value)).collect();
            let info = &account.info;
            (*address, (info.nonce, info.balance, info.code_hash, slots))
        })
        .collect()
}

pub(crate) fn compare(case: &Case) -> Result<(), TestCaseError> {
    let (steps, _, ours) = case.record();
    let context = case.block.context();
    let evm_context = Context::mainnet()
        .with_db(database(&generate::state()))
        .with_cfg(context.config().clone())
        .with_block(context.block().clone());
    let mut evm = evm_context.build_mainnet();
    for (step, outcome) in steps.iter().zip(&ours.outcomes) {
        let Some(transaction) = environment(step) else {
            if let Step::Credits(credits) = step {
                for credit in credits {
                    let balances = vec![(credit.address, credit.amount)];
                    increment(&mut evm.ctx.journaled_state.database, &balances);
                }
            }
            continue;
        };
        let result = evm.transact(transaction);
        let result = result.map_err(|error| TestCaseError::fail(format!("revm: {error}")))?;
        evm.ctx.journaled_state.database.commit(result.state);
        let result = result.result;
        prop_assert!(matches!(outcome.kind, OutcomeKind::Transaction(_)));
        prop_assert_eq!(outcome.gas_used, result.tx_gas_used());
        prop_assert_eq!(outcome.is_success(), result.is_success());
        prop_assert_eq!(&outcome.logs[..], result.logs());
        prop_assert_eq!(outcome.created, result.created_address());
        if let ExecutionResult::Halt { reason, .. } = &result {
            prop_assert_eq!(&outcome.status, &Status::Halted(format!("{reason:?}")));
        } else {
            prop_assert_eq!(Some(&outcome.output), result.output());
        }
    }
    let mut state = generate::state();
    state.apply(&ours.delta);
    let theirs = contents_of_revm(
        &evm.ctx.journaled_state.database,
        context.rules().clear_empty_accounts,
    );
    let ours = contents_of_ours(&state);
    let addresses: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for address in addresses {
        prop_assert_eq!(ours.get(address), theirs.get(address), "{}", address);
    }
    Ok(())
}

/// Ether from the protocol.
fn increment(database: &mut CacheDB<EmptyDB>, balances: &[(Address, U256)]) {
    use revm::{Database, state::Account};
    for (address, amount) in balances {
        let mut info = database
            .basic(*address)
            .expect("in memory")
            .unwrap_or_default();
        info.balance += *amount;
        let account = Account::default().with_info(info).with_touched_mark();
        let mut changes = AddressMap::default();
        changes.insert(*address, account);
        database.commit(changes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_transaction_has_the_result_of_plain_revm(case in generate::case(30)) {
        compare(&case)?;
    }
}
