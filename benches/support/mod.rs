//! Workloads for the benches, and the two ways to run them.

use alloy_consensus::{Header, Signed, TxEnvelope, TxLegacy};
use alloy_primitives::{
    Address, B256, Bytes, KECCAK256_EMPTY, Signature, TxKind, U256, address, hex, keccak256,
};
use lockweave::{Access, Engine, EngineError, Executed, RecordedAccess, engine::SerialRun};
use lockweave_banking_stage::InferredStats;
use lockweave_evm_adapter::{
    BlockContext, ChainSpec, EvmTransaction, SpecId, Step, TemplateCache, TemplateScope,
};
use lockweave_runtime::{Account, Code, MemoryState, SealedBlock, StateView};
use std::{sync::Arc, time::Duration};

const TOKEN: Address = address!("0x70ce400000000000000000000000000000000001");

/// A block ready to be run again and again.
pub(crate) struct Workload {
    pub(crate) name: String,
    view: Arc<dyn StateView>,
    context: BlockContext,
    steps: Vec<Step>,
    access: RecordedAccess,
}

impl Workload {
    /// Records the access sets of a block's steps.
    pub(crate) fn new(
        name: impl Into<String>,
        view: Arc<dyn StateView>,
        context: BlockContext,
        steps: &[Step],
    ) -> Self {
        let run = SerialRun::recording(&context, &view).steps(steps);
        let recorded = run.expect("a sound block").finish().expect("few keys");
        let outcomes = &recorded.sealed.outcomes;
        let steps = (steps.iter().zip(outcomes))
            .map(|(step, outcome)| step.clone().with_gas_estimate(outcome.gas_used))
            .collect();
        Self {
            name: name.into(),
            view,
            context,
            steps,
            access: recorded.access().numbered(),
        }
    }

    /// Runs the block on one thread, without locks; the time from the first step to sealing.
    ///
    /// Like the parallel run it starts on memory that was cleared before, off the clock.
    pub(crate) fn run_serially(&self, engine: &Engine) -> (Duration, SealedBlock) {
        let run = engine.run_steps(&self.context, &self.steps);
        timed(run.execute_serially(&self.view))
    }

    /// Runs the block under locks; the time from opening to sealing. Keys were numbered when the sets
    /// were recorded.
    pub(crate) fn run_in_parallel(&self, engine: &Engine) -> (Duration, SealedBlock) {
        let run = engine.run_steps(&self.context, &self.steps);
        timed(
            run.access(Access::Recorded(&self.access))
                .execute(&self.view),
        )
    }

    /// Runs the block from its transactions alone; inference is part of the time, and so is learning
    /// where there are templates.
    pub(crate) fn run_inferred(
        &self,
        engine: &Engine,
        templates: Option<&Arc<TemplateCache>>,
    ) -> (Duration, SealedBlock, InferredStats) {
        let templates = templates.map(|cache| (Arc::clone(cache), TemplateScope::Every));
        let run = engine.run_steps(&self.context, &self.steps);
        let executed = run.templates(templates).execute(&self.view);
        let executed = executed.expect("a sound block");
        let stats = executed.statistics.inference;
        (executed.statistics.elapsed, executed.sealed, stats)
    }
}

fn timed(executed: Result<Executed, EngineError>) -> (Duration, SealedBlock) {
    let executed = executed.expect("a sound block");
    (executed.statistics.elapsed, executed.sealed)
}

/// Who is paid.
#[derive(Clone, Copy)]
pub(crate) enum Recipients {
    /// Every sender sends to itself: nothing conflicts.
    Themselves,
    /// Each sends to the next one: every transfer of tokens waits for the one before it.
    Chain,
    /// All send to one account.
    One,
}

/// A block of ether transfers, each by an account of its own.
pub(crate) fn raw(transfers: usize, recipients: Recipients) -> Workload {
    let mut state = MemoryState::new();
    let account = |index: usize| Address::from_word(U256::from(1_000 + index).into());
    for index in 0..=transfers {
        state.insert_account(
            account(index),
            Account {
                nonce: 1,
                balance: U256::MAX / U256::from(2),
                code_hash: KECCAK256_EMPTY,
            },
        );
    }
    let (kind, recipient): (_, fn(usize) -> usize) = match recipients {
        Recipients::Themselves => ("self", |index| index),
        Recipients::Chain => ("chain", |index| index + 1),
        Recipients::One => ("hot", |_| 0),
    };
    let steps: Vec<_> = (0..transfers)
        .map(|index| {
            let transaction = TxLegacy {
                chain_id: Some(1),
                nonce: 1,
                gas_price: 1,
                gas_limit: 21_000,
                to: TxKind::Call(account(recipient(index))),
                value: U256::ONE,
                input: Bytes::new(),
            };
            let signature = Signature::new(U256::ONE, U256::ONE, false);
            let signed = Signed::new_unhashed(transaction, signature);
            let sender = account(if kind == "hot" { index + 1 } else { index });
            Step::Transaction(EvmTransaction::new(TxEnvelope::Legacy(signed), sender))
        })
        .collect();
    let header = Header {
        number: 1,
        gas_limit: u64::MAX,
        base_fee_per_gas: Some(0),
        beneficiary: Address::ZERO,
        withdrawals_root: Some(B256::ZERO),
        ..Header::default()
    };
    let chain = ChainSpec::single_fork(1, SpecId::SHANGHAI);
    let context = BlockContext::new(&chain, &header);
    let name = format!("raw-{kind}-{transfers}");
    Workload::new(name, Arc::new(state), context, &steps)
}

/// A block of ERC-20 transfers, each by an account of its own.
pub(crate) fn erc20(transfers: usize, recipients: Recipients) -> Workload {
    let bytes: Bytes = hex::decode(include_str!("../contracts/Token.hex").trim())
        .expect("committed hex")
        .into();
    let code = Arc::new(Code::new(bytes));
    let mut state = MemoryState::new();
    state.insert_account(
        TOKEN,
        Account {
            nonce: 1,
            balance: U256::ZERO,
            code_hash: code.hash(),
        },
    );
    state.insert_code(code);
    let account =
        |index: usize| Address::from_word(keccak256(U256::from(index).to_be_bytes::<32>()));
    for index in 0..=transfers {
        state.insert_account(
            account(index),
            Account {
                nonce: 0,
                balance: U256::from(10_u64).pow(U256::from(18)),
                code_hash: KECCAK256_EMPTY,
            },
        );
        let slot = keccak256([account(index).into_word(), B256::ZERO].concat());
        let tokens = U256::from(10_u64).pow(U256::from(18));
        state.insert_slot(TOKEN, slot.into(), tokens);
    }
    let steps: Vec<_> = (0..transfers)
        .map(|index| {
            let recipient = match recipients {
                Recipients::Themselves => index,
                Recipients::Chain => index + 1,
                Recipients::One => 0,
            };
            Step::Transaction(transfer(account(index), account(recipient)))
        })
        .collect();
    let (chain, header) = shanghai();
    let name = match recipients {
        Recipients::Themselves => format!("erc20-self-{transfers}"),
        Recipients::Chain => format!("erc20-chain-{transfers}"),
        Recipients::One => format!("erc20-hot-{transfers}"),
    };
    Workload::new(
        name,
        Arc::new(state),
        BlockContext::new(&chain, &header),
        &steps,
    )
}

/// A block whose every access set is wrong before its turn: calls of a contract that writes to a slot
/// which is new at every call, the hash of the last one, with some work beside it.
pub(crate) fn hostile(calls: usize) -> Workload {
    // for (i = 64; i > 0; i -= 1) keccak256(memory[0..96]);
    // sstore(0, keccak256(sload(0))); sstore(sload(0), sload(sload(0)) + 1)
    let code = hex!(
        "6040" "5b" "60605f2050" "6001900380" "600257" "50"
        "5f545f5260205f20805f5580546001019055" "00"
    );
    let code = Arc::new(Code::new(Bytes::copy_from_slice(&code)));
    let mut state = MemoryState::new();
    let account = |balance, code_hash| Account {
        nonce: 0,
        balance,
        code_hash,
    };
    state.insert_account(TOKEN, account(U256::ZERO, code.hash()));
    state.insert_code(code);
    let steps: Vec<_> = (0..calls)
        .map(|index| {
            let caller = Address::from_word(keccak256(U256::from(index).to_be_bytes::<32>()));
            let wei = U256::from(10_u64).pow(U256::from(18));
            state.insert_account(caller, account(wei, KECCAK256_EMPTY));
            Step::Transaction(transfer(caller, caller))
        })
        .collect();
    let (chain, header) = shanghai();
    let name = format!("hostile-{calls}");
    let context = BlockContext::new(&chain, &header);
    Workload::new(name, Arc::new(state), context, &steps)
}

/// The chain and the header of the blocks made here.
fn shanghai() -> (ChainSpec, Header) {
    let header = Header {
        number: 1,
        gas_limit: u64::MAX,
        base_fee_per_gas: Some(1),
        beneficiary: address!("0xbe4ef1c1a4000000000000000000000000000000"),
        withdrawals_root: Some(B256::ZERO),
        ..Header::default()
    };
    (ChainSpec::single_fork(1, SpecId::SHANGHAI), header)
}

fn transfer(sender: Address, recipient: Address) -> EvmTransaction {
    let mut input = hex!("a9059cbb").to_vec();
    input.extend_from_slice(recipient.into_word().as_slice());
    input.extend_from_slice(&U256::from(1_000).to_be_bytes::<32>());
    let transaction = TxLegacy {
        chain_id: Some(1),
        nonce: 0,
        gas_price: 2,
        gas_limit: 100_000,
        to: TxKind::Call(TOKEN),
        value: U256::ZERO,
        input: input.into(),
    };
    // Never checked here: the sender is given.
    let signature = Signature::new(U256::ONE, U256::ONE, false);
    let signed = Signed::new_unhashed(transaction, signature);
    EvmTransaction::new(TxEnvelope::Legacy(signed), sender)
}
