//! Where checking a chain begins: at its genesis, or, where the first blocks are no longer kept, at the
//! oldest block whose state is.

use super::VerifyError;
use crate::{
    chain::{ChainBlock, ChainParameters, ReceiptsSummary, execution::ExecutedBlock},
    store::{ChainStore, Datadir, DatadirError, DurableStore, Retention, StoreError},
};
use alloy_consensus::proofs::calculate_transaction_root;
use alloy_primitives::B256;
use lockweave_evm_adapter::EvmTransaction;
use lockweave_runtime::{StateDelta, StateView};
use std::sync::Arc;
use tempfile::TempDir;

/// The block that everything behind it is executed on.
pub(super) struct Base<'s> {
    pub(super) block: ChainBlock,
    states: States<'s>,
}

/// The states that blocks are executed on.
enum States<'s> {
    /// From genesis on, in a chain of their own.
    Own(Box<ScratchChain>),
    /// The stored ones.
    Stored(&'s DurableStore),
}

/// How a chain that is executed again is kept.
const AGAIN: Retention = Retention {
    state_blocks: 1,
    body_blocks: 1,
    transactions: 1,
    trie_memory_bytes: 1 << 30,
};

impl<'s> Base<'s> {
    /// The first block of a chain that is kept from its genesis on; of another the oldest whose state
    /// is kept, which is compared with its header.
    pub(super) fn of(
        parameters: &ChainParameters,
        store: &'s DurableStore,
    ) -> Result<Self, VerifyError> {
        let genesis = parameters.genesis_block()?;
        if store.oldest_block() <= genesis.number() {
            let scratch = ScratchChain::new(parameters)?;
            return Ok(Self {
                block: genesis,
                states: States::Own(Box::new(scratch)),
            });
        }
        let number = store.oldest_block().max(store.oldest_state());
        let block = kept(store, number)?;
        let stated = block.header.state_root;
        let computed = store.root_after(number, &StateDelta::default())?;
        if stated != computed {
            return Err(VerifyError::State {
                number,
                stated,
                computed,
            });
        }
        Ok(Self {
            block,
            states: States::Stored(store),
        })
    }

    /// The chain whose states blocks are executed on.
    pub(super) fn chain(&self) -> &DurableStore {
        match &self.states {
            States::Own(own) => &own.store,
            States::Stored(store) => store,
        }
    }

    /// The state after block `number`, which was executed again or is the base.
    pub(super) fn state_at(&self, number: u64) -> Result<Arc<dyn StateView>, StoreError> {
        self.chain().state_at(number)
    }

    /// The state root after an executed block, whose state the next one is executed on.
    pub(super) fn advance(&self, executed: &ExecutedBlock) -> Result<B256, StoreError> {
        let number = executed.block.number();
        match &self.states {
            States::Own(own) => {
                let mut prepared = own.store.prepare(number, executed.delta.clone())?;
                let root = prepared.state_root();
                prepared.commit(Arc::new(executed.block.clone()))?;
                Ok(root)
            }
            States::Stored(store) => store.root_after(number - 1, &executed.delta),
        }
    }
}

/// A chain in a temporary folder, which is removed at the end.
struct ScratchChain {
    store: DurableStore,
    _folder: TempDir,
}

impl ScratchChain {
    fn new(parameters: &ChainParameters) -> Result<Self, VerifyError> {
        let folder = tempfile::tempdir().map_err(|source| DatadirError::File {
            path: std::env::temp_dir().display().to_string(),
            source,
        })?;
        let datadir = Datadir::open(folder.path())?;
        datadir.init(parameters)?;
        Ok(Self {
            store: DurableStore::open(datadir, parameters, AGAIN)?,
            _folder: folder,
        })
    }
}

/// A block that must be there, with transactions that are found by their hashes.
pub(super) fn kept(store: &DurableStore, number: u64) -> Result<ChainBlock, VerifyError> {
    let head = store.head().number();
    let block = store.block(number)?;
    let block = block.ok_or(StoreError::UnknownBlock { number, head })?;
    for (index, transaction) in block.transactions.iter().enumerate() {
        let found = store.transaction(transaction.hash());
        if found.is_none_or(|place| place.block != number || place.index as usize != index) {
            return Err(VerifyError::Unfound { number, index });
        }
    }
    Ok(ChainBlock::clone(&block))
}

/// Holds the kept blocks up to `base`, which cannot be executed again, against their headers and each
/// other; how many there are without `base`.
pub(super) fn check_unexecuted(store: &DurableStore, base: u64) -> Result<u64, VerifyError> {
    let oldest = store.oldest_block();
    let mut parent: Option<B256> = None;
    for number in oldest..=base {
        let block = kept(store, number)?;
        if let Some(expected) = parent.filter(|parent| *parent != block.header.parent_hash) {
            return Err(VerifyError::Unlinked {
                number,
                stated: block.header.parent_hash,
                expected,
            });
        }
        check_body(&block)?;
        parent = Some(block.hash);
    }
    Ok(base.saturating_sub(oldest))
}

/// Holds transactions and receipts against what the header commits to.
fn check_body(block: &ChainBlock) -> Result<(), VerifyError> {
    let envelopes: Vec<_> = (block.transactions.iter())
        .map(EvmTransaction::envelope)
        .collect();
    let transactions_root = calculate_transaction_root(&envelopes);
    let gas_used = (block.receipts.last()).map_or(0, |receipt| receipt.cumulative_gas_used);
    let receipts = ReceiptsSummary::of(&block.receipts, &block.receipt_roots);
    let header = &block.header;
    let field = if header.transactions_root != transactions_root {
        "transactionsRoot"
    } else if header.receipts_root != receipts.root {
        "receiptsRoot"
    } else if header.gas_used != gas_used {
        "gasUsed"
    } else if header.logs_bloom != receipts.bloom {
        "logsBloom"
    } else {
        return Ok(());
    };
    Err(VerifyError::Body {
        number: block.number(),
        field,
    })
}
