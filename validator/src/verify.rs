//! A chain on disk, executed again and held against what is stored: from its genesis, or, where the
//! first blocks are no longer kept, from the oldest state that is.

mod base;

use crate::{
    chain::{
        ChainParameters,
        execution::{InvalidBlock, execute_given},
    },
    store::{ChainStore, DurableStore, StoreError},
};
use alloy_primitives::B256;
use base::Base;
use lockweave_accounts_db::ReadError;
use lockweave_runtime::{StateDelta, StateError};
use serde::Serialize;
use std::{fmt, sync::Arc};
use thiserror::Error;

/// What is wrong with a chain.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum VerifyError {
    #[error("block {number} names {stated} as its parent, but block {} is {expected}", number - 1)]
    Unlinked {
        number: u64,
        stated: B256,
        expected: B256,
    },
    #[error("block {number}: {source}")]
    Invalid { number: u64, source: InvalidBlock },
    #[error("block {number}: the stored receipt {index} is not the one that execution gives")]
    Receipt { number: u64, index: usize },
    #[error("block {number}: transaction {index} is not found by its hash")]
    Unfound { number: u64, index: usize },
    #[error("block {number}: its {field} is not what its header says")]
    Body {
        number: u64,
        /// The field, as JSON-RPC has it.
        field: &'static str,
    },
    #[error("block {number}: the header's stateRoot is {stated}, execution gives {computed}")]
    State {
        number: u64,
        stated: B256,
        computed: B256,
    },
    #[error("the stored accounts have state root {computed}, but {stored} is stored")]
    StateRoot { computed: B256, stored: B256 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the temporary chain: {0}")]
    Scratch(#[from] crate::store::DatadirError),
    #[error(transparent)]
    Genesis(#[from] crate::chain::GenesisError),
}

/// What could not be executed again, because the states before it are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unchecked {
    /// The oldest block that is kept; those before it are gone.
    pub oldest_block: u64,
    /// Blocks from there on that were held against their headers and each other only.
    pub blocks: u64,
}

/// What was found right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The block that execution began on. The state after it is that of the genesis, or a stored one
    /// that agrees with its header.
    pub executed_on: u64,
    /// Blocks that were executed again.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Gas they used.
    pub gas: u64,
    /// Accounts in the state.
    pub accounts: u64,
    /// Slots in the state that are not zero.
    pub slots: u64,
    /// The state root of the newest block.
    pub state_root: B256,
    /// What could not be executed again; nothing on a chain that is kept whole.
    pub unchecked: Option<Unchecked>,
}

impl Verified {
    /// Whether every block since genesis was executed again.
    pub const fn is_whole(&self) -> bool {
        self.unchecked.is_none()
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            f.write_str("right: ")?;
        } else {
            f.write_str("right as far as it can be checked: ")?;
        }
        write!(
            f,
            "{} blocks, {} transactions, {} gas; state of {} accounts and {} slots, \
             state root {}",
            self.blocks, self.transactions, self.gas, self.accounts, self.slots, self.state_root
        )?;
        let Some(unchecked) = &self.unchecked else {
            return Ok(());
        };
        let first = self.executed_on + 1;
        write!(
            f,
            "\ncannot check before block {first}: the states are no longer kept \
             (--history.state-blocks)"
        )?;
        if unchecked.blocks > 0 {
            write!(
                f,
                "; blocks {} to {} are linked and agree with their headers",
                unchecked.oldest_block, self.executed_on
            )?;
        }
        if unchecked.oldest_block > 0 {
            let oldest = unchecked.oldest_block;
            write!(
                f,
                "; blocks before {oldest} are gone (--history.body-blocks)"
            )?;
        }
        Ok(())
    }
}

/// Executes a chain again, one transaction after another, on a state of its own: in a temporary folder, so
/// that memory is bounded. At the end the state root is computed from all stored accounts.
///
/// Where the first blocks are no longer kept, it begins with the oldest state that is, executes each block
/// on the stored state before it, and says so. `progress` receives after each block how many are done, and the
/// total; `state_progress` the same of the computation of the state root.
pub fn verify(
    parameters: &ChainParameters,
    store: &DurableStore,
    mut progress: impl FnMut(u64, u64),
    state_progress: impl FnMut(u64, u64),
) -> Result<Verified, VerifyError> {
    let base = Base::of(parameters, store)?;
    let first = base.block.number();
    let unchecked = if store.oldest_block() > parameters.genesis_block()?.number() {
        Some(Unchecked {
            oldest_block: store.oldest_block(),
            blocks: base::check_unexecuted(store, first)?,
        })
    } else {
        None
    };
    let again = base.chain();
    let head = store.head().number();
    let mut parent = base.block.clone();
    let (mut transactions, mut gas) = (0, 0);
    for number in first + 1..=head {
        let block = base::kept(store, number)?;
        if block.header.parent_hash != parent.hash {
            return Err(VerifyError::Unlinked {
                number,
                stated: block.header.parent_hash,
                expected: parent.hash,
            });
        }
        let view = base.state_at(number - 1)?;
        let root = |delta: &StateDelta| {
            let root = again.root_after(number - 1, delta);
            root.map_err(|error| StateError::Backend(Arc::new(error)))
        };
        let executed = execute_given(parameters, &view, block.to_consensus(), &root);
        let executed = executed.map_err(|source| VerifyError::Invalid { number, source })?;
        let pairs = executed.block.receipts.iter().zip(&block.receipts);
        let same = pairs.take_while(|(left, right)| left == right).count();
        if same != block.receipts.len() {
            return Err(VerifyError::Receipt {
                number,
                index: same,
            });
        }
        let stated = block.header.state_root;
        let computed = base.advance(&executed)?;
        if computed != stated {
            return Err(VerifyError::State {
                number,
                stated,
                computed,
            });
        }
        transactions += executed.block.transactions.len() as u64;
        gas += executed.block.header.gas_used;
        parent = executed.block;
        progress(number - first, head - first);
    }
    let recomputed = store.db().recompute(state_progress)?;
    let (computed, stored) = (recomputed.state_root, store.head().header.state_root);
    if computed != stored {
        return Err(VerifyError::StateRoot { computed, stored });
    }
    Ok(Verified {
        executed_on: first,
        unchecked,
        blocks: head - first,
        transactions,
        gas,
        accounts: recomputed.accounts,
        slots: recomputed.slots,
        state_root: stored,
    })
}
