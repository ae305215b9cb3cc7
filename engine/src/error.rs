//! Why a block is not executed.

use alloy_eips::eip7928::BlockAccessListValidationError;
use alloy_primitives::{Address, B256};
use lockweave_banking_stage::StageError;
use lockweave_evm_adapter::{EvmBlockError, InvalidStep};
use lockweave_runtime::{AccessError, ExecutionError, SealError, StateError};
use thiserror::Error;

/// Why an access list is not that of its block (EIP-7928).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidAccessList {
    /// Entries are out of order, duplicated, or name transactions that the block does not have.
    #[error("the block access list is malformed: {0}")]
    Malformed(#[from] BlockAccessListValidationError),
    /// The list has more accounts and slots than the block's gas limit allows.
    #[error("the block access list has {items} accounts and slots, more than {max}")]
    TooLarge {
        /// Accounts and slots in the list.
        items: u64,
        /// The most that the gas limit allows.
        max: u64,
    },
    /// The header commits to another list.
    #[error("the header's blockAccessListHash is {stated}, but the list's is {computed}")]
    Hash {
        /// The hash in the header.
        stated: B256,
        /// The hash of the list.
        computed: B256,
    },
    /// Execution gives another entry for an account.
    #[error("the block access list is wrong about {address}")]
    Account {
        /// The first account with a wrong, missing or surplus entry.
        address: Address,
    },
}

/// Why a block is not executed.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The header lacks a field of its fork, or has one that the fork does not know.
    #[error(transparent)]
    Layout(#[from] EvmBlockError),
    /// The block's access list is wrong.
    #[error(transparent)]
    List(#[from] InvalidAccessList),
    /// A step is invalid at its place in the block. In an execution by access list, a wrong list can
    /// be the cause.
    #[error("step {index}: {source}")]
    Step {
        /// The step's position in [`EvmBlock::steps`](lockweave_evm_adapter::EvmBlock::steps).
        index: usize,
        /// The reason.
        source: InvalidStep,
    },
    /// A step accessed a key outside its recorded set, or the state before the block cannot be read.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The number of access sets is not the number of steps.
    #[error(
        "the block has {steps} steps, but {sets} access sets were given; give one for each step"
    )]
    SetCount {
        /// Steps of the block.
        steps: usize,
        /// Sets that were given.
        sets: usize,
    },
    /// A transaction has no signed access set.
    #[error(
        "step {index} signs no access set; use `Access::Inferred` for blocks that have such steps"
    )]
    Unsigned {
        /// The step's position in the block.
        index: usize,
    },
    /// An access list needs the block's header.
    #[error("access lists need a block with a header; use `Engine::run`, not `Engine::run_steps`")]
    NoHeader,
    /// A block that is executed by its access list has no invalid transactions to skip.
    #[error(
        "`Access::Listed` and `skip_invalid` exclude each other: a list is that of valid blocks"
    )]
    SkipByList,
    /// The block's changes cannot be gathered.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The worker threads failed.
    #[error("the worker threads failed: {0}")]
    Stage(String),
}

impl EngineError {
    pub(crate) fn of_step(index: usize, error: ExecutionError<InvalidStep>) -> Self {
        match error {
            ExecutionError::Invalid(source) => Self::Step { index, source },
            ExecutionError::Access(error) => Self::Access(error),
        }
    }
}

impl From<StageError<ExecutionError<InvalidStep>>> for EngineError {
    fn from(error: StageError<ExecutionError<InvalidStep>>) -> Self {
        match error {
            StageError::Task { task, source } => {
                Self::of_step(lockweave_runtime::DenseId::index(task), source)
            }
            error => Self::Stage(error.to_string()),
        }
    }
}

impl From<StateError> for EngineError {
    fn from(error: StateError) -> Self {
        Self::Access(AccessError::State(error))
    }
}
