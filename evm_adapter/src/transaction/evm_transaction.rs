//! Transactions ready to run.

use super::envelope::LockweaveTxEnvelope;
use alloy_consensus::{Transaction as _, TxType, Typed2718};
use alloy_primitives::{Address, B256};
use lockweave_runtime::{AccessMode, AccessSet, AccessSetError, INFERRED_KEYS_MAX, StateKey};
use revm::context::{TxEnv, either::Either};
use std::sync::Arc;

/// A transaction with its sender: recovered once, ready to run.
#[derive(Clone, Debug)]
pub struct EvmTransaction {
    envelope: Arc<LockweaveTxEnvelope>,
    env: Arc<TxEnv>,
    /// Estimated gas of its instructions; at most its gas limit unless set. It is stored inline because the scheduler
    /// reads it often.
    gas_estimate: u64,
    /// Its EIP-2718 type; inline for the same reason.
    transaction_type: u8,
    /// The access set that its sender signed, or why it is invalid.
    declared: Option<Arc<Result<AccessSet, AccessSetError>>>,
}

impl EvmTransaction {
    /// The same transaction with this estimate of its gas: from an earlier execution, or of others like
    /// it.
    #[must_use]
    pub const fn with_gas_estimate(mut self, gas: u64) -> Self {
        self.gas_estimate = gas;
        self
    }

    /// A transaction and the sender its signature gives.
    pub fn new(envelope: impl Into<LockweaveTxEnvelope>, sender: Address) -> Self {
        let envelope = envelope.into();
        let env = Arc::new(environment(&envelope, sender));
        let declared = envelope.as_declared();
        Self {
            gas_estimate: gas_estimate(&env),
            transaction_type: envelope.ty(),
            declared: declared.map(|transaction| Arc::new(transaction.tx().access_set(sender))),
            envelope: Arc::new(envelope),
            env,
        }
    }

    /// The access set that its sender signed, without the block's beneficiary; `None` for a transaction that signs
    /// none.
    pub fn declared(&self) -> Option<&Result<AccessSet, AccessSetError>> {
        self.declared.as_deref()
    }

    /// The signed transaction.
    pub fn envelope(&self) -> &LockweaveTxEnvelope {
        &self.envelope
    }

    /// Its EIP-2718 type.
    pub const fn transaction_type(&self) -> u8 {
        self.transaction_type
    }

    /// Its sender.
    pub fn sender(&self) -> Address {
        self.env.caller
    }

    /// Its hash.
    pub fn hash(&self) -> B256 {
        *self.envelope.tx_hash()
    }

    /// The access set that its sender signed, with the fee to `beneficiary`; `None` if there is none or it is
    /// invalid.
    pub fn signed_access(&self, beneficiary: Address) -> Option<AccessSet> {
        let declared = self.declared()?.as_ref().ok()?;
        let fee = AccessSet::build(|set| {
            set.insert(StateKey::account(beneficiary), AccessMode::Credit);
        });
        declared.union(&fee.ok()?, INFERRED_KEYS_MAX).ok()
    }

    /// Gas that it is expected to use: a scheduling hint.
    pub(crate) const fn gas_estimate(&self) -> u64 {
        self.gas_estimate
    }

    pub(crate) const fn set_gas_estimate(&mut self, gas: u64) {
        self.gas_estimate = gas;
    }

    /// Goes back to the estimate of a transaction that has never run.
    pub(crate) fn reset_gas_estimate(&mut self) {
        self.gas_estimate = gas_estimate(&self.env);
    }

    /// The shared form of [`declared`](Self::declared).
    pub(crate) const fn declared_shared(&self) -> Option<&Arc<Result<AccessSet, AccessSetError>>> {
        self.declared.as_ref()
    }

    /// revm's form of it.
    pub const fn env(&self) -> &Arc<TxEnv> {
        &self.env
    }
}

/// A payment takes about as long as this much gas of instructions, whatever its charged gas and its limit; its
/// recipient seldom runs code.
const PAYMENT_GAS: u64 = 5_000;

/// The estimated gas of a transaction that has never run.
fn gas_estimate(env: &TxEnv) -> u64 {
    let pays = env.kind.is_call() && env.data.is_empty() && env.authorization_list.is_empty();
    if pays {
        env.gas_limit.min(PAYMENT_GAS)
    } else {
        env.gas_limit
    }
}

/// revm's form of a transaction.
fn environment(transaction: &LockweaveTxEnvelope, sender: Address) -> TxEnv {
    let is_dynamic = transaction.max_priority_fee_per_gas().is_some();
    let declared = transaction.as_declared();
    TxEnv {
        // For revm, a declared transaction is one of EIP-1559 with a longer access list.
        tx_type: declared.map_or_else(|| transaction.ty(), |_| TxType::Eip1559 as u8),
        caller: sender,
        gas_limit: transaction.gas_limit(),
        gas_price: if is_dynamic {
            transaction.max_fee_per_gas()
        } else {
            transaction.gas_price().unwrap_or_default()
        },
        kind: transaction.kind(),
        value: transaction.value(),
        data: transaction.input().clone(),
        nonce: transaction.nonce(),
        chain_id: transaction.chain_id(),
        access_list: declared.map_or_else(
            || transaction.access_list().cloned().unwrap_or_default(),
            |transaction| transaction.tx().warm_list(),
        ),
        gas_priority_fee: transaction.max_priority_fee_per_gas(),
        blob_hashes: transaction
            .blob_versioned_hashes()
            .map(<[B256]>::to_vec)
            .unwrap_or_default(),
        max_fee_per_blob_gas: transaction.max_fee_per_blob_gas().unwrap_or_default(),
        authorization_list: transaction
            .authorization_list()
            .unwrap_or_default()
            .iter()
            // Recovered once, here, and not while locks are held.
            .map(|signed| Either::Right(signed.clone().into_recovered()))
            .collect(),
    }
}
