//! One call of a simulation: defaults, its transaction, and its result.

use super::code;
use crate::{
    chain::Envelope,
    rpc::{
        message::{RpcError, code as rpc_code},
        scratch::{self, Scene, ViewError, halted},
    },
};
use alloy_consensus::{Typed2718, TypedTransaction};
use alloy_primitives::{Bytes, Log, Signature, U256};
use alloy_rpc_types_eth::{
    TransactionRequest,
    simulate::{SimCallResult, SimulateError},
};
use lockweave_evm_adapter::EvmTransaction;
use lockweave_runtime::Receipt;
use revm::{
    DatabaseCommit,
    context::{
        TxEnv,
        result::{EVMError, ExecutionResult, InvalidTransaction},
    },
};
use revm_inspectors::transfer::{TRANSFER_LOG_EMITTER, TransferInspector};

pub(crate) struct ExecutedCall {
    pub(crate) transaction: EvmTransaction,
    pub(crate) receipt: Receipt,
    /// Its logs, including transfer logs if requested.
    pub(crate) logs: Vec<Log>,
    pub(crate) result: SimCallResult,
}

/// The position of a call in its block.
#[derive(Clone, Copy, Default)]
pub(crate) struct CallPosition {
    pub(crate) gas_before: u64,
    pub(crate) logs_before: usize,
}

impl CallPosition {
    /// The position after a call.
    pub(crate) fn after(previous: Option<&ExecutedCall>) -> Self {
        previous.map_or_else(Self::default, |call| Self {
            gas_before: call.receipt.cumulative_gas_used,
            logs_before: call.receipt.first_log_index + call.logs.len(),
        })
    }
}

/// Executes a call and keeps its changes. Its gas limit must be set.
pub(crate) fn run(
    scene: &mut Scene,
    chain_id: u64,
    request: &TransactionRequest,
    position: CallPosition,
    trace_transfers: bool,
) -> Result<ExecutedCall, RpcError> {
    let base_fee = scene.block.basefee;
    let mut env = scene.transaction(request, u64::MAX)?;
    scene.block.basefee = base_fee;
    if request.gas_price.is_none() {
        env.tx_type = env.tx_type.max(2);
        env.gas_priority_fee = Some(request.max_priority_fee_per_gas.unwrap_or_default());
    }
    if env.nonce == u64::MAX && !scene.config.disable_nonce_check {
        let error = InvalidTransaction::NonceOverflowInTransaction;
        return Err(refused(EVMError::Transaction(error), env.gas_limit));
    }
    env.chain_id = Some(chain_id);
    let transaction = unsigned(request, &env, chain_id)?;
    let mut inspector = TransferInspector::new(false).with_logs(trace_transfers);
    let gas = env.gas_limit;
    let result = scene.inspect(env, &mut inspector);
    let result = result.map_err(|error| refused(error, gas))?;
    scene.scratch.commit(result.state);
    let gas_used = result.result.tx_gas_used();
    let max_used = gas_used.saturating_add(result.result.gas().final_refunded());
    let (logs, output, error) = match result.result {
        ExecutionResult::Success { logs, output, .. } => (logs, output.into_data(), None),
        ExecutionResult::Revert { output, .. } => {
            let error = SimulateError {
                code: SimulateError::EXECUTION_REVERTED_CODE,
                message: RpcError::reverted(&output).message,
                data: Some(output),
            };
            (Vec::new(), Bytes::new(), Some(error))
        }
        ExecutionResult::Halt { reason, .. } => {
            let error = SimulateError {
                code: SimulateError::VM_EXECUTION_ERROR_CODE,
                message: halted(&reason),
                data: None,
            };
            (Vec::new(), Bytes::new(), Some(error))
        }
    };
    let succeeded = error.is_none();
    // Transfer logs are in the response but not in the receipt.
    let is_real = |log: &&Log| !trace_transfers || log.address != TRANSFER_LOG_EMITTER;
    let real_logs = logs.iter().filter(is_real).cloned().collect();
    Ok(ExecutedCall {
        receipt: Receipt {
            transaction_type: transaction.envelope().ty(),
            succeeded,
            gas_used,
            cumulative_gas_used: position.gas_before.saturating_add(gas_used),
            first_log_index: position.logs_before,
            logs: real_logs,
            created: None,
        },
        transaction,
        logs,
        result: SimCallResult {
            return_data: output,
            logs: Vec::new(),
            gas_used,
            max_used_gas: Some(max_used),
            status: succeeded,
            error,
        },
    })
}

/// A call as an unsigned transaction, of the type that geth chooses. `env` has all its values.
fn unsigned(
    request: &TransactionRequest,
    env: &TxEnv,
    chain_id: u64,
) -> Result<EvmTransaction, RpcError> {
    let is_legacy = request.gas_price.is_some();
    let no_signature = Signature::new(U256::ZERO, U256::ZERO, false);
    let whole = TransactionRequest {
        chain_id: (!is_legacy).then_some(chain_id),
        nonce: Some(env.nonce),
        gas: Some(env.gas_limit),
        max_fee_per_gas: Some(env.gas_price),
        max_priority_fee_per_gas: Some(env.gas_priority_fee.unwrap_or_default()),
        max_fee_per_blob_gas: Some(env.max_fee_per_blob_gas),
        to: Some(env.kind),
        value: Some(env.value),
        access_list: Some(env.access_list.clone()),
        input: env.data.clone().into(),
        sidecar: None,
        ..request.clone()
    };
    let typed = if is_legacy {
        whole.build_legacy().map(TypedTransaction::from)
    } else if request.authorization_list.is_some() {
        whole.build_7702().map(TypedTransaction::from)
    } else if request.blob_versioned_hashes.is_some() {
        (whole.build_4844_without_sidecar()).map(TypedTransaction::from)
    } else {
        whole.build_1559().map(TypedTransaction::from)
    };
    let typed = typed.map_err(|error| RpcError::invalid_params(error.to_string()))?;
    let envelope = Envelope::from(typed.into_envelope(no_signature));
    Ok(EvmTransaction::new(envelope, env.caller))
}

/// Why a call cannot be in a block, with the codes of the specification.
fn refused(error: EVMError<ViewError>, gas: u64) -> RpcError {
    let code = match &error {
        EVMError::Transaction(invalid) => match invalid {
            InvalidTransaction::NonceTooLow { .. } => code::NONCE_TOO_LOW,
            InvalidTransaction::NonceTooHigh { .. } => code::NONCE_TOO_HIGH,
            InvalidTransaction::GasPriceLessThanBasefee => code::BASE_FEE_TOO_LOW,
            InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
            | InvalidTransaction::GasFloorMoreThanGasLimit { .. } => code::INTRINSIC_GAS,
            InvalidTransaction::LackOfFundForMaxFee { .. } => code::INSUFFICIENT_FUNDS,
            InvalidTransaction::CreateInitCodeSizeLimit => code::INIT_CODE_TOO_LARGE,
            InvalidTransaction::NonceOverflowInTransaction => rpc_code::INTERNAL,
            _ => rpc_code::SERVER,
        },
        _ => rpc_code::SERVER,
    };
    RpcError {
        code,
        ..scratch::refused(error, gas)
    }
}
