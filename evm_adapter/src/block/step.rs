//! The steps of a block: transactions, system calls and protocol credits.

use crate::transaction::EvmTransaction;
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, Bytes};
use lockweave_runtime::{AccessMode, AccessSet, Credit, StateKey};
use revm::{context::TxEnv, handler::SystemCallTx};
use std::sync::Arc;

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
            transaction.set_gas_estimate(gas);
        }
        self
    }

    /// The same, as if nobody had seen it run.
    #[must_use]
    pub fn without_gas_estimate(mut self) -> Self {
        if let Self::Transaction(transaction) = &mut self {
            transaction.reset_gas_estimate();
        }
        self
    }

    /// Rough cost in gas: a hint for batching, known before the step runs.
    pub fn gas_hint(&self) -> u64 {
        match self {
            Self::Transaction(transaction) => transaction.gas_estimate(),
            Self::SystemCall(_) => 50_000,
            Self::Credits(_) => 21_000,
        }
    }
}
