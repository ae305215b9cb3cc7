//! Executing a transaction with its grant: enter, execute, check, leave.

// Enters grants of an open block.
#![allow(unsafe_code)]

use lockweave_runtime::{
    AccessEntry, DenseId, ExecutionError, Executor, GrantedState, OpenBlock, Outcome, TaskId,
    UndoRecord,
};
use std::{mem, sync::Arc};

/// Which keys a transaction holds while it executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantedKeys {
    /// Those of its resolved set.
    OfItsSet,
    /// All keys of the block.
    Everything,
}

/// Calls `execute` with the state in the grant of `task`.
///
/// If `execute` puts another state in the place of this one, the process aborts.
///
/// # Safety
///
/// `state` is a view of `block`, and for the length of the call the contract of
/// [`GrantedState::enter`] or [`GrantedState::enter_everything`] holds for `task`.
#[inline]
pub(crate) unsafe fn with_grant<T, R>(
    state: &mut GrantedState<T>,
    block: &Arc<OpenBlock<T>>,
    task: TaskId,
    keys: GrantedKeys,
    execute: impl FnOnce(&mut GrantedState<T>) -> R,
) -> R {
    // SAFETY: the caller guarantees it until this function returns. The state leaves the grant below, or
    // the process ends. If `execute` panics, the worker drops the state with the panic.
    unsafe {
        match keys {
            GrantedKeys::OfItsSet => state.enter(task),
            GrantedKeys::Everything => state.enter_everything(task),
        }
    }
    let result = execute(state);
    if !state.is_entered(block, task) {
        // The executor kept the state and left another in its place. From now on any thread could use it
        // without a grant, and it cannot be revoked.
        std::process::abort();
    }
    state.leave();
    result
}

/// What executing a transaction alone has shown.
pub(crate) struct AloneExecution<I: std::error::Error> {
    pub(crate) result: Result<Outcome, ExecutionError<I>>,
    pub(crate) touched: Vec<AccessEntry>,
    pub(crate) undo: UndoRecord,
}

/// Executes a transaction with a grant of everything while no run is on.
///
/// # Panics
///
/// If the block is shared.
pub(crate) fn execute_alone<T, E>(
    block: &mut Arc<OpenBlock<T>>,
    executor: &mut E,
    task: TaskId,
) -> AloneExecution<E::Invalid>
where
    E: Executor<GrantedState<T>, Transaction = T>,
{
    assert!(Arc::get_mut(block).is_some(), "no run is on");
    let block = &*block;
    let mut state = GrantedState::new(Arc::clone(block));
    state.keep_undo();
    let execute = |state: &mut GrantedState<T>| {
        executor.execute(&block.transactions()[task.index()].transaction, state)
    };
    // SAFETY: the assertion above has shown that this reference to the block is the only one, and it is
    // borrowed exclusively; so no other state uses its cells. Uniqueness also orders memory: what others
    // did to cells happened before they dropped their references.
    let result = unsafe { with_grant(&mut state, block, task, GrantedKeys::Everything, execute) };
    AloneExecution {
        result,
        touched: mem::take(state.touched()),
        undo: state.take_undo(),
    }
}
