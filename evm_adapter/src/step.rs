//! What a block does, in its order.

use crate::envelope::LockweaveTxEnvelope;
use alloy_consensus::{Transaction as _, TxType, Typed2718};
use alloy_primitives::{Address, B256, Bytes};
use lockweave_runtime::{
    AccessMode, AccessSet, AccessSetError, Credit, INFERRED_KEYS_MAX, StateKey,
};
use revm::{
    context::{TxEnv, either::Either},
    handler::SystemCallTx,
};
use std::sync::Arc;

/// A transaction with its sender: recovered once, ready to run.
#[derive(Clone, Debug)]
pub struct EvmTransaction {
    envelope: Arc<LockweaveTxEnvelope>,
    env: Arc<TxEnv>,
    /// What it is thought to cost in instructions; the limit, where nothing better is known. It stands
    /// beside the pointers because the scheduler asks for it and should not have to follow one.
    gas_estimate: u64,
    /// Its EIP-2718 type; beside the pointers for the same reason.
    transaction_type: u8,
    /// What its sender signed that it touches, or why that is no access set.
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

    /// What its sender signed that it touches, but for the block's beneficiary; `None` for a
    /// transaction that signs no such thing.
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

    /// Who signed it.
    pub fn sender(&self) -> Address {
        self.env.caller
    }

    /// Its hash.
    pub fn hash(&self) -> B256 {
        *self.envelope.tx_hash()
    }

    /// What the transaction signed that it touches, with the fee it pays to `beneficiary`; `None`
    /// where it signed nothing, or something that is no access set.
    pub fn signed_access(&self, beneficiary: Address) -> Option<AccessSet> {
        let declared = self.declared()?.as_ref().ok()?;
        let fee = AccessSet::build(|set| {
            set.insert(StateKey::account(beneficiary), AccessMode::Credit);
        });
        declared.union(&fee.ok()?, INFERRED_KEYS_MAX).ok()
    }

    pub(crate) const fn declared_shared(&self) -> Option<&Arc<Result<AccessSet, AccessSetError>>> {
        self.declared.as_ref()
    }

    /// revm's form of it.
    pub const fn env(&self) -> &Arc<TxEnv> {
        &self.env
    }
}

/// A payment takes about as long as this much gas of instructions, whatever is charged for it and whatever
/// its limit; who is paid seldom runs more.
const PAYMENT_GAS: u64 = 5_000;

/// What a transaction is thought to cost before anybody has seen it run.
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
        // For revm a declared transaction is one of EIP-1559 with a longer list of what is warm.
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
            // Recovered here, once, and not while locks are held.
            .map(|signed| Either::Right(signed.clone().into_recovered()))
            .collect(),
    }
}

/// A call that the protocol makes, from the system address.
#[derive(Clone, Debug)]
pub struct SystemCall {
    /// The contract called.
    pub contract: Address,
    /// Whether the block is invalid if it fails or there is no code (EIP-7002, EIP-7251).
    pub must_succeed: bool,
    env: Arc<TxEnv>,
}

/// Gas of a system call (EIP-4788, EIP-2935, EIP-7002, EIP-7251).
const SYSTEM_CALL_GAS: u64 = 30_000_000;

impl SystemCall {
    /// A call with this input.
    pub fn new(contract: Address, input: Bytes, must_succeed: bool) -> Self {
        let mut env = TxEnv::new_system_tx(contract, input);
        // revm adds what EIP-8037 would, on all forks.
        env.gas_limit = SYSTEM_CALL_GAS;
        Self {
            contract,
            must_succeed,
            env: Arc::new(env),
        }
    }

    /// revm's form of it.
    pub const fn env(&self) -> &Arc<TxEnv> {
        &self.env
    }
}

/// One step of a block. Steps are what a block's order is made of and what locks are granted to, so
/// that protocol work is ordered among transactions by the same mechanism.
#[derive(Clone, Debug)]
pub enum Step {
    /// A user's transaction.
    Transaction(EvmTransaction),
    /// A system call before or after the transactions.
    SystemCall(SystemCall),
    /// Ether that the protocol hands out: withdrawals, or block and uncle rewards.
    Credits(Vec<Credit>),
}

impl Step {
    /// The transaction, if the step is one.
    pub const fn transaction(&self) -> Option<&EvmTransaction> {
        match self {
            Self::Transaction(transaction) => Some(transaction),
            _ => None,
        }
    }

    /// What the step's transaction signed that it touches; see
    /// [`EvmTransaction::signed_access`].
    pub fn signed_access(&self, beneficiary: Address) -> Option<AccessSet> {
        self.transaction()?.signed_access(beneficiary)
    }

    /// What the transaction's own access list names (EIP-2930), as a first idea of what it touches:
    /// the list does not say whether it reads or writes. Longer lists than a set may be are left out.
    pub fn listed_access(&self) -> AccessSet {
        let list = self
            .transaction()
            .and_then(|transaction| transaction.envelope().access_list());
        let Some(list) = list.filter(|list| !list.0.is_empty()) else {
            return AccessSet::empty();
        };
        let set = AccessSet::build(|set| {
            for item in &list.0 {
                set.insert(StateKey::code(item.address), AccessMode::Read);
                for slot in &item.storage_keys {
                    set.insert(
                        StateKey::slot(item.address, (*slot).into()),
                        AccessMode::Read,
                    );
                }
            }
        });
        set.unwrap_or_else(|_| AccessSet::empty())
    }

    /// The same step, thought to use this much gas: from an earlier run or a simulation of it.
    pub fn with_gas_estimate(mut self, gas: u64) -> Self {
        if let Self::Transaction(transaction) = &mut self {
            transaction.gas_estimate = gas;
        }
        self
    }

    /// The same, as if nobody had seen it run.
    #[must_use]
    pub fn without_gas_estimate(mut self) -> Self {
        if let Self::Transaction(transaction) = &mut self {
            transaction.gas_estimate = gas_estimate(&transaction.env);
        }
        self
    }

    /// Rough cost in gas: a hint for batching, known before the step runs.
    pub fn gas_hint(&self) -> u64 {
        match self {
            Self::Transaction(transaction) => transaction.gas_estimate,
            Self::SystemCall(_) => 50_000,
            Self::Credits(_) => 21_000,
        }
    }
}
