//! A block that can be run again and again, and our ways to run it.

use super::flat_state::FlatState;
use alloy_consensus::{Signed, Transaction as _};
use alloy_primitives::{Signature, U256};
use lockweave_banking_stage::{BankingStage, execute_block};
use lockweave_engine::{Access, Engine, Executed, RecordedAccess, Run, SerialRun};
use lockweave_evm_adapter::{
    BlockContext, EvmExecutor, EvmTransaction, LockweaveTxEnvelope, Step, TemplateCache,
    TemplateScope, TxDeclared,
};
use lockweave_runtime::{
    AccessSet, Declaration, DenseId as _, GrantedState, KeyPart, KeyTable, OpenBlock, Outcome,
    RecycledBlock, Sanitized, SealedBlock, StateCells, StateError, StateKey, StateView, TaskId,
};
use std::{
    cell::Cell,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;

/// A block that cannot be prepared for measuring.
#[derive(Debug, Error)]
pub enum BlockError {
    /// A step does not run.
    #[error("block {block}, step {step}: {problem}")]
    Step {
        /// The block's name.
        block: String,
        /// The step's place.
        step: usize,
        /// What was wrong.
        problem: String,
    },
    /// The state before the block cannot be read.
    #[error("block {block}: {source}")]
    State {
        /// The block's name.
        block: String,
        /// What was wrong.
        source: StateError,
    },
}

/// Where access sets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessSource {
    /// Recorded when the block was made, with their keys numbered.
    Recorded,
    /// Signed by the senders, in transactions of type `0x44`. Keys are numbered on the clock.
    Signed,
    /// Not there: inferred from the transactions, on the clock.
    Inferred,
}

impl AccessSource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Recorded, Self::Signed, Self::Inferred];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Signed => "signed",
            Self::Inferred => "inferred",
        }
    }
}

/// A block, the state before it, and what its transactions touch.
pub struct Block {
    name: String,
    view: Arc<dyn StateView>,
    context: BlockContext,
    steps: Vec<Step>,
    /// The steps without the gas that they were recorded to use.
    unseen: Vec<Step>,
    recorded: RecordedAccess,
    /// The same transactions, each with a signed declaration.
    signed: Option<Vec<Step>>,
    transactions: usize,
    gas: u64,
}

impl Block {
    /// Runs the block once and records what its steps touch.
    pub fn record(
        name: impl Into<String>,
        view: Arc<dyn StateView>,
        context: BlockContext,
        steps: &[Step],
    ) -> Result<Self, BlockError> {
        let name = name.into();
        let (sets, outcomes) = record(&name, &view, &context, steps)?;
        let steps: Vec<_> = (steps.iter().zip(&outcomes))
            .map(|(step, outcome)| step.clone().with_gas_estimate(outcome.gas_used))
            .collect();
        let unseen = steps.iter().cloned().map(Step::without_gas_estimate);
        let unseen = unseen.collect();
        let transactions = steps.iter().filter(|step| step.transaction().is_some());
        Ok(Self {
            transactions: transactions.count(),
            gas: outcomes.iter().map(|outcome| outcome.gas_used).sum(),
            name,
            view,
            context,
            steps,
            unseen,
            recorded: RecordedAccess::new(sets).numbered(),
            signed: None,
        })
    }

    /// Adds the same block with every transaction signing what it touches.
    pub fn with_signed(mut self) -> Result<Self, BlockError> {
        let steps: Vec<_> = (self.steps.iter().zip(self.sets()))
            .map(|(step, set)| match step {
                Step::Transaction(transaction) => {
                    Step::Transaction(sign(transaction, set, &self.context))
                }
                other => other.clone(),
            })
            .collect();
        let (_, outcomes) = record(&self.name, &self.view, &self.context, &steps)?;
        let steps = (steps.into_iter().zip(outcomes))
            .map(|(step, outcome)| step.with_gas_estimate(outcome.gas_used))
            .collect();
        self.signed = Some(steps);
        Ok(self)
    }

    /// What the block is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state before the block.
    pub fn view(&self) -> &dyn StateView {
        &*self.view
    }

    /// The block's environment.
    pub const fn context(&self) -> &BlockContext {
        &self.context
    }

    /// The steps in block order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The steps as they are run with sets from `source`.
    pub fn steps_with(&self, source: AccessSource) -> &[Step] {
        match (&self.signed, source) {
            (Some(signed), AccessSource::Signed) => signed,
            _ => &self.steps,
        }
    }

    /// What the steps touch.
    pub fn sets(&self) -> &[AccessSet] {
        self.recorded.sets()
    }

    /// The steps' sets over numbered keys.
    pub fn table(&self) -> &KeyTable {
        self.shared_table()
    }

    fn shared_table(&self) -> &Arc<KeyTable> {
        let table = self.recorded.table();
        table.expect("keys are numbered when the block is made")
    }

    /// Whether it can be run with sets from `source`.
    pub const fn has(&self, source: AccessSource) -> bool {
        !matches!(source, AccessSource::Signed) || self.signed.is_some()
    }

    /// Transactions in it.
    pub const fn transactions(&self) -> usize {
        self.transactions
    }

    /// Gas they use.
    pub const fn gas(&self) -> u64 {
        self.gas
    }

    /// The state before the block, for the yardstick.
    pub fn flat_state(&self) -> Result<FlatState, BlockError> {
        let number = self.context().block().number.saturating_to::<u64>();
        let state = FlatState::touched(self.view(), self.sets(), number);
        state.map_err(|source| BlockError::State {
            block: self.name.clone(),
            source,
        })
    }

    /// Runs the block; the time from opening it to its sealing.
    ///
    /// Clearing memory before and giving memory back after are not in the time.
    pub fn run(&self, engine: &Engine, source: AccessSource) -> (Duration, SealedBlock) {
        let executed = match source {
            AccessSource::Recorded => {
                let run = engine.run_steps(&self.context, &self.steps);
                self.execute(run.access(Access::Recorded(&self.recorded)))
            }
            AccessSource::Signed => {
                let signed = self.signed.as_ref().expect("asked only where there is one");
                let run = engine.run_steps(&self.context, signed);
                self.execute(run.access(Access::Signed))
            }
            AccessSource::Inferred => {
                // Nothing is known from other blocks; a node has one cache for all.
                let templates = Arc::new(TemplateCache::new());
                let run = engine.run_steps(&self.context, &self.unseen);
                self.execute(run.templates(Some((templates, TemplateScope::Crowded))))
            }
        };
        (executed.statistics.elapsed, executed.sealed)
    }

    fn execute(&self, run: Run<'_>) -> Executed {
        self.read_state();
        let executed = run.execute(&self.view);
        executed.expect("the block ran while it was recorded")
    }

    /// Runs the block with recorded sets in parts that [`run`](Self::run) does in turns: opening it, preparing all
    /// transactions, running them, gathering what changed and joining that.
    pub fn run_in_parts(&self, stage: &BankingStage) -> ([Duration; 5], SealedBlock) {
        let transactions = sanitized(&self.steps, self.sets());
        let context = self.context.clone();
        let make = move |last: Option<Granted>| match last {
            Some(mut executor) => {
                executor.set_block(&context);
                executor
            }
            None => Granted::new(&context).with_shortcuts(),
        };
        let (cells, table) = (self.fresh_cells(), Arc::clone(self.shared_table()));
        let (open, mut block) = timed(|| OpenBlock::with_table(cells, transactions, table));
        let (prepare, ()) = timed(|| prepare(&block));
        let (run, (ran, result)) = timed(|| execute_block(stage, block, make, Step::gas_hint));
        result.expect("the block ran while it was recorded");
        block = ran;
        let (settle, settled) = timed(|| block.into_executed().expect("a finished block"));
        let (gather, ()) = timed(|| (0..settled.shards()).for_each(|shard| settled.collect(shard)));
        let (join, (sealed, spent)) = timed(|| settled.seal().expect("a finished block"));
        keep_cells(spent);
        ([open, prepare, run, gather, settle + join], sealed)
    }

    /// Takes the memory of a result of [`run_in_parts`](Self::run_in_parts) for its next run.
    pub fn recycle_parts(sealed: SealedBlock) {
        if let Some(mut cells) = SPARE_CELLS.take() {
            cells.recycle(sealed);
            SPARE_CELLS.set(Some(cells));
        }
    }

    /// Reads everything that the block will read, which brings it into the caches, as the yardstick's copy of its
    /// state does.
    fn read_state(&self) {
        let entries = self.sets().iter().flat_map(AccessSet::entries);
        for entry in entries {
            let StateKey { address, part } = entry.key;
            match part {
                KeyPart::Slot(slot) => drop(black_box(self.view.slot(address, slot))),
                KeyPart::Account | KeyPart::Code => drop(black_box(self.view.account(address))),
            }
        }
    }

    /// The last run's cells, cleared.
    fn fresh_cells(&self) -> StateCells {
        let (view, rules) = (Arc::clone(&self.view), self.context.rules());
        self.read_state();
        match SPARE_CELLS.take() {
            Some(mut cells) => {
                cells.reset(view, rules);
                cells
            }
            None => StateCells::new(view, rules),
        }
    }
}

thread_local! {
    /// The cells of this thread's last run, for their memory: a node hands them from block to block as well.
    static SPARE_CELLS: Cell<Option<StateCells>> = const { Cell::new(None) };
}

/// Keeps the cells of a run for the next one.
fn keep_cells(spent: RecycledBlock<Step>) {
    SPARE_CELLS.set(Some(spent.into_cells()));
}

/// Does work on the clock; the time it took. A function of its own, so that a profile can be of that alone.
#[inline(never)]
pub fn timed<R>(work: impl FnOnce() -> R) -> (Duration, R) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

/// Tasks that are prepared in one go, as in the banking stage.
const CHUNK_TASKS: usize = 32;

fn prepare(block: &OpenBlock<Step>) {
    let tasks = block.transactions().len();
    for first in (0..tasks).step_by(CHUNK_TASKS) {
        let chunk = first..(first + CHUNK_TASKS).min(tasks);
        block.prefetch(chunk.clone());
        for task in chunk.map(TaskId::from_index) {
            let resolved = block.resolve(task);
            resolved.expect("the block ran while it was recorded");
        }
    }
}

type Granted = EvmExecutor<GrantedState<Step>>;

/// Runs steps serially and records what each accesses.
fn record(
    name: &str,
    view: &Arc<dyn StateView>,
    context: &BlockContext,
    steps: &[Step],
) -> Result<(Vec<AccessSet>, Vec<Outcome>), BlockError> {
    let failed = |step: usize, problem: String| BlockError::Step {
        block: name.to_owned(),
        step,
        problem,
    };
    let mut run = SerialRun::recording(context, view);
    for (index, step) in steps.iter().enumerate() {
        let outcome = run.step(step);
        outcome.map_err(|error| failed(index, error.to_string()))?;
    }
    let recorded = run
        .finish()
        .map_err(|error| failed(steps.len(), error.to_string()))?;
    Ok((recorded.sets, recorded.sealed.outcomes))
}

fn sanitized(steps: &[Step], sets: &[AccessSet]) -> Vec<Sanitized<Step>> {
    (steps.iter().zip(sets))
        .map(|(step, access)| Sanitized {
            transaction: step.clone(),
            access: access.clone(),
            declaration: Declaration::Recorded,
        })
        .collect()
}

/// Gas for what a declaration makes warm, and more than that.
const GAS_PER_ENTRY: u64 = 2_400;

/// The same transaction, stating what it touches. What is in its signature is never looked at here:
/// the sender is known.
fn sign(transaction: &EvmTransaction, set: &AccessSet, context: &BlockContext) -> EvmTransaction {
    let sender = transaction.sender();
    let envelope = transaction.envelope();
    let price = envelope.max_fee_per_gas();
    let mut declared = TxDeclared {
        chain_id: context.config().chain_id,
        nonce: envelope.nonce(),
        gas_limit: envelope.gas_limit(),
        max_fee_per_gas: price,
        max_priority_fee_per_gas: envelope.max_priority_fee_per_gas().unwrap_or(price),
        to: envelope.kind(),
        value: envelope.value(),
        access_list: envelope.access_list().cloned().unwrap_or_default(),
        input: envelope.input().clone(),
        ..TxDeclared::default()
    };
    declared.declare(set, sender, context.block().beneficiary);
    let entries = u64::try_from(declared.declared_entries()).unwrap_or(u64::MAX);
    declared.gas_limit = (declared.gas_limit).saturating_add(entries.saturating_mul(GAS_PER_ENTRY));
    let signature = Signature::new(U256::ONE, U256::ONE, false);
    let signed = Signed::new_unhashed(declared, signature);
    EvmTransaction::new(LockweaveTxEnvelope::Declared(signed), sender)
}
