//! Whole blocks through alloy-evm's traits: our executor against alloy's own, on revm's databases.

use crate::{
    differential_revm::{contents_of_revm, database},
    support::{Case, generate},
};
use alloy_consensus::{ReceiptEnvelope, TxEnvelope, transaction::Recovered};
use alloy_evm::{
    EvmEnv, EvmFactory,
    block::{BlockExecutionResult, BlockExecutor, BlockExecutorFactory, StateDB},
    eth::{
        EthBlockExecutionCtx, EthBlockExecutorFactory, EthEvmFactory,
        receipt_builder::AlloyReceiptBuilder, spec::EthSpec,
    },
};
use alloy_primitives::{Address, B256, Bytes, U256};
use lockweave::{Engine, Step, engine::alloy_evm::ParallelBlockExecutorFactory};
use proptest::prelude::*;
use revm::{
    database::{BundleState, State, states::bundle_state::BundleRetention},
    inspector::NoOpInspector,
    primitives::hardfork::SpecId,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

type Executed = Result<BlockExecutionResult<ReceiptEnvelope>, String>;

static SERIAL: LazyLock<EthBlockExecutorFactory> = LazyLock::new(|| {
    EthBlockExecutorFactory::new(
        AlloyReceiptBuilder::default(),
        EthSpec::mainnet(),
        EthEvmFactory::default(),
    )
});

static PARALLEL: LazyLock<ParallelBlockExecutorFactory<AlloyReceiptBuilder, EthSpec>> =
    LazyLock::new(|| {
        let engine = Engine::builder().threads(4).trace_after(0).build();
        ParallelBlockExecutorFactory::new(SERIAL.clone(), Arc::new(engine.expect("threads")))
    });

/// Executes a block as code for alloy-evm does that knows nothing of the factory.
fn execute<F>(
    factory: &F,
    env: &EvmEnv,
    transactions: &[Recovered<TxEnvelope>],
    database: impl StateDB,
) -> Executed
where
    F: BlockExecutorFactory<
            EvmFactory = EthEvmFactory,
            Transaction = TxEnvelope,
            Receipt = ReceiptEnvelope,
        >,
    for<'a> F: BlockExecutorFactory<ExecutionCtx<'a> = EthBlockExecutionCtx<'a>>,
{
    let evm = factory.evm_factory();
    let evm = evm.create_evm_with_inspector(database, env.clone(), NoOpInspector {});
    let context = EthBlockExecutionCtx {
        parent_hash: B256::ZERO,
        parent_beacon_block_root: None,
        ommers: &[],
        withdrawals: None,
        extra_data: Bytes::new(),
        tx_count_hint: Some(transactions.len()),
        slot_number: None,
    };
    let executor = factory.create_executor(evm, context);
    let executed = executor.execute_block(transactions);
    executed.map_err(|error| error.to_string())
}

fn transactions(steps: &[Step]) -> Vec<Recovered<TxEnvelope>> {
    let transactions = steps.iter().filter_map(Step::transaction);
    transactions
        .map(|transaction| {
            let envelope = transaction.envelope().as_ethereum();
            let envelope = envelope.expect("one of Ethereum's types").clone();
            Recovered::new_unchecked(envelope, transaction.sender())
        })
        .collect()
}

/// What a bundle says of accounts that exist or existed: nonce, balance, code hash, slots that changed.
type Bundle = BTreeMap<Address, (Option<(u64, U256, B256)>, BTreeMap<U256, U256>)>;

fn contents_of_bundle(bundle: &BundleState) -> Bundle {
    let accounts = bundle.state.iter();
    let existed =
        accounts.filter(|(_, account)| account.info.is_some() || account.original_info.is_some());
    existed
        .map(|(address, account)| {
            let info = account.info.as_ref();
            let info = info.map(|info| (info.nonce, info.balance, info.code_hash));
            let slots = account.storage.iter().filter(|(_, slot)| slot.is_changed());
            let slots = slots.map(|(slot, value)| (*slot, value.present_value));
            (*address, (info, slots.collect()))
        })
        .collect()
}

/// Compares both executors on a plain database and on one that keeps transitions. Returns whether the block is valid.
fn compare(env: &EvmEnv, transactions: &[Recovered<TxEnvelope>]) -> Result<bool, TestCaseError> {
    let spec = env.cfg_env.spec;
    let clear_empty = spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
    let (mut plain, mut parallel) = (database(&generate::state()), database(&generate::state()));
    let expected = execute(&*SERIAL, env, transactions, &mut plain);
    let executed = execute(&*PARALLEL, env, transactions, &mut parallel);
    prop_assert_eq!(&executed, &expected);
    if expected.is_ok() {
        let contents = |database| contents_of_revm(database, clear_empty);
        prop_assert_eq!(contents(&parallel), contents(&plain));
    }
    let bundle = |executed: &mut dyn FnMut(&mut State<_>) -> Executed| {
        let builder = State::builder().with_database(database(&generate::state()));
        let mut state = builder.with_bundle_update().build();
        executed(&mut state).ok().map(|_| {
            state.merge_transitions(BundleRetention::Reverts);
            contents_of_bundle(&state.take_bundle())
        })
    };
    let expected_bundle = bundle(&mut |state| execute(&*SERIAL, env, transactions, state));
    let found = bundle(&mut |state| execute(&*PARALLEL, env, transactions, state));
    prop_assert_eq!(found, expected_bundle);
    Ok(expected.is_ok())
}

fn env(case: &Case) -> EvmEnv {
    let context = case.block.context();
    EvmEnv::new(context.config().clone(), context.block().clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_block_has_the_result_of_alloys_executor(case in generate::case(30)) {
        let (steps, _, _) = case.record();
        prop_assert!(compare(&env(&case), &transactions(&steps))?);
    }

    #[test]
    fn an_invalid_block_has_the_error_of_alloys_executor(case in generate::case(30)) {
        compare(&env(&case), &transactions(case.block.steps()))?;
    }

    #[test]
    fn a_full_block_has_the_error_of_alloys_executor(
        case in generate::case(30),
        gas_limit in 21_000_u64..3_000_000,
    ) {
        let (steps, _, _) = case.record();
        let mut env = env(&case);
        env.block_env.gas_limit = gas_limit;
        compare(&env, &transactions(&steps))?;
    }
}
