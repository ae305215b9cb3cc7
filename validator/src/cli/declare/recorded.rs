//! The accesses of recorded transactions, as keys and as unsigned transactions of type 0x44.

use alloy_primitives::{Address, B256};
use lockweave_evm_adapter::{ChainSpec, EvmExecutor, TxDeclared};
use lockweave_runtime::{
    AccessError, AccessSet, ExecutionError, Executor, INFERRED_KEYS_MAX, KeyPart, Recording,
    SerialState,
};
use lockweave_validator::{
    chain::declaring,
    recorded::RecordedBlock,
    replay::{ReplayError, prepare_block},
};
use serde::Serialize;
use std::{num::NonZeroUsize, sync::Arc};

/// The accesses of one transaction.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Declared {
    pub(crate) block: u64,
    /// Its index in the block.
    pub(crate) transaction_index: usize,
    pub(crate) hash: B256,
    /// Its sender.
    pub(crate) from: Address,
    /// Every key with its mode, in the order of the keys.
    pub(crate) accesses: Vec<Access>,
    /// The same transaction as an unsigned one of type 0x44.
    pub(crate) transaction: Skeleton,
}

/// One key of an access set.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Access {
    /// The account.
    pub(crate) address: Address,
    /// `account` (nonce and balance), `code` or `slot`.
    pub(crate) part: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<B256>,
    /// `read`, `credit` or `write`.
    pub(crate) mode: String,
}

/// A transaction of type 0x44 without its signature.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Skeleton {
    /// `0x44`.
    pub(crate) r#type: &'static str,
    #[serde(flatten)]
    pub(crate) fields: TxDeclared,
}

/// Lists the keys of a set.
fn accesses(set: &AccessSet) -> Vec<Access> {
    let entries = set.entries().iter();
    entries
        .map(|entry| {
            let (part, slot) = match entry.key.part {
                KeyPart::Account => ("account", None),
                KeyPart::Code => ("code", None),
                KeyPart::Slot(slot) => ("slot", Some(slot.into())),
            };
            Access {
                address: entry.key.address,
                part,
                slot,
                mode: entry.mode.to_string(),
            }
        })
        .collect()
}

/// Executes a recorded block on one thread and returns the accesses of its transactions.
pub(crate) fn declare_recorded(
    chain: &ChainSpec,
    recorded: RecordedBlock,
    threads: NonZeroUsize,
) -> Result<Vec<Declared>, ReplayError> {
    let (block, view) = prepare_block(chain, recorded, threads)?;
    let context = block.context();
    let number = block.header().number;
    let mut executor = EvmExecutor::<Recording<SerialState>>::new(context);
    let mut state = Recording::new(SerialState::new(Arc::clone(&view), context.rules()));
    let mut declared = Vec::with_capacity(block.transactions());
    for (index, step) in block.steps().iter().enumerate() {
        match executor.execute(step, &mut state) {
            Ok(_) => {}
            Err(ExecutionError::Access(AccessError::State(source))) => {
                return Err(ReplayError::State { number, source });
            }
            Err(error) => {
                return Err(ReplayError::Step {
                    number,
                    step: index,
                    problem: error.to_string(),
                });
            }
        }
        let set = state.take_access(INFERRED_KEYS_MAX);
        let set = set.unwrap_or(AccessSet::Everything);
        if let (Some(transaction), Some(transaction_index)) =
            (step.transaction(), block.transaction_index(index))
        {
            declared.push(Declared {
                block: number,
                transaction_index,
                hash: transaction.hash(),
                from: transaction.sender(),
                accesses: accesses(&set),
                transaction: Skeleton {
                    r#type: "0x44",
                    fields: declaring(chain, transaction, &set, context.block().beneficiary),
                },
            });
        }
    }
    Ok(declared)
}
