//! `eth_call`, `eth_estimateGas` and `eth_createAccessList`.

use crate::rpc::{
    context::RpcContext,
    message::{Params, Reply, RpcError, reply},
    scratch::{Deadline, Scene, halted, refused, state_failed},
};
use alloy_eips::eip2930::AccessListResult;
use alloy_primitives::{B256, KECCAK256_EMPTY, U64, U256};
use alloy_rpc_types_eth::TransactionRequest;
use revm::{
    context::{TxEnv, result::ExecutionResult},
    database_interface::DatabaseRef,
    primitives::TxKind,
};
use revm_inspectors::access_list::AccessListInspector;

/// Gas of a plain transfer.
const TRANSFER_GAS: u64 = 21_000;
/// Gas that a call with value gets for free.
const CALL_STIPEND: u64 = 2_300;
/// Executions of `eth_createAccessList` at most; a list that still changes then is an error.
const ACCESS_LIST_RUNS_MAX: usize = 8;

fn call_scene(context: &RpcContext, params: &Params<'_>) -> Result<Scene, RpcError> {
    context.scene(
        params.optional(1, "block")?,
        params.optional(2, "state overrides")?,
        params.optional(3, "block overrides")?,
    )
}

pub(crate) fn call(context: &RpcContext, params: &Params<'_>) -> Reply {
    let request: TransactionRequest = params.required(0, "call")?;
    let mut scene = call_scene(context, params)?;
    let transaction = scene.transaction(&request, context.config.gas_cap)?;
    let result = scene.call(transaction, context.config.call_timeout)?;
    match result.result {
        ExecutionResult::Success { output, .. } => reply(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(RpcError::reverted(&output)),
        ExecutionResult::Halt { reason, .. } => Err(RpcError::server(halted(&reason))),
    }
}

pub(crate) fn estimate_gas(context: &RpcContext, params: &Params<'_>) -> Reply {
    let request: TransactionRequest = params.required(0, "call")?;
    let mut scene = call_scene(context, params)?;
    let block_gas = scene.block.gas_limit;
    let cap = context.config.gas_cap.min(block_gas.max(TRANSFER_GAS));
    let transaction = scene.transaction(&request, cap)?;
    let limit = affordable(&mut scene, &transaction)?;
    let transaction = TxEnv {
        gas_limit: limit,
        ..transaction
    };
    if is_plain_transfer(&mut scene, &transaction)? && limit >= TRANSFER_GAS {
        let attempt = TxEnv {
            gas_limit: TRANSFER_GAS,
            ..transaction.clone()
        };
        let result = scene.call(attempt, context.config.call_timeout)?;
        if result.result.is_success() {
            return reply(U64::from(TRANSFER_GAS));
        }
    }
    let deadline = Deadline::within(context.config.call_timeout);
    let result = scene.call(transaction.clone(), context.config.call_timeout)?;
    let used = match result.result {
        ExecutionResult::Success { gas, .. } => gas,
        ExecutionResult::Revert { output, .. } => return Err(RpcError::reverted(&output)),
        ExecutionResult::Halt { reason, .. } => {
            let reason = halted(&reason);
            return Err(RpcError::server(if reason == "out of gas" {
                format!("gas required exceeds allowance ({limit})")
            } else {
                reason
            }));
        }
    };
    let gas_used = used.tx_gas_used();
    let needed = gas_used.saturating_add(used.final_refunded());
    // A call passes on all but a 64th of its gas (EIP-150).
    let optimistic = (needed.saturating_add(CALL_STIPEND)).saturating_mul(64) / 63;
    let mut too_little = gas_used.saturating_sub(1);
    let mut enough = limit;
    let mut guess = optimistic;
    // The same tolerance as geth's: 1.5 %.
    while too_little + 1 < enough && (enough - too_little) > enough / 67 {
        deadline.check()?;
        guess = guess.clamp(too_little + 1, enough - 1);
        let attempt = TxEnv {
            gas_limit: guess,
            ..transaction.clone()
        };
        let timeout = context.config.call_timeout;
        let suffices = match scene.call(attempt, timeout) {
            Ok(result) => result.result.is_success(),
            // Less than the intrinsic gas.
            Err(error) if error.message.contains("gas") => false,
            Err(error) => return Err(error),
        };
        if suffices {
            enough = guess;
        } else {
            too_little = guess;
        }
        guess = (too_little.saturating_mul(2)).min(too_little.midpoint(enough));
    }
    reply(U64::from(enough))
}

/// The gas limit that the sender can pay for; the given one if the price is zero.
fn affordable(scene: &mut Scene, transaction: &TxEnv) -> Result<u64, RpcError> {
    if transaction.gas_price == 0 {
        return Ok(transaction.gas_limit);
    }
    let sender = scene
        .scratch
        .load_account(transaction.caller)
        .map_err(state_failed)?;
    let balance = sender.info.balance;
    let Some(for_gas) = balance.checked_sub(transaction.value) else {
        return Err(RpcError::server(format!(
            "insufficient funds for gas * price + value: have {balance} want {}",
            transaction.value
        )));
    };
    let allowance = for_gas / U256::from(transaction.gas_price);
    Ok(transaction.gas_limit.min(allowance.saturating_to()))
}

/// Whether it costs what a plain transfer costs: no code runs, and nothing else is charged.
fn is_plain_transfer(scene: &mut Scene, transaction: &TxEnv) -> Result<bool, RpcError> {
    let TxKind::Call(recipient) = transaction.kind else {
        return Ok(false);
    };
    let costs_more = !transaction.data.is_empty()
        || !transaction.access_list.is_empty()
        || !transaction.authorization_list.is_empty();
    if costs_more {
        return Ok(false);
    }
    let account = scene.scratch.basic_ref(recipient).map_err(state_failed)?;
    Ok(account.is_none_or(|account| account.code_hash == KECCAK256_EMPTY))
}

pub(crate) fn create_access_list(context: &RpcContext, params: &Params<'_>) -> Reply {
    let request: TransactionRequest = params.required(0, "call")?;
    let mut scene = call_scene(context, params)?;
    let mut transaction = scene.transaction(&request, context.config.gas_cap)?;
    let deadline = Deadline::within(context.config.call_timeout);
    let mut list = transaction.access_list.clone();
    for _ in 0..ACCESS_LIST_RUNS_MAX {
        deadline.check()?;
        transaction.access_list = list.clone();
        if transaction.tx_type == 0 {
            transaction.tx_type = 1;
        }
        let mut inspector = AccessListInspector::new(list.clone());
        let mut limit = Deadline::within(context.config.call_timeout);
        let gas = transaction.gas_limit;
        let result = scene
            .inspect(transaction.clone(), (&mut limit, &mut inspector))
            .map_err(|error| refused(error, gas))?;
        limit.check()?;
        let mut found = inspector.into_access_list();
        for item in &mut found.0 {
            item.storage_keys.sort_unstable();
        }
        found.0.retain(|item| !is_implied(&transaction, item));
        found.0.sort_unstable_by_key(|item| item.address);
        let is_stable = found == list;
        list = found;
        if is_stable {
            return reply(AccessListResult {
                access_list: list,
                gas_used: U256::from(result.result.tx_gas_used()),
                error: match result.result {
                    ExecutionResult::Success { .. } => None,
                    ExecutionResult::Revert { .. } => Some("execution reverted".to_owned()),
                    ExecutionResult::Halt { reason, .. } => Some(halted(&reason)),
                },
            });
        }
    }
    Err(RpcError::server(
        "the access list changes with every run; the call depends on the gas it has left",
    ))
}

/// Sender and recipient are warm anyway; listing them without slots only costs gas.
fn is_implied(transaction: &TxEnv, item: &alloy_eips::eip2930::AccessListItem) -> bool {
    let is_end =
        item.address == transaction.caller || transaction.kind == TxKind::Call(item.address);
    let no_keys: &[B256] = &[];
    is_end && item.storage_keys == no_keys
}
