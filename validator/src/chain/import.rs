//! Adding blocks that are given to a chain: other clients' and our own exported ones.

use super::{
    block::Envelope,
    execution::{ExecutedBlock, InvalidBlock, execute_given},
    fees,
    genesis::ChainParameters,
    merkle_state::MerkleState,
};
use crate::store::{ChainStore, StoreError};
use alloy_consensus::{Block, Header};
use alloy_primitives::B256;
use lockweave_evm_adapter::SpecId;
use lockweave_runtime::StateDelta;
use std::sync::Arc;
use thiserror::Error;

/// Why a block is not added.
#[derive(Debug, Error)]
pub enum ImportError {
    /// It does not follow the newest block.
    #[error(
        "block {number} ({hash}) does not follow the chain's newest, {head}: its parent is {parent}"
    )]
    NotNext {
        /// Its number.
        number: u64,
        /// Its hash.
        hash: B256,
        /// The parent it names.
        parent: B256,
        /// Number of the chain's newest block.
        head: u64,
    },
    /// Another block of this number is in the chain.
    #[error("block {number} is {hash}, but the chain's is {known}; the file is of another chain")]
    Fork {
        /// Its number.
        number: u64,
        /// Its hash.
        hash: B256,
        /// Hash of the chain's block.
        known: B256,
    },
    /// A header field does not follow from the parent.
    #[error("block {number}: {field} is {stated}, {why}")]
    Header {
        /// Its number.
        number: u64,
        /// The field, as JSON-RPC has it.
        field: &'static str,
        /// What the header says.
        stated: String,
        /// What is wrong with it.
        why: String,
    },
    /// It does not come to what its header says.
    #[error("block {number}: {source}")]
    Invalid {
        /// Its number.
        number: u64,
        /// What is wrong with it.
        source: InvalidBlock,
    },
    /// The state after it is not the one its header commits to.
    #[error(
        "block {number}: the header's stateRoot is {stated}; the Merkle-Patricia root is {merkle}, \
         the lattice commitment {lattice}"
    )]
    StateRoot {
        /// Its number.
        number: u64,
        /// What the header says.
        stated: B256,
        /// Root of the trie.
        merkle: B256,
        /// This chain's own commitment.
        lattice: B256,
    },
    /// The chain's storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a block that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is the chain's newest now.
    Added,
    /// The chain had it.
    Known,
}

/// Adds blocks to a chain.
///
/// A header commits to the state by this chain's own commitment or, where the block is another
/// client's, by the root of the Merkle-Patricia trie; the trie is kept from the first block that
/// needs it.
pub struct Importer {
    chain: ChainParameters,
    store: Arc<dyn ChainStore>,
    merkle: Option<MerkleState>,
}

impl Importer {
    /// Adds to this chain.
    pub fn new(chain: ChainParameters, store: Arc<dyn ChainStore>) -> Self {
        Self {
            chain,
            store,
            merkle: None,
        }
    }

    /// Adds a block.
    pub fn import(&mut self, block: Block<Envelope>) -> Result<Imported, ImportError> {
        let head = self.store.head();
        let (number, hash) = (block.header.number, block.header.hash_slow());
        if number <= head.number() {
            return self.check_known(number, hash);
        }
        if number != head.number() + 1 || block.header.parent_hash != head.hash {
            return Err(ImportError::NotNext {
                number,
                hash,
                parent: block.header.parent_hash,
                head: head.number(),
            });
        }
        check_header(&self.chain, &head.header, &block.header)?;
        let fork = self.chain.spec.fork_at(number, block.header.timestamp);
        if !fork.is_enabled_in(SpecId::BYZANTIUM) {
            self.keep_merkle(head.number())?;
        }
        let view = self.store.state_at(head.number())?;
        let executed = execute_given(&self.chain, &view, block, self.merkle.as_ref());
        let executed = executed.map_err(|source| ImportError::Invalid { number, source })?;
        self.commit(head.number(), executed)?;
        Ok(Imported::Added)
    }

    fn check_known(&self, number: u64, hash: B256) -> Result<Imported, ImportError> {
        let Some(known) = self.store.block(number)? else {
            return Ok(Imported::Known);
        };
        if known.hash == hash {
            return Ok(Imported::Known);
        }
        let known = known.hash;
        Err(ImportError::Fork {
            number,
            hash,
            known,
        })
    }

    fn commit(&mut self, parent: u64, executed: ExecutedBlock) -> Result<(), ImportError> {
        let ExecutedBlock { block, delta } = executed;
        let (number, stated) = (block.number(), block.header.state_root);
        let store = Arc::clone(&self.store);
        let mut prepared = store.prepare(number, delta.clone())?;
        let lattice = prepared.commitment();
        if lattice != stated || self.merkle.is_some() {
            let merkle = self.merkle_after(parent, &delta)?;
            if merkle != stated && lattice != stated {
                return Err(ImportError::StateRoot {
                    number,
                    stated,
                    merkle,
                    lattice,
                });
            }
        }
        Ok(prepared.commit(Arc::new(block))?)
    }

    /// Makes sure the trie of the state after a block is at hand.
    fn keep_merkle(&mut self, number: u64) -> Result<(), StoreError> {
        if self.merkle.is_none() {
            let whole = self.store.whole_state_at(number)?;
            self.merkle = Some(MerkleState::of(whole));
        }
        Ok(())
    }

    /// The root after the next block.
    fn merkle_after(&mut self, parent: u64, delta: &StateDelta) -> Result<B256, StoreError> {
        self.keep_merkle(parent)?;
        let merkle = self.merkle.get_or_insert_default();
        merkle.apply(delta);
        Ok(merkle.root())
    }
}

impl std::fmt::Debug for Importer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Importer").finish_non_exhaustive()
    }
}

/// A gas limit may differ from its parent's by less than this part of it.
const GAS_LIMIT_BOUND: u64 = 1_024;
/// The least gas limit a block may have.
const GAS_LIMIT_MIN: u64 = 5_000;
/// Bytes of extra data at most.
const EXTRA_DATA_MAX: usize = 32;

/// Holds a header against its parent.
fn check_header(
    chain: &ChainParameters,
    parent: &Header,
    header: &Header,
) -> Result<(), ImportError> {
    let wrong = |field, stated: String, why: String| ImportError::Header {
        number: header.number,
        field,
        stated,
        why,
    };
    // Equal times are ours: blocks may come faster than seconds.
    if header.timestamp < parent.timestamp {
        let why = format!("before the parent's {}", parent.timestamp);
        return Err(wrong("timestamp", header.timestamp.to_string(), why));
    }
    if header.extra_data.len() > EXTRA_DATA_MAX {
        let why = format!("longer than {EXTRA_DATA_MAX} bytes");
        return Err(wrong("extraData", header.extra_data.to_string(), why));
    }
    let spec = &chain.spec;
    let base_fee = fees::next_base_fee(spec, parent, header.timestamp);
    if header.base_fee_per_gas != base_fee {
        let why = format!("but must be {base_fee:?}");
        return Err(wrong(
            "baseFeePerGas",
            format!("{:?}", header.base_fee_per_gas),
            why,
        ));
    }
    let excess = fees::next_excess_blob_gas(spec, parent, header.timestamp);
    if header.excess_blob_gas != excess {
        let why = format!("but must be {excess:?}");
        return Err(wrong(
            "excessBlobGas",
            format!("{:?}", header.excess_blob_gas),
            why,
        ));
    }
    // At London the limit doubles, because the target is half of it (EIP-1559).
    let doubled = parent.base_fee_per_gas.is_none() && header.base_fee_per_gas.is_some();
    let parent_limit = parent.gas_limit.saturating_mul(if doubled { 2 } else { 1 });
    let bound = parent_limit / GAS_LIMIT_BOUND;
    if header.gas_limit.abs_diff(parent_limit) >= bound.max(1) && header.gas_limit != parent_limit
        || header.gas_limit < GAS_LIMIT_MIN
    {
        let why = format!("too far from the parent's {parent_limit}");
        return Err(wrong("gasLimit", header.gas_limit.to_string(), why));
    }
    if header.gas_used > header.gas_limit {
        let why = format!("more than the limit {}", header.gas_limit);
        return Err(wrong("gasUsed", header.gas_used.to_string(), why));
    }
    Ok(())
}
