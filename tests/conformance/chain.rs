//! Blocks of a fixture through the validator's checks and the engine, one chain at a time.

use crate::conformance::{
    block_exception::{self, BlockRefusal, Taken},
    blockchain::TestBlock,
    engine::Engine,
    state::TrieState,
};
use alloy_consensus::{Block, Header, proofs::calculate_transaction_root};
use alloy_eips::eip7928::AccountChanges;
use alloy_primitives::{Address, B256, U256, address};
use alloy_rlp::Decodable;
use lockweave::engine::{EngineError, InvalidAccessList};
use lockweave::{
    MemoryState, SealedBlock, StateView,
    evm::ChainSpec,
    runtime::{StateDelta, StateError},
};
use lockweave_validator::chain::{
    block::Envelope,
    execution::{BlockRun, ExecutedBlock, InvalidBlock, PreparedBlock, execute_prepared},
    header::{HeaderRules, check_header},
    ommers::{Ancestor, GENERATIONS, check_ommers},
};
use std::{collections::HashMap, io, sync::Arc};

/// The deposit contract, in fixtures as on mainnet.
pub(crate) const DEPOSIT_CONTRACT: Address = address!("00000000219ab540356cbb839cbe05303d7705fa");

/// The number of earlier blocks whose hashes a block can read.
const BLOCK_HASHES: u64 = 256;

/// An accepted block, and the state after it.
struct Known {
    header: Header,
    state: TrieState,
    /// The hashes of its uncles.
    ommers: Vec<B256>,
    /// The sum of difficulties up to and including it.
    difficulty: U256,
}

/// All accepted blocks, on any branch.
pub(crate) struct Chain {
    spec: ChainSpec,
    blocks: HashMap<B256, Known>,
    head: B256,
}

/// The result of a block: accepted or refused. A difference between two paths is a failure.
pub(crate) type Import = Result<Taken, String>;

impl Chain {
    /// A chain of one block.
    pub(crate) fn new(
        spec: ChainSpec,
        genesis: Header,
        state: MemoryState,
    ) -> Result<Self, String> {
        let state = TrieState::of(state)?;
        if state.root() != genesis.state_root {
            return Err("the state before is not the genesis'".to_owned());
        }
        let head = genesis.hash_slow();
        let known = Known {
            difficulty: genesis.difficulty,
            header: genesis,
            state,
            ommers: Vec::new(),
        };
        Ok(Self {
            spec,
            blocks: HashMap::from([(head, known)]),
            head,
        })
    }

    /// The fork schedule.
    pub(crate) const fn spec(&self) -> &ChainSpec {
        &self.spec
    }

    /// The state after an accepted block, as its child sees it.
    pub(crate) fn state_after(&self, hash: B256) -> Option<Arc<dyn StateView>> {
        self.blocks.get(&hash).map(|known| self.view(known))
    }

    /// The hash of the block that ends the chain.
    pub(crate) const fn head(&self) -> B256 {
        self.head
    }

    /// The header of the block that ends the chain.
    pub(crate) fn head_header(&self) -> &Header {
        &self.blocks[&self.head].header
    }

    /// The state with its trie after the block that ends the chain.
    pub(crate) fn head_state(&self) -> &TrieState {
        &self.blocks[&self.head].state
    }

    /// The number of accepted blocks.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Accepts a block if its parent is accepted and the block is right.
    ///
    /// If an access list is given, the block must be right by that too.
    pub(crate) fn import(
        &mut self,
        engine: &Engine,
        rlp: &[u8],
        list: Option<&[AccountChanges]>,
    ) -> Import {
        let block = match decode(rlp) {
            Ok(block) => block,
            Err(error) => return Ok(Err(BlockRefusal::Rlp(error))),
        };
        self.import_block(engine, block, list)
    }

    /// The refusal of a block with a corrected transactions root. A fixture with one wrong transaction has a header
    /// with another root, so its block has two errors.
    pub(crate) fn import_mended(&mut self, engine: &Engine, rlp: &[u8]) -> Import {
        let mut block = decode(rlp).map_err(|error| error.to_string())?;
        block.header.transactions_root = calculate_transaction_root(&block.body.transactions);
        self.import_block(engine, block, None)
    }

    /// Accepts a block, as [`Self::import`] does.
    pub(crate) fn import_block(
        &mut self,
        engine: &Engine,
        block: Block<Envelope>,
        list: Option<&[AccountChanges]>,
    ) -> Import {
        let Some(parent) = self.blocks.get(&block.header.parent_hash) else {
            return Ok(Err(BlockRefusal::UnknownParent));
        };
        let header = block.header.clone();
        let rules = HeaderRules::Ethereum;
        let parent_hash = header.parent_hash;
        if let Err(invalid) = check_header(&self.spec, &parent.header, parent_hash, &header, rules)
        {
            return Ok(Err(BlockRefusal::Header(invalid)));
        }
        let ommers = block.body.ommers.clone();
        let prepared = match PreparedBlock::new(&self.spec, block) {
            Ok(prepared) => prepared,
            Err(invalid) => return Ok(Err(BlockRefusal::Block(invalid))),
        };
        let ancestors = self.ancestors(parent_hash);
        if let Err(invalid) = check_ommers(&self.spec, &ommers, &ancestors) {
            return Ok(Err(BlockRefusal::Block(invalid.into())));
        }
        let by_list = list.map(|list| {
            let view = self.view(parent);
            engine.run_listed(prepared.evm(), &view, list)
        });
        let executed = match self.execute(engine, prepared, parent)? {
            Ok(executed) => executed,
            Err(InvalidBlock::AccessList(invalid)) => {
                return refused_with_list(invalid, by_list.unwrap_or_default()).map(Err);
            }
            Err(invalid) => return Ok(Err(BlockRefusal::Block(invalid))),
        };
        for run in by_list.into_iter().flatten() {
            match run {
                Ok(sealed) if sealed.delta == executed.delta => {}
                Ok(_) => return Err("has other changes by its list".to_owned()),
                Err(error) => return Ok(Err(BlockRefusal::List(error))),
            }
        }
        let mut state = parent.state.clone();
        state.apply(&executed.delta)?;
        if state.root() != header.state_root {
            return Ok(Err(BlockRefusal::StateRoot));
        }
        let difficulty = parent.difficulty.saturating_add(header.difficulty);
        Ok(Ok(self.insert(Known {
            header,
            state,
            ommers: ommers.iter().map(Header::hash_slow).collect(),
            difficulty,
        })))
    }

    /// Runs a block as the validator's import does, and through the engine under locks.
    fn execute(
        &self,
        engine: &Engine,
        prepared: PreparedBlock,
        parent: &Known,
    ) -> Result<Result<ExecutedBlock, InvalidBlock>, String> {
        let view = self.view(parent);
        let evm = prepared.evm();
        let run = engine.run_block(evm, &view)?;
        let contract = Some(DEPOSIT_CONTRACT);
        let root = |delta: &StateDelta| {
            let root = parent.state.root_after(delta);
            root.map_err(|error| StateError::Backend(Arc::new(io::Error::other(error))))
        };
        let imported = execute_prepared(prepared.clone(), &view, &root, contract);
        let (sealed, access_list) = match run {
            Ok(run) => run,
            // The import checks the block's gas limit first.
            Err((index, source)) => {
                return match imported {
                    Err(invalid) => Ok(Err(invalid)),
                    Ok(_) => Err(format!("taken by the import, but step {index}: {source}")),
                };
            }
        };
        let receipt_roots = match &imported {
            Ok(executed) => executed.block.receipt_roots.clone(),
            Err(_) => Vec::new(),
        };
        let run = BlockRun {
            sealed,
            receipt_roots,
            access_list,
        };
        match (imported, prepared.finish(run, contract)) {
            (Ok(serial), Ok(parallel)) if serial.delta != parallel.delta => {
                Err("the import has other changes than the engine".to_owned())
            }
            (Ok(_), Ok(parallel)) => Ok(Ok(parallel)),
            (Err(serial), Err(_)) => Ok(Err(serial)),
            (Ok(_), Err(invalid)) => Err(format!("taken by the import, by the engine: {invalid}")),
            (Err(invalid), Ok(_)) => Err(format!("taken by the engine, by the import: {invalid}")),
        }
    }

    /// The newest ancestors of a child of this block, as many as uncles are checked against.
    fn ancestors(&self, mut hash: B256) -> Vec<Ancestor> {
        let mut ancestors = Vec::new();
        while let Some(known) = self.blocks.get(&hash)
            && ancestors.len() < GENERATIONS
        {
            ancestors.push(Ancestor {
                hash,
                header: known.header.clone(),
                ommers: known.ommers.clone(),
            });
            hash = known.header.parent_hash;
        }
        ancestors
    }

    /// The state after a block as its child sees it.
    fn view(&self, block: &Known) -> Arc<dyn StateView> {
        let mut state = block.state.state().clone();
        let mut known = block;
        let mut hash = known.header.hash_slow();
        for _ in 0..BLOCK_HASHES {
            state.insert_block_hash(known.header.number, hash);
            hash = known.header.parent_hash;
            match self.blocks.get(&hash) {
                Some(parent) => known = parent,
                None => break,
            }
        }
        Arc::new(state)
    }

    /// Stores a block. It becomes the head if its branch is the heaviest or, without proof of work, in any case.
    fn insert(&mut self, known: Known) -> B256 {
        let hash = known.header.hash_slow();
        let is_heavier = known.difficulty > self.blocks[&self.head].difficulty;
        if known.header.difficulty.is_zero() || is_heavier {
            self.head = hash;
        }
        self.blocks.insert(hash, known);
        hash
    }
}

/// A block whose header commits to a list that differs from its accesses. The list given with it must be refused too,
/// with every number of workers; its error is more specific.
fn refused_with_list(
    invalid: InvalidAccessList,
    by_list: Vec<Result<SealedBlock, EngineError>>,
) -> Result<BlockRefusal, String> {
    let mut refusal = BlockRefusal::Block(InvalidBlock::AccessList(invalid));
    for run in by_list {
        match run {
            Ok(_) => return Err("is refused for its list, but by that list taken".to_owned()),
            Err(error @ (EngineError::List(_) | EngineError::Step { .. })) => {
                refusal = BlockRefusal::List(error);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(refusal)
}

/// Decodes a block from all of its bytes.
pub(crate) fn decode(mut rlp: &[u8]) -> alloy_rlp::Result<Block<Envelope>> {
    let block = Block::<Envelope>::decode(&mut rlp)?;
    if rlp.is_empty() {
        Ok(block)
    } else {
        Err(alloy_rlp::Error::UnexpectedLength)
    }
}

/// Accepts a block, or checks that it is refused for the fixture's reason.
pub(crate) fn run_block(
    engine: &Engine,
    chain: &mut Chain,
    block: &TestBlock,
) -> Result<(), String> {
    let list = block.given_list();
    let before = (chain.head(), chain.len());
    let taken = chain.import(engine, &block.rlp, list.as_deref())?;
    if taken.is_err() && before != (chain.head(), chain.len()) {
        return Err("was refused, but left an effect".to_owned());
    }
    let Some(expected) = &block.expect_exception else {
        let hash = taken.map_err(|refusal| format!("was refused: {refusal:?}"))?;
        let header = block.block_header.as_ref();
        return match header {
            Some(header) if header.hash != hash => Err(format!("has the hash {hash}")),
            _ => Ok(()),
        };
    };
    let Err(refusal) = taken else {
        return Err(format!("is to be refused for {expected}, was taken"));
    };
    if block_exception::matches(expected, &refusal) {
        return Ok(());
    }
    let mut refusals = vec![refusal];
    if expected.contains("TransactionException") && refusals[0].is_transactions_root() {
        match chain.import_mended(engine, &block.rlp)? {
            Ok(_) => {
                return Err(format!(
                    "is to be refused for {expected}, but only its root is wrong"
                ));
            }
            Err(refusal) if block_exception::matches(expected, &refusal) => return Ok(()),
            Err(refusal) => refusals.push(refusal),
        }
    }
    Err(format!(
        "is to be refused for {expected}, was for {refusals:?}"
    ))
}
