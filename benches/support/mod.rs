//! Workloads for the benches, and the two ways to run them.

use alloy_consensus::{Header, Signed, TxEnvelope, TxLegacy};
use alloy_primitives::{
    Address, B256, Bytes, KECCAK256_EMPTY, Signature, TxKind, U256, address, hex, keccak256,
};
use lockweave_banking_stage::{
    BankingStage, InferredStats, execute_block, execute_inferred_block, seal_block,
};
use lockweave_evm_adapter::{
    BlockContext, ChainSpec, EvmExecutor, EvmInferrer, EvmTransaction, SpecId, Step, TemplateCache,
    TemplateScope,
};
use lockweave_runtime::{
    AccessSet, Account, Code, Declaration, Executor, GrantedState, INFERRED_KEYS_MAX, KeyTable,
    MemoryState, OpenBlock, Recording, Sanitized, SealedBlock, SerialState, StateCells, StateView,
    execute_serially,
};
use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

const TOKEN: Address = address!("0x70ce400000000000000000000000000000000001");

/// A block ready to be run again and again.
pub(crate) struct Workload {
    pub(crate) name: String,
    view: Arc<dyn StateView>,
    context: BlockContext,
    steps: Vec<Step>,
    sets: Vec<AccessSet>,
    table: Arc<KeyTable>,
    /// The last runs' states, for their memory.
    spare_cells: Cell<Option<StateCells>>,
    spare_state: Cell<Option<SerialState>>,
}

impl Workload {
    /// Records the access sets of a block's steps.
    pub(crate) fn new(
        name: impl Into<String>,
        view: Arc<dyn StateView>,
        context: BlockContext,
        steps: &[Step],
    ) -> Self {
        let mut executor = EvmExecutor::<Recording<SerialState>>::new(&context);
        let mut state = Recording::new(SerialState::new(Arc::clone(&view), context.rules()));
        let (steps, sets) = steps
            .iter()
            .map(|step| {
                let outcome = executor.execute(step, &mut state).expect("a sound step");
                let set = state.take_access(INFERRED_KEYS_MAX).expect("few keys");
                (step.clone().with_gas_estimate(outcome.gas_used), set)
            })
            .unzip::<_, _, _, Vec<_>>();
        let table = KeyTable::number(&sets);
        Self {
            table: Arc::new(table),
            name: name.into(),
            view,
            context,
            steps,
            sets,
            spare_cells: Cell::new(None),
            spare_state: Cell::new(None),
        }
    }

    /// The same block on the same state, with memory of its own to run on.
    pub(crate) fn copy(&self) -> Self {
        Self {
            name: self.name.clone(),
            view: Arc::clone(&self.view),
            context: self.context.clone(),
            steps: self.steps.clone(),
            sets: self.sets.clone(),
            table: Arc::clone(&self.table),
            spare_cells: Cell::new(None),
            spare_state: Cell::new(None),
        }
    }

    /// The oracle's executor, to be kept between runs.
    pub(crate) fn serial_executor(&self) -> EvmExecutor<SerialState> {
        EvmExecutor::new(&self.context)
    }

    /// Runs the block on one thread, without locks; the time from the first step to sealing.
    ///
    /// Like the parallel run it starts on memory that was cleared before, off the clock.
    pub(crate) fn run_serially(
        &self,
        executor: &mut EvmExecutor<SerialState>,
    ) -> (Duration, SealedBlock) {
        let mut state = self.spare_state.take().unwrap_or_default();
        state.reset(Arc::clone(&self.view), self.context.rules());
        let start = Instant::now();
        let sealed = execute_serially(executor, &mut state, &self.steps).expect("a sound block");
        let time = start.elapsed();
        self.spare_state.set(Some(state));
        (time, sealed)
    }

    /// Runs the block under locks; the time from opening to sealing. Keys were numbered when the sets
    /// were recorded.
    pub(crate) fn run_in_parallel(&self, stage: &BankingStage) -> (Duration, SealedBlock) {
        let transactions = (self.steps.iter().zip(&self.sets))
            .map(|(step, access)| Sanitized {
                transaction: step.clone(),
                access: access.clone(),
                declaration: Declaration::Recorded,
            })
            .collect();
        let make = self.make_granted();
        let cells = self.fresh_cells();
        let start = Instant::now();
        let open = OpenBlock::with_table(cells, transactions, Arc::clone(&self.table));
        let (open, result) = execute_block(stage, open, make, Step::gas_hint);
        result.expect("a sound block");
        self.seal(stage, open, start)
    }

    /// Runs the block from its transactions alone; inference is part of the time, and so is learning
    /// where there are templates.
    pub(crate) fn run_inferred(
        &self,
        stage: &BankingStage,
        templates: Option<&Arc<TemplateCache>>,
    ) -> (Duration, SealedBlock, InferredStats) {
        let transactions = (self.steps.iter())
            .map(|step| Sanitized {
                transaction: step.clone(),
                access: AccessSet::empty(),
                declaration: Declaration::Inferred,
            })
            .collect();
        let context = self.context.clone();
        let granted = self.make_granted();
        let templates = templates.cloned();
        let make = move |last: Option<(Granted, EvmInferrer)>| {
            let (executor, inferrer) = last.unzip();
            let mut inferrer = inferrer.unwrap_or_else(|| EvmInferrer::new(&context));
            inferrer.set_block(&context);
            inferrer.set_templates(templates.clone(), TemplateScope::Every);
            (granted(executor), inferrer)
        };
        let cells = self.fresh_cells();
        let start = Instant::now();
        let open = OpenBlock::to_infer(cells, transactions);
        let (open, result) = execute_inferred_block(stage, open, make, Step::gas_hint);
        let stats = result.expect("a sound block");
        let (time, sealed) = self.seal(stage, open, start);
        (time, sealed, stats)
    }

    fn make_granted(&self) -> impl Fn(Option<Granted>) -> Granted + Send + Sync + 'static {
        let context = self.context.clone();
        move |last| match last {
            Some(mut executor) => {
                executor.set_block(&context);
                executor
            }
            None => Granted::new(&context).with_shortcuts(),
        }
    }

    /// Gives back what a run came to, for its memory.
    pub(crate) fn recycle(&self, sealed: SealedBlock) {
        if let Some(mut cells) = self.spare_cells.take() {
            cells.recycle(sealed);
            self.spare_cells.set(Some(cells));
        }
    }

    /// The last run's cells, cleared.
    fn fresh_cells(&self) -> StateCells {
        let (view, rules) = (Arc::clone(&self.view), self.context.rules());
        match self.spare_cells.take() {
            Some(mut cells) => {
                cells.reset(view, rules);
                cells
            }
            None => StateCells::new(view, rules),
        }
    }

    fn seal(
        &self,
        stage: &BankingStage,
        open: OpenBlock<Step>,
        start: Instant,
    ) -> (Duration, SealedBlock) {
        let (sealed, spent) = seal_block(stage, open).expect("a finished block");
        let time = start.elapsed();
        self.spare_cells.set(Some(spent.into_cells()));
        (time, sealed)
    }
}

type Granted = EvmExecutor<GrantedState<Step>>;

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
