//! revm's results and errors in the runtime's form.

use super::{error::InvalidStep, handler::MachineError};
use alloy_primitives::Bytes;
use lockweave_runtime::{AccessError, ExecutionError, Outcome, OutcomeKind, Status};
use revm::context::result::{EVMError, ExecutionResult, HaltReason, Output};

/// revm's error in the runtime's form.
pub(super) fn execution_error(error: MachineError) -> ExecutionError<InvalidStep> {
    match error {
        EVMError::Database(error) => ExecutionError::Access(AccessError::from(error)),
        EVMError::Transaction(invalid) => {
            ExecutionError::Invalid(InvalidStep::Transaction(invalid))
        }
        EVMError::Header(invalid) => {
            ExecutionError::Invalid(InvalidStep::Header(invalid.to_string()))
        }
        other => ExecutionError::Invalid(InvalidStep::Other(other.to_string())),
    }
}

/// revm's result in the runtime's form.
pub(super) fn outcome(kind: OutcomeKind, result: ExecutionResult<HaltReason>) -> Outcome {
    let gas_used = result.tx_gas_used();
    let ended = |status, logs, output, created| Outcome {
        kind,
        status,
        gas_used,
        logs,
        output,
        created,
    };
    match result {
        ExecutionResult::Success { logs, output, .. } => match output {
            Output::Call(output) => ended(Status::Succeeded, logs, output, None),
            Output::Create(output, created) => ended(Status::Succeeded, logs, output, created),
        },
        ExecutionResult::Revert { output, logs, .. } => ended(Status::Reverted, logs, output, None),
        ExecutionResult::Halt { reason, logs, .. } => ended(
            Status::Halted(format!("{reason:?}")),
            logs,
            Bytes::new(),
            None,
        ),
    }
}
