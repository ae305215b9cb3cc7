//! Adding blocks that are given to a chain: other clients' and our own exported ones.

use crate::{
    chain::{
        ChainParameters, Envelope,
        execution::{ExecutedBlock, InvalidBlock, execute_given},
        header::{HeaderRules, InvalidHeader, check_header},
        ommers::{Ancestor, GENERATIONS, check_ommers},
    },
    store::{ChainStore, StoreError},
};
use alloy_consensus::{Block, Header};
use alloy_primitives::B256;
use lockweave_runtime::{StateDelta, StateError};
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
    #[error(
        "block {number} is {hash}, but the chain's is {known}: the file is of another chain, or the import \
         began with --reseal and must go on with it"
    )]
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
        "block {number}: the header's stateRoot is {stated}, execution gives {computed}; if a release \
         of Lockweave before the state trie made the chain, import it with --reseal"
    )]
    StateRoot {
        number: u64,
        stated: B256,
        computed: B256,
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
pub struct Importer {
    chain: ChainParameters,
    store: Arc<dyn ChainStore>,
    /// The hash that the newest block had in the file, once one was resealed or found in the chain.
    resealed: Option<B256>,
    reseals: bool,
}

impl Importer {
    /// Adds to this chain.
    pub fn new(chain: ChainParameters, store: Arc<dyn ChainStore>) -> Self {
        Self {
            chain,
            store,
            resealed: None,
            reseals: false,
        }
    }

    /// Gives each block the state root that execution gives, and the parent that it then has. So the
    /// blocks get other hashes. It is for chains whose headers hold another commitment to the state. Blocks that
    /// were resealed before are known, so an import that was stopped goes on when it is started again.
    #[must_use]
    pub fn resealing(mut self) -> Self {
        self.reseals = true;
        self
    }

    /// Adds a block.
    pub fn import(&mut self, mut block: Block<Envelope>) -> Result<Imported, ImportError> {
        let head = self.store.head();
        let (number, hash) = (block.header.number, block.header.hash_slow());
        if number <= head.number() {
            return self.check_known(block.header, hash);
        }
        let names_head = match self.resealed {
            Some(named) => block.header.parent_hash == named,
            // The genesis block, which is in no file of ours, had another root too.
            None => head.number() == 0,
        };
        if self.reseals && number == head.number() + 1 && names_head {
            block.header.parent_hash = head.hash;
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
        check_header(
            &self.chain.spec,
            &head.header,
            head.hash,
            &block.header,
            HeaderRules::of(&block.header),
        )
        .map_err(header)?;
        if !block.body.ommers.is_empty() {
            let ancestors = self.ancestors()?;
            check_ommers(&self.chain.spec, &block.body.ommers, &ancestors).map_err(|source| {
                let source = InvalidBlock::Ommers(source);
                ImportError::Invalid { number, source }
            })?;
        }
        let view = self.store.state_at(head.number())?;
        let root = |delta: &StateDelta| {
            let root = self.store.root_after(head.number(), delta);
            root.map_err(|error| StateError::Backend(Arc::new(error)))
        };
        let executed = execute_given(&self.chain, &view, block, &root);
        let executed = executed.map_err(|source| ImportError::Invalid { number, source })?;
        self.commit(executed)?;
        self.resealed = self.reseals.then_some(hash);
        Ok(Imported::Added)
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

    fn check_known(&mut self, mut header: Header, hash: B256) -> Result<Imported, ImportError> {
        let number = header.number;
        let Some(known) = self.store.block(number)? else {
            return Ok(Imported::Known);
        };
        if self.reseals {
            header.parent_hash = known.header.parent_hash;
            header.state_root = known.header.state_root;
        }
        if known.hash == header.hash_slow() {
            self.resealed = self.reseals.then_some(hash);
            return Ok(Imported::Known);
        }
        let known = known.hash;
        Err(ImportError::Fork {
            number,
            hash,
            known,
        })
    }

    fn commit(&self, executed: ExecutedBlock) -> Result<(), ImportError> {
        let ExecutedBlock { mut block, delta } = executed;
        let (number, stated) = (block.number(), block.header.state_root);
        let mut prepared = self.store.prepare(number, delta)?;
        let computed = prepared.state_root();
        if computed != stated {
            if !self.reseals {
                return Err(ImportError::StateRoot {
                    number,
                    stated,
                    computed,
                });
            }
            block.header.state_root = computed;
        }
        block.hash = block.header.hash_slow();
        Ok(prepared.commit(Arc::new(block))?)
    }
}
