//! Execution by block access list (EIP-7928): every transaction at once, without locks.
//!
//! A list states the values that every transaction finds: those that the transactions before it left
//! behind. So each transaction runs on a state of its own. Afterwards the effects of all transactions
//! are made into a list again, which must equal the given one.
//!
//! **Why this is enough.** The first transaction runs on the true state. If the lists are equal, the
//! list is right about the first transaction's changes, so the second one ran on the true state too,
//! and so on.

use crate::{
    core::{Core, Settings},
    error::{EngineError, InvalidAccessList},
    serial::build_access_list,
};
use alloy_consensus::Header;
use alloy_eips::eip7928::{
    AccountChanges, ITEM_COST, compute_block_access_list_hash, total_bal_items,
    validate_block_access_list,
};
use alloy_primitives::Address;
use lockweave_banking_stage::{Access, Grant, StageError, Workload};
use lockweave_evm_adapter::{
    EvmBlock, EvmExecutor, InvalidStep, ListedState, SpecId, Step, StepEffects,
};
use lockweave_runtime::{
    DenseId, ExecutionError, Executor, Outcome, SealedBlock, SerialState, StateView, TaskId,
};
use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

/// Checks a list's form against its block: order, indices and size; and its hash, where the header
/// commits to a list.
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

/// Whether a list can describe every block of this fork. Before Cancun storage can vanish (EIP-6780),
/// which a list cannot say.
pub fn can_be_listed(fork: SpecId) -> bool {
    fork.is_enabled_in(SpecId::CANCUN)
}

/// Executes a block by its list.
pub(crate) fn execute(
    engine: &Core,
    block: &EvmBlock,
    view: &Arc<dyn StateView>,
    list: &[AccountChanges],
) -> Result<SealedBlock, EngineError> {
    check_access_list(block.header(), block.transactions(), list)?;
    let groups = groups(block);
    let workload = ListedBlock {
        results: groups.iter().map(|_| OnceLock::new()).collect(),
        groups,
        state: Arc::new(ListedState::new(Arc::clone(view), list)),
        block: block.clone(),
        settings: Arc::clone(&engine.settings),
    };
    let (workload, result) = engine.stage.run(workload);
    if let Err(error) = result {
        return Err(match error {
            StageError::Task { task, source } => {
                EngineError::of_step(workload.groups[task.index()].start, source)
            }
            error => error.into(),
        });
    }
    let groups = workload.results.into_iter();
    let (outcomes, effects): (Vec<_>, Vec<_>) = groups
        .flat_map(|group| group.into_inner().expect("a run without an error ran all"))
        .unzip();
    let (built, delta) = build_access_list(block, view, &outcomes, &effects)?;
    if let Some(address) = difference(list, &built) {
        return Err(InvalidAccessList::Account { address }.into());
    }
    Ok(SealedBlock { outcomes, delta })
}

/// The first account in which two lists differ.
fn difference(stated: &[AccountChanges], built: &[AccountChanges]) -> Option<Address> {
    let same = (stated.iter().zip(built))
        .take_while(|(stated, built)| stated == built)
        .count();
    let next = |list: &[AccountChanges]| list.get(same).map(|account| account.address);
    // Both lists are sorted, so the other list lacks the lower address.
    match (next(stated), next(built)) {
        (Some(stated), Some(built)) => Some(stated.min(built)),
        (stated, built) => stated.or(built),
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
    settings: Arc<Settings>,
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
        let mut executor = EvmExecutor::new(self.block.context())
            .with_precompiles(self.settings.precompiles.iter().cloned());
        executor.record_effects(true);
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
        steps
            .iter()
            .map(Step::gas_hint)
            .fold(0, u64::saturating_add)
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
