//! Adding blocks that are given to a chain: other clients' and our own exported ones.

use crate::{
    chain::{
        ChainParameters, Envelope,
        execution::{ExecutedBlock, InvalidBlock, execute_given},
        header::{HeaderRules, InvalidHeader, check_header},
        merkle_state::MerkleState,
        ommers::{Ancestor, GENERATIONS, check_ommers},
    },
    store::{ChainStore, StoreError},
};
use alloy_consensus::Block;
use alloy_primitives::B256;
use lockweave_evm_adapter::SpecId;
use lockweave_runtime::StateDelta;
use std::sync::Arc;
use thiserror::Error;

/// Why a block is not added.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum ImportError {
    #[error(
        "block {number} ({hash}) does not follow the chain's newest, {head}: its parent is {parent}"
    )]
    NotNext {
        number: u64,
        hash: B256,
        parent: B256,
        head: u64,
    },
    #[error("block {number} is {hash}, but the chain's is {known}; the file is of another chain")]
    Fork {
        number: u64,
        hash: B256,
        known: B256,
    },
    #[error("block {number}: {source}")]
    Header { number: u64, source: InvalidHeader },
    #[error("block {number}: {source}")]
    Invalid { number: u64, source: InvalidBlock },
    #[error(
        "block {number}: the header's stateRoot is {stated}; the Merkle-Patricia root is {merkle}, \
         the lattice commitment {lattice}"
    )]
    StateRoot {
        number: u64,
        stated: B256,
        merkle: B256,
        lattice: B256,
    },
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
        let header = |source| ImportError::Header { number, source };
        let check = |rule| {
            check_header(
                &self.chain.spec,
                &head.header,
                head.hash,
                &block.header,
                rule,
            )
        };
        check(HeaderRules::Own).map_err(header)?;
        // What a block of Ethereum's may not be; whether it is ours, its state root will say.
        let not_ethereum = check(HeaderRules::Ethereum).err();
        if !block.body.ommers.is_empty() {
            let ancestors = self.ancestors()?;
            check_ommers(&self.chain.spec, &block.body.ommers, &ancestors).map_err(|source| {
                let source = InvalidBlock::Ommers(source);
                ImportError::Invalid { number, source }
            })?;
        }
        let fork = self.chain.spec.fork_at(number, block.header.timestamp);
        if !fork.is_enabled_in(SpecId::BYZANTIUM) {
            self.keep_merkle(head.number())?;
        }
        let view = self.store.state_at(head.number())?;
        let executed = execute_given(&self.chain, &view, block, self.merkle.as_ref());
        let executed = executed.map_err(|source| ImportError::Invalid { number, source })?;
        let committed = self.commit(head.number(), executed, not_ethereum);
        if committed.is_err() {
            // The trie may have gone ahead of the chain.
            self.merkle = None;
        }
        committed.map(|()| Imported::Added)
    }

    /// The youngest blocks, the newest first: as many as uncles are held against.
    fn ancestors(&self) -> Result<Vec<Ancestor>, StoreError> {
        let head = self.store.head().number();
        let mut ancestors = Vec::with_capacity(GENERATIONS);
        for back in 0..GENERATIONS as u64 {
            let Some(number) = head.checked_sub(back) else {
                break;
            };
            match self.store.block(number)? {
                Some(block) => ancestors.push(Ancestor::from(&*block)),
                None => break,
            }
        }
        Ok(ancestors)
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

    fn commit(
        &mut self,
        parent: u64,
        executed: ExecutedBlock,
        not_ethereum: Option<InvalidHeader>,
    ) -> Result<(), ImportError> {
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
            if let Some(source) = not_ethereum.filter(|_| lattice != stated) {
                return Err(ImportError::Header { number, source });
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
