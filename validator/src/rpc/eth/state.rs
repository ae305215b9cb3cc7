//! Methods about accounts and storage.

use crate::rpc::{
    context::RpcContext,
    message::{Params, Reply, RpcError, reply},
};
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U64, U256, hex, map::HashMap};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use alloy_serde::JsonStorageKey;
use lockweave_runtime::CodeRef;

/// Nonce, balance and code hash where there is no account.
const NO_ACCOUNT: (u64, U256, B256) = (0, U256::ZERO, KECCAK256_EMPTY);
/// Slots in one request at most.
const SLOTS_MAX: usize = 1_024;

pub(crate) fn get_balance(context: &RpcContext, params: &Params<'_>) -> Reply {
    let address: Address = params.required(0, "address")?;
    let (_, state) = context.state(params.optional(1, "block")?)?;
    reply(state.account(address)?.unwrap_or_default().balance)
}

pub(crate) fn get_transaction_count(context: &RpcContext, params: &Params<'_>) -> Reply {
    let address: Address = params.required(0, "address")?;
    let id: Option<BlockId> = params.optional(1, "block")?;
    let (_, state) = context.state(id)?;
    let mut nonce = state.account(address)?.unwrap_or_default().nonce;
    if id == Some(BlockId::Number(BlockNumberOrTag::Pending))
        && let Some(next) = context.node.pool().next_nonce(address)
    {
        nonce = nonce.max(next);
    }
    reply(U64::from(nonce))
}

pub(crate) fn get_code(context: &RpcContext, params: &Params<'_>) -> Reply {
    let address: Address = params.required(0, "address")?;
    let (_, state) = context.state(params.optional(1, "block")?)?;
    let account = state.account(address)?;
    let code = CodeRef::load(&*state, address, account.as_ref())?;
    reply(
        code.get()
            .map(|code| code.bytes().clone())
            .unwrap_or_default(),
    )
}

/// A storage key: up to 32 bytes of hex; the number of digits may be odd.
pub(crate) fn storage_key(text: &str) -> Result<U256, RpcError> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let digits = digits.ok_or_else(|| {
        RpcError::invalid_params(format!("storage key without 0x prefix: {text:?}"))
    })?;
    if digits.len() > 64 {
        return Err(RpcError::invalid_params(format!(
            "storage key too long (want at most 32 bytes): {text:?}"
        )));
    }
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(RpcError::invalid_params(format!(
            "invalid hex in storage key: {text:?}"
        )));
    }
    let even = format!("{digits:0>64}");
    let bytes = hex::decode(even).map_err(|error| RpcError::invalid_params(error.to_string()))?;
    Ok(U256::from_be_slice(&bytes))
}

pub(crate) fn get_storage_at(context: &RpcContext, params: &Params<'_>) -> Reply {
    let address: Address = params.required(0, "address")?;
    let key: String = params.required(1, "storage key")?;
    let slot = storage_key(&key)?;
    let (_, state) = context.state(params.optional(2, "block")?)?;
    reply(B256::from(state.slot(address, slot)?))
}

pub(crate) fn get_storage_values(context: &RpcContext, params: &Params<'_>) -> Reply {
    let wanted: HashMap<Address, Vec<String>> = params.required(0, "slots by address")?;
    let count: usize = wanted.values().map(Vec::len).sum();
    if count == 0 {
        return Err(RpcError::invalid_params("empty request"));
    }
    if count > SLOTS_MAX {
        return Err(RpcError::invalid_params(format!(
            "too many slots: {count}, at most {SLOTS_MAX}"
        )));
    }
    let (_, state) = context.state(params.optional(1, "block")?)?;
    let mut values: HashMap<Address, Vec<B256>> = HashMap::default();
    for (address, keys) in wanted {
        let of_account = values.entry(address).or_default();
        for key in keys {
            of_account.push(state.slot(address, storage_key(&key)?)?.into());
        }
    }
    reply(values)
}

pub(crate) fn get_proof(context: &RpcContext, params: &Params<'_>) -> Reply {
    let address: Address = params.required(0, "address")?;
    let keys: Vec<String> = params.optional(1, "storage keys")?.unwrap_or_default();
    if keys.len() > SLOTS_MAX {
        return Err(RpcError::invalid_params(format!(
            "too many storage keys: {}, at most {SLOTS_MAX}",
            keys.len()
        )));
    }
    let slots = (keys.iter().map(|key| storage_key(key))).collect::<Result<Vec<_>, _>>()?;
    let (block, _) = context.state(params.optional(2, "block")?)?;
    let proof = (context.node.store()).proof_at(block.number(), address, &slots)?;
    let (nonce, balance, code_hash) = proof.account.unwrap_or(NO_ACCOUNT);
    let storage_proof = keys.iter().zip(proof.slots);
    reply(EIP1186AccountProofResponse {
        address,
        balance,
        code_hash,
        nonce,
        storage_hash: proof.storage_root,
        account_proof: proof.proof,
        storage_proof: storage_proof
            .map(|(key, slot)| EIP1186StorageProof {
                key: proof_key(key, slot.slot),
                value: slot.value,
                proof: slot.proof,
            })
            .collect(),
    })
}

/// A proof's key in the form of the request: a number, or 32 bytes.
fn proof_key(text: &str, slot: U256) -> JsonStorageKey {
    if text.len() == 66 {
        JsonStorageKey::Hash(slot.into())
    } else {
        JsonStorageKey::Number(slot)
    }
}

pub(crate) fn get_account(context: &RpcContext, params: &Params<'_>) -> Reply {
    let address: Address = params.required(0, "address")?;
    let (block, _) = context.state(params.optional(1, "block")?)?;
    let proof = (context.node.store()).proof_at(block.number(), address, &[])?;
    let (nonce, balance, code_hash) = proof.account.unwrap_or(NO_ACCOUNT);
    reply(serde_json::json!({
        "balance": balance,
        "nonce": U64::from(nonce),
        "codeHash": code_hash,
        "storageRoot": proof.storage_root,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_keys_come_in_every_length() {
        assert_eq!(storage_key("0x0").unwrap(), U256::ZERO);
        assert_eq!(storage_key("0x").unwrap(), U256::ZERO);
        assert_eq!(storage_key("0xabc").unwrap(), U256::from(0xabc));
        let long = format!("0x{}1", "0".repeat(63));
        assert_eq!(storage_key(&long).unwrap(), U256::from(1));
        for bad in ["7", "0xasdf", &format!("0x{}", "0".repeat(65))] {
            assert_eq!(storage_key(bad).unwrap_err().code, -32_602, "{bad}");
        }
    }
}
