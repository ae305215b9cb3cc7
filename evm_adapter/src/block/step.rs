//! The steps of a block: transactions, system calls and protocol credits.

use crate::transaction::EvmTransaction;
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, Bytes};
use lockweave_runtime::{AccessMode, AccessSet, Credit, StateKey};
use revm::{context::TxEnv, handler::SystemCallTx};
use std::sync::Arc;

/// A call by the protocol from the system address.
#[derive(Clone, Debug)]
pub struct SystemCall {
    /// The called contract.
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
        // revm adds the gas of EIP-8037 on all forks.
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

/// One step of a block: the unit that is ordered and granted locks. Protocol work is a step like a transaction, so
/// the same mechanism orders both.
#[derive(Clone, Debug)]
pub enum Step {
    /// A transaction of the block.
    Transaction(EvmTransaction),
    /// A system call before or after the transactions.
    SystemCall(SystemCall),
    /// Credits by the protocol: withdrawals, or block and uncle rewards.
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

    /// The access set that the step's transaction signed; see [`EvmTransaction::signed_access`].
    pub fn signed_access(&self, beneficiary: Address) -> Option<AccessSet> {
        self.transaction()?.signed_access(beneficiary)
    }

    /// The keys of the transaction's access list (EIP-2930), as reads: the list does not distinguish reads from writes.
    /// Empty if the list is longer than a set may be.
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

    /// The same step with a gas estimate from an earlier run or a simulation.
    pub fn with_gas_estimate(mut self, gas: u64) -> Self {
        if let Self::Transaction(transaction) = &mut self {
            transaction.set_gas_estimate(gas);
        }
        self
    }

    /// The same step with the estimate of a step that has never run.
    #[must_use]
    pub fn without_gas_estimate(mut self) -> Self {
        if let Self::Transaction(transaction) = &mut self {
            transaction.reset_gas_estimate();
        }
        self
    }

    /// Estimated gas: a hint for scheduling, known before the step runs.
    pub fn gas_hint(&self) -> u64 {
        match self {
            Self::Transaction(transaction) => transaction.gas_estimate(),
            Self::SystemCall(_) => 50_000,
            Self::Credits(_) => 21_000,
        }
    }
}
