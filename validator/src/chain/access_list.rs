//! Blocks with an access list (EIP-7928): building the list while a block runs under locks, and
//! running a block by its list, without any.
//!
//! A list says what every transaction finds: the values that those before it left behind. So all can
//! run at once, each on a state of its own. Whether the list was right comes out at the end: what the
//! transactions did is made into a list again, and it must be the same. The first transaction found
//! the true state; so what the list says of its changes is true if the lists are equal, and the second
//! found the true state too, and so on.

use alloy_consensus::Header;
use alloy_eips::eip7928::{
    AccountChanges, BlockAccessList, BlockAccessListValidationError, ITEM_COST,
    compute_block_access_list_hash, total_bal_items, validate_block_access_list,
};
use alloy_primitives::{Address, B256};
use lockweave_banking_stage::{
    Access, BankingStage, Grant, StageError, Workload, execute_block, seal_block,
};
use lockweave_evm_adapter::{
    AccessListBuilder, BlockEffects, EffectsExecutor, EvmBlock, EvmExecutor, InvalidStep,
    ListedState, PlacedStep, SpecId, StepEffects,
};
use lockweave_runtime::{
    AccessError, AccessSet, Declaration, DenseId, ExecutionError, Executor, GrantedState,
    OpenBlock, Outcome, Sanitized, SealError, SealedBlock, SerialState, StateDelta, StateView,
    TaskId,
};
use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};
use thiserror::Error;

/// Why an access list is not that of its block.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidAccessList {
    /// Entries are not in order, doubled, or of transactions that are not there.
    #[error("the block access list is malformed: {0}")]
    Malformed(#[from] BlockAccessListValidationError),
    /// The list has more accounts and slots than the block's gas limit allows.
    #[error("the block access list has {items} accounts and slots, more than {max}")]
    TooLarge {
        /// Accounts and slots.
        items: u64,
        /// How many there may be.
        max: u64,
    },
    /// The header commits to another list.
    #[error("the header's blockAccessListHash is {stated}, but the list's is {computed}")]
    Hash {
        /// What the header says.
        stated: B256,
        /// The list's.
        computed: B256,
    },
    /// An account is missing in the list, or too much, or did other things.
    #[error("the block access list is wrong about {address}")]
    Account {
        /// The first account in which it is wrong.
        address: Address,
    },
}

/// Why a block was not run.
#[derive(Debug, Error)]
pub enum ListError {
    /// The list is not the block's.
    #[error(transparent)]
    List(#[from] InvalidAccessList),
    /// A step may not be where it is. By a list, that may be the list's fault.
    #[error("step {index}: {source}")]
    Step {
        /// Its place among the block's steps.
        index: usize,
        /// What is wrong with it.
        source: InvalidStep,
    },
    /// A step reached for what it does not hold, or the state failed.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The changes cannot be gathered.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The worker threads failed.
    #[error("the worker threads failed: {0}")]
    Stage(String),
}

/// Holds a list's form against its block: order, indices and size; and, where the header commits to a
/// list, its hash.
pub fn check_access_list(
    header: &Header,
    transactions: usize,
    list: &[AccountChanges],
) -> Result<(), InvalidAccessList> {
    validate_block_access_list(list, transactions)?;
    let (items, max) = (total_bal_items(list), header.gas_limit / ITEM_COST as u64);
    if items > max {
        return Err(InvalidAccessList::TooLarge { items, max });
    }
    let computed = compute_block_access_list_hash(list);
    match header.block_access_list_hash {
        Some(stated) if stated != computed => Err(InvalidAccessList::Hash { stated, computed }),
        _ => Ok(()),
    }
}

/// The first account in which two lists differ.
fn difference(stated: &[AccountChanges], built: &[AccountChanges]) -> Option<Address> {
    let same = (stated.iter().zip(built))
        .take_while(|(stated, built)| stated == built)
        .count();
    let next = |list: &[AccountChanges]| list.get(same).map(|account| account.address);
    // Both are in order, so the lower one is missing in the other.
    match (next(stated), next(built)) {
        (Some(stated), Some(built)) => Some(stated.min(built)),
        (stated, built) => stated.or(built),
    }
}

/// Makes the list and the changes out of what the steps did.
fn build(
    block: &EvmBlock,
    view: &Arc<dyn StateView>,
    effects: impl IntoIterator<Item = StepEffects>,
) -> Result<(BlockAccessList, StateDelta), AccessError> {
    let mut builder = AccessListBuilder::new(Arc::clone(view), block.context().rules());
    for (step, effects) in effects.into_iter().enumerate() {
        builder.add(block.access_index(step), &effects)?;
    }
    builder.finish()
}

/// Builds the access list of a block by running it on one thread.
pub fn list_serially(
    block: &EvmBlock,
    view: &Arc<dyn StateView>,
) -> Result<BlockAccessList, ListError> {
    let mut state = SerialState::new(Arc::clone(view), block.context().rules());
    let mut executor = EvmExecutor::<SerialState>::new(block.context());
    executor.record_effects();
    let mut effects = Vec::with_capacity(block.steps().len());
    for (index, step) in block.steps().iter().enumerate() {
        match executor.execute(step, &mut state) {
            Ok(_) => effects.push(executor.take_effects()),
            Err(ExecutionError::Invalid(source)) => return Err(ListError::Step { index, source }),
            Err(ExecutionError::Access(error)) => return Err(error.into()),
        }
    }
    Ok(build(block, view, effects)?.0)
}

/// Whether a list can say everything a block of this fork does: from Cancun on storage does not vanish
/// any more (EIP-6780).
pub fn can_be_listed(fork: SpecId) -> bool {
    fork.is_enabled_in(SpecId::CANCUN)
}

/// Runs a block under locks on these sets, one for each step, and builds its access list.
pub fn execute_and_list(
    stage: &BankingStage,
    block: &EvmBlock,
    view: &Arc<dyn StateView>,
    sets: &[AccessSet],
) -> Result<(SealedBlock, BlockAccessList), ListError> {
    let steps = block.steps();
    let transactions = (steps.iter().zip(sets).enumerate())
        .map(|(index, (step, access))| Sanitized {
            transaction: PlacedStep {
                index,
                step: step.clone(),
            },
            access: access.clone(),
            declaration: Declaration::Recorded,
        })
        .collect();
    let effects = Arc::new(BlockEffects::new(steps.len()));
    let open = OpenBlock::new(Arc::clone(view), block.context().rules(), transactions);
    let (context, noted) = (block.context().clone(), Arc::clone(&effects));
    // An executor of an earlier block would put its effects there.
    let make = move |_: Option<EffectsExecutor<GrantedState<PlacedStep>>>| {
        EffectsExecutor::new(&context, Arc::clone(&noted))
    };
    let (open, result) = execute_block(stage, open, make, PlacedStep::gas_hint);
    result.map_err(failure)?;
    let (sealed, _) = seal_block(stage, open)?;
    let effects = (0..steps.len()).map(|step| effects.take(step));
    let (list, _) = build(block, view, effects)?;
    Ok((sealed, list))
}

/// Runs a block by its list: all transactions at once, none waiting for another.
///
/// The result is that of running them one after another, or the list is refused.
pub fn execute_listed(
    stage: &BankingStage,
    block: &EvmBlock,
    view: &Arc<dyn StateView>,
    list: &[AccountChanges],
) -> Result<SealedBlock, ListError> {
    check_access_list(block.header(), block.transactions(), list)?;
    let listed = Arc::new(ListedState::new(Arc::clone(view), list));
    let groups = groups(block);
    let workload = ListedBlock {
        results: groups.iter().map(|_| OnceLock::new()).collect(),
        groups,
        state: listed,
        block: block.clone(),
    };
    let (workload, result) = stage.run(workload);
    result.map_err(failure)?;
    let (mut outcomes, mut effects) = (Vec::new(), Vec::new());
    for group in workload.results {
        let group = group.into_inner().expect("a run without an error ran all");
        for (outcome, step) in group {
            outcomes.push(outcome);
            effects.push(step);
        }
    }
    let (built, delta) = build(block, view, effects)?;
    if let Some(address) = difference(list, &built) {
        return Err(InvalidAccessList::Account { address }.into());
    }
    Ok(SealedBlock { outcomes, delta })
}

fn failure(error: StageError<ExecutionError<InvalidStep>>) -> ListError {
    match error {
        StageError::Task { task, source } => match source {
            ExecutionError::Invalid(source) => ListError::Step {
                index: task.index(),
                source,
            },
            ExecutionError::Access(error) => ListError::Access(error),
        },
        error => ListError::Stage(error.to_string()),
    }
}

/// The steps of each index of the list: those before the transactions, each transaction, those after.
fn groups(block: &EvmBlock) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for step in 0..block.steps().len() {
        match groups.last_mut() {
            Some(group) if block.access_index(group.start) == block.access_index(step) => {
                group.end = step + 1;
            }
            _ => groups.push(step..step + 1),
        }
    }
    groups
}

/// A block by its list, as tasks without locks.
struct ListedBlock {
    block: EvmBlock,
    state: Arc<ListedState>,
    groups: Vec<Range<usize>>,
    results: Vec<OnceLock<Vec<(Outcome, StepEffects)>>>,
}

impl Workload for ListedBlock {
    type Worker = EvmExecutor<SerialState>;
    type Error = ExecutionError<InvalidStep>;

    fn tasks(&self) -> usize {
        self.groups.len()
    }

    fn enter(&self, _worker: usize) -> Self::Worker {
        let mut executor = EvmExecutor::new(self.block.context());
        executor.record_effects();
        executor
    }

    fn prepare(&self, _worker: &mut Self::Worker, _task: TaskId) -> Result<(), Self::Error> {
        Ok(())
    }

    fn access(&self, _task: TaskId) -> Access<'_> {
        Access::Keys(&[])
    }

    fn cost(&self, task: TaskId) -> u64 {
        let steps = &self.block.steps()[self.groups[task.index()].clone()];
        (steps.iter().map(lockweave_evm_adapter::Step::gas_hint)).fold(0, u64::saturating_add)
    }

    fn execute(&self, executor: &mut Self::Worker, grant: &Grant<'_>) -> Result<(), Self::Error> {
        let task = grant.task().index();
        let group = self.groups[task].clone();
        let index = self.block.access_index(group.start);
        let view = Arc::new(Arc::clone(&self.state).before(index));
        let mut state = SerialState::new(view, self.block.context().rules());
        let mut results = Vec::with_capacity(group.len());
        for step in &self.block.steps()[group] {
            let outcome = executor.execute(step, &mut state)?;
            results.push((outcome, executor.take_effects()));
        }
        let first = self.results[task].set(results);
        debug_assert!(first.is_ok(), "a task runs once");
        Ok(())
    }
}
