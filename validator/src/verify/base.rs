//! Where checking a chain begins: at its genesis, or, where the first blocks are no longer kept, at the
//! oldest block whose state is.

use super::VerifyError;
use crate::{
    chain::{ChainBlock, ChainParameters, ReceiptsSummary, merkle_state::MerkleState},
    store::{ChainStore, DurableStore, MemoryStore, Retention, StoreError},
};
use alloy_consensus::proofs::calculate_transaction_root;
use alloy_primitives::{Address, B256, U256};
use lockweave_evm_adapter::EvmTransaction;
use lockweave_runtime::{Account, Code, MemoryState, StateDelta, StateError, StateView};
use std::sync::Arc;

/// The block that everything behind it is executed on, with the state after it.
pub(super) struct Base {
    pub(super) block: ChainBlock,
    /// A chain that begins with it.
    pub(super) chain: MemoryStore,
    /// What the stored state knows and a copy of its accounts and slots does not: codes, and the
    /// hashes of earlier blocks. Nothing for genesis.
    stored: Option<Arc<dyn StateView>>,
}

/// How a chain that is executed again is kept.
const AGAIN: Retention = Retention {
    state_blocks: 0,
    body_blocks: 1,
    transactions: usize::MAX,
};

impl Base {
    /// The first block of a chain that is kept from its genesis on; of another the oldest whose state
    /// is kept, which is held against what its header commits to.
    pub(super) fn of(
        parameters: &ChainParameters,
        store: &DurableStore,
    ) -> Result<Self, VerifyError> {
        let genesis = parameters.genesis_block()?;
        if store.oldest_block() <= genesis.number() {
            let chain = MemoryStore::new(AGAIN, genesis.clone(), &parameters.genesis_delta());
            return Ok(Self {
                block: genesis,
                chain,
                stored: None,
            });
        }
        let number = store.oldest_block().max(store.oldest_state());
        let block = kept(store, number)?;
        let state = store.whole_state_at(number)?;
        let delta = delta_of(&state);
        let chain = MemoryStore::new(AGAIN, block.clone(), &delta);
        let (stated, computed) = (block.header.state_root, chain.commitment());
        // A block of another client commits to the trie.
        if stated != computed && stated != MerkleState::of(state).root() {
            return Err(VerifyError::State {
                number,
                stated,
                computed,
            });
        }
        Ok(Self {
            block,
            chain,
            stored: Some(store.state_at(number)?),
        })
    }

    /// The state after block `number`, which was executed again or is the base.
    pub(super) fn state_at(&self, number: u64) -> Result<Arc<dyn StateView>, StoreError> {
        let again = self.chain.state_at(number)?;
        Ok(match &self.stored {
            None => again,
            Some(stored) => Arc::new(OnStored {
                again,
                stored: Arc::clone(stored),
                base: self.block.number(),
            }),
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

/// A state as the change that makes it out of nothing, codes left out.
fn delta_of(state: &MemoryState) -> StateDelta {
    let mut delta = StateDelta::default();
    for (address, account) in state.accounts() {
        delta.accounts.push((address, Some(*account)));
        let slots = state.slots(address);
        (delta.slots).extend(slots.map(|(slot, value)| (address, slot, value)));
    }
    delta
}

/// A state that was executed again, over the stored one it began with.
struct OnStored {
    again: Arc<dyn StateView>,
    stored: Arc<dyn StateView>,
    /// The block that `stored` is the state after.
    base: u64,
}

impl StateView for OnStored {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        self.again.account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        self.again.slot(address, slot)
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        match self.again.code(hash)? {
            Some(code) => Ok(Some(code)),
            None => self.stored.code(hash),
        }
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        if number < self.base {
            self.stored.block_hash(number)
        } else {
            self.again.block_hash(number)
        }
    }

    fn has_storage(&self, address: Address) -> Result<bool, StateError> {
        self.again.has_storage(address)
    }
}
