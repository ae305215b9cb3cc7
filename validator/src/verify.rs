//! A chain on disk, executed again from genesis and held against what is stored.

use crate::{
    chain::{
        ChainParameters,
        execution::{InvalidBlock, execute_given},
        merkle_state::MerkleState,
    },
    store::{ChainStore, DurableStore, MemoryStore, Retention, StoreError},
};
use alloy_primitives::B256;
use lockweave_accounts_db::ReadError;
use lockweave_runtime::MemoryState;
use std::{collections::BTreeMap, fmt, sync::Arc};
use thiserror::Error;

/// What is wrong with a chain.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The first blocks are no longer kept.
    #[error("blocks are kept from {oldest} on, so the chain cannot be executed from its genesis")]
    Pruned {
        /// The oldest block that is kept.
        oldest: u64,
    },
    /// A block does not name its parent.
    #[error("block {number} names {stated} as its parent, but block {} is {expected}", number - 1)]
    Unlinked {
        /// Its number.
        number: u64,
        /// The parent it names.
        stated: B256,
        /// The hash of the block before it.
        expected: B256,
    },
    /// A block does not come to what its header says.
    #[error("block {number}: {source}")]
    Invalid {
        /// Its number.
        number: u64,
        /// What is wrong with it.
        source: InvalidBlock,
    },
    /// The stored receipts are not those that execution gives.
    #[error("block {number}: the stored receipt {index} is not the one that execution gives")]
    Receipt {
        /// The block's number.
        number: u64,
        /// The receipt's place.
        index: usize,
    },
    /// The header commits to another state.
    #[error("block {number}: the header commits to the state {stated}, execution gives {computed}")]
    State {
        /// Its number.
        number: u64,
        /// What the header says.
        stated: B256,
        /// The commitment after execution.
        computed: B256,
    },
    /// The stored state is not the one that execution gives.
    #[error("the stored state differs from the executed one at {0}")]
    StoredState(String),
    /// The commitment over the stored state is not the one that was kept.
    #[error("the commitment over the whole state is {computed}, but {stored} is stored")]
    Commitment {
        /// Computed from the whole state.
        computed: B256,
        /// As stored.
        stored: B256,
    },
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The genesis cannot be made.
    #[error(transparent)]
    Genesis(#[from] crate::chain::GenesisError),
}

/// What was found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Blocks, without genesis.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Gas they used.
    pub gas: u64,
    /// Accounts in the state.
    pub accounts: u64,
    /// Slots in the state that are not zero.
    pub slots: u64,
    /// The commitment to the state.
    pub commitment: B256,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "right: {} blocks, {} transactions, {} gas; state of {} accounts and {} slots, \
             commitment {}",
            self.blocks, self.transactions, self.gas, self.accounts, self.slots, self.commitment
        )
    }
}

/// Executes a chain again, one transaction after another, on a state in memory.
///
/// `progress` is told after each block how many are done, and of how many.
pub fn verify(
    parameters: &ChainParameters,
    store: &DurableStore,
    mut progress: impl FnMut(u64, u64),
) -> Result<Verified, VerifyError> {
    let genesis = parameters.genesis_block()?;
    let first = genesis.number();
    if store.oldest_block() > first {
        let oldest = store.oldest_block();
        return Err(VerifyError::Pruned { oldest });
    }
    let delta = parameters.genesis_delta();
    let mut merkle: Option<MerkleState> = None;
    let retention = Retention {
        state_blocks: 0,
        body_blocks: 1,
        transactions: usize::MAX,
    };
    let again = MemoryStore::new(retention, genesis.clone(), &delta);
    let head = store.head().number();
    let mut parent = genesis;
    let (mut transactions, mut gas) = (0, 0);
    for number in first + 1..=head {
        let missing = StoreError::UnknownBlock { number, head };
        let block = store.block(number)?.ok_or(missing)?;
        if block.header.parent_hash != parent.hash {
            return Err(VerifyError::Unlinked {
                number,
                stated: block.header.parent_hash,
                expected: parent.hash,
            });
        }
        let view = again.state_at(number - 1)?;
        let before_byzantium = !block.receipt_roots.is_empty();
        if before_byzantium && merkle.is_none() {
            merkle = Some(MerkleState::of(again.whole_state_at(number - 1)?));
        }
        let executed = execute_given(parameters, &view, block.to_consensus(), merkle.as_ref());
        let executed = executed.map_err(|source| VerifyError::Invalid { number, source })?;
        let pairs = executed.block.receipts.iter().zip(&block.receipts);
        let same = pairs.take_while(|(left, right)| left == right).count();
        if same != block.receipts.len() {
            return Err(VerifyError::Receipt {
                number,
                index: same,
            });
        }
        let mut prepared = again.prepare(number, executed.delta.clone())?;
        let computed = prepared.commitment();
        let stated = block.header.state_root;
        if computed != stated {
            // A block of another client commits to the trie.
            let merkle = match &mut merkle {
                Some(merkle) => merkle,
                None => merkle.insert(MerkleState::of(again.whole_state_at(number - 1)?)),
            };
            merkle.apply(&executed.delta);
            if merkle.root() != stated {
                return Err(VerifyError::State {
                    number,
                    stated,
                    computed,
                });
            }
        } else if let Some(merkle) = &mut merkle {
            merkle.apply(&executed.delta);
        }
        transactions += executed.block.transactions.len() as u64;
        gas += executed.block.header.gas_used;
        parent = executed.block;
        prepared.commit(Arc::new(parent.clone()))?;
        progress(number - first, head - first);
    }
    let expected = again.whole_state_at(head)?;
    compare_states(&expected, &store.whole_state_at(head)?)?;
    let reader = store.db().reader_latest()?;
    let recomputed = reader.recompute_commitment()?;
    let (computed, stored) = (recomputed.commitment(), reader.commitment());
    if computed != stored {
        return Err(VerifyError::Commitment { computed, stored });
    }
    Ok(Verified {
        blocks: head - first,
        transactions,
        gas,
        accounts: recomputed.accounts,
        slots: recomputed.slots,
        commitment: stored,
    })
}

/// Finds the first difference of two states.
fn compare_states(expected: &MemoryState, found: &MemoryState) -> Result<(), VerifyError> {
    let sorted = |state: &MemoryState| -> BTreeMap<_, _> {
        (state.accounts())
            .map(|(address, account)| (address, *account))
            .collect()
    };
    let (left, right) = (sorted(expected), sorted(found));
    for address in left.keys().chain(right.keys()) {
        if left.get(address) != right.get(address) {
            return Err(VerifyError::StoredState(format!("account {address}")));
        }
        let slots = |state: &MemoryState| -> BTreeMap<_, _> { state.slots(*address).collect() };
        let (left, right) = (slots(expected), slots(found));
        let differs =
            (left.keys().chain(right.keys())).find(|slot| left.get(*slot) != right.get(*slot));
        if let Some(slot) = differs {
            let place = format!("slot {slot:#x} of account {address}");
            return Err(VerifyError::StoredState(place));
        }
    }
    Ok(())
}
