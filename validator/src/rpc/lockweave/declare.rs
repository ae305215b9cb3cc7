//! `lockweave_declareAccess`: the keys that a call reads, writes and credits.

use crate::{
    chain::{Envelope, declaring},
    rpc::{
        context::RpcContext,
        message::{Params, Reply, RpcError, reply},
    },
};
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Signature, U64, U256};
use alloy_rpc_types_eth::TransactionRequest;
use lockweave_evm_adapter::{BlockContext, EvmExecutor, EvmTransaction, Step, TxDeclared};
use lockweave_runtime::{
    AccessMode, AccessSet, ExecutionError, Executor, INFERRED_KEYS_MAX, KeyPart, Recording,
    SerialState,
};
use serde::Serialize;
use serde_json::json;

/// The keys of one account in one mode.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfAccount {
    address: Address,
    /// Nonce and balance.
    account: bool,
    /// The code hash.
    code: bool,
    storage_keys: Vec<B256>,
}

fn keys_in(set: &AccessSet, mode: AccessMode) -> Vec<OfAccount> {
    let mut keys: Vec<OfAccount> = Vec::new();
    for entry in set.entries().iter().filter(|entry| entry.mode == mode) {
        let address = entry.key.address;
        if keys.last().is_none_or(|last| last.address != address) {
            keys.push(OfAccount {
                address,
                account: false,
                code: false,
                storage_keys: Vec::new(),
            });
        }
        let last = keys.last_mut().expect("one was pushed");
        match entry.key.part {
            KeyPart::Account => last.account = true,
            KeyPart::Code => last.code = true,
            KeyPart::Slot(slot) => last.storage_keys.push(slot.into()),
        }
    }
    keys
}

/// Executes a call once and returns the keys that it reads, writes and credits.
pub(crate) fn declare_access(context: &RpcContext, params: &Params<'_>) -> Reply {
    let request: TransactionRequest = params.required(0, "call")?;
    let id: Option<BlockId> = params.optional(1, "block")?;
    let (block, state) = context.state(id)?;
    let sender = request.from.unwrap_or_default();
    let account = state.account(sender)?.unwrap_or_default();
    let base_fee = u128::from(block.header.base_fee_per_gas.unwrap_or_default());
    let max_fee = request.max_fee_per_gas.or(request.gas_price);
    let unsigned = TxEip1559 {
        chain_id: context.node.chain().chain_id,
        nonce: request.nonce.unwrap_or(account.nonce),
        gas_limit: request
            .gas
            .unwrap_or(context.config.gas_cap)
            .min(context.config.gas_cap),
        max_fee_per_gas: max_fee.unwrap_or(base_fee),
        max_priority_fee_per_gas: request.max_priority_fee_per_gas.unwrap_or_default(),
        to: request.to.unwrap_or_default(),
        value: request.value.unwrap_or_default(),
        access_list: request.access_list.clone().unwrap_or_default(),
        input: request.input.input().cloned().unwrap_or_default(),
    };
    // The signature is not checked: the request names the sender.
    let unchecked = Signature::new(U256::ZERO, U256::ZERO, false);
    let envelope = Envelope::from(unsigned.into_signed(unchecked));
    let rules = BlockContext::new(context.node.chain(), &block.header);
    let mut recording = Recording::new(SerialState::new(state, rules.rules()));
    let mut executor = EvmExecutor::<Recording<SerialState>>::new(&rules);
    let transaction = EvmTransaction::new(envelope, sender);
    let step = Step::Transaction(transaction.clone());
    let outcome = executor.execute(&step, &mut recording);
    let outcome = outcome.map_err(|error| match error {
        ExecutionError::Invalid(invalid) => RpcError::server(invalid.to_string()),
        ExecutionError::Access(error) => RpcError::internal(error.to_string()),
    })?;
    let set = recording.take_access(INFERRED_KEYS_MAX);
    let set = set.map_err(|error| RpcError::limit(error.to_string()))?;
    let chain = context.node.chain();
    let declared = declaring(chain, &transaction, &set, block.header.beneficiary);
    let credits: Vec<Address> = (set.entries().iter())
        .filter(|entry| entry.mode == AccessMode::Credit)
        .map(|entry| entry.key.address)
        .collect();
    reply(json!({
        "keys": set.entries().len(),
        "reads": keys_in(&set, AccessMode::Read),
        "writes": keys_in(&set, AccessMode::Write),
        "credits": credits,
        "gasUsed": U64::from(outcome.gas_used),
        "status": U64::from(outcome.is_success()),
        "output": outcome.output,
        "transaction": unsigned_json(&declared),
    }))
}

/// An unsigned transaction of type 0x44.
fn unsigned_json(transaction: &TxDeclared) -> serde_json::Value {
    let mut value = serde_json::to_value(transaction).unwrap_or_default();
    value["type"] = json!("0x44");
    value
}
