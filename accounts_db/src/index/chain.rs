//! The blocks of the database: which are readable, their hashes and their payloads.

use crate::{error::ReadError, log::Location};
use alloy_primitives::B256;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;

/// Number of blocks that `BLOCKHASH` reaches.
pub(crate) const HASHES_REACHED: u64 = 256;

/// A block of the retained history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSummary {
    /// Block number.
    pub number: u64,
    /// Block hash, if the caller gave one.
    pub hash: Option<B256>,
    /// State root after the block.
    pub state_root: B256,
    /// Sequence number of its record.
    pub(crate) sequence: u64,
    /// End of the log after the block: entries before it are visible at the block.
    pub(crate) horizon: Location,
}

/// Location of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct PayloadLocation {
    pub(crate) location: Location,
    /// Length of its entry.
    pub(crate) bytes: u64,
}

/// The blocks, their hashes and their payloads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    pub(crate) blocks: BTreeMap<u64, BlockSummary>,
    pub(crate) hashes: BTreeMap<u64, B256>,
    pub(crate) payloads: BTreeMap<u64, PayloadLocation>,
    /// The oldest readable block. It never decreases.
    pub(crate) oldest: u64,
}

/// A block in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct StoredBlock {
    number: u64,
    hash: Option<[u8; 32]>,
    state_root: [u8; 32],
    sequence: u64,
    horizon: Location,
}

/// A chain in a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct StoredChain {
    blocks: Vec<StoredBlock>,
    hashes: Vec<(u64, [u8; 32])>,
    payloads: BTreeMap<u64, PayloadLocation>,
    oldest: u64,
}

impl Chain {
    /// The oldest readable block.
    pub(crate) fn first(&self) -> Option<&BlockSummary> {
        self.blocks.first_key_value().map(|(_, block)| block)
    }

    /// A readable block.
    pub(crate) fn retained(&self, number: u64) -> Result<&BlockSummary, ReadError> {
        let latest = self.latest().ok_or(ReadError::Empty)?;
        self.blocks.get(&number).ok_or(ReadError::NotRetained {
            number,
            oldest: self.oldest,
            latest: latest.number,
        })
    }

    /// The newest block.
    pub(crate) fn latest(&self) -> Option<&BlockSummary> {
        self.blocks.last_key_value().map(|(_, block)| block)
    }

    /// Adds a block after the newest, or returns to an earlier one.
    pub(crate) fn advance(&mut self, block: BlockSummary, oldest: u64) {
        let number = block.number;
        self.blocks.retain(|known, _| *known < number);
        self.hashes.retain(|known, _| *known < number);
        if let Some(hash) = block.hash {
            self.hashes.insert(number, hash);
        }
        self.blocks.insert(number, block);
        self.oldest = self.oldest.max(oldest);
        let oldest = self.oldest;
        self.blocks = self.blocks.split_off(&oldest);
        self.hashes = self
            .hashes
            .split_off(&oldest.saturating_sub(HASHES_REACHED));
    }

    pub(crate) fn store(&self) -> StoredChain {
        StoredChain {
            blocks: (self.blocks.values())
                .map(|block| StoredBlock {
                    number: block.number,
                    hash: block.hash.map(|hash| hash.0),
                    state_root: block.state_root.0,
                    sequence: block.sequence,
                    horizon: block.horizon,
                })
                .collect(),
            hashes: (self.hashes.iter())
                .map(|(number, hash)| (*number, hash.0))
                .collect(),
            payloads: self.payloads.clone(),
            oldest: self.oldest,
        }
    }

    pub(crate) fn load(stored: StoredChain) -> Self {
        Self {
            blocks: (stored.blocks.into_iter())
                .map(|stored| {
                    let block = BlockSummary {
                        number: stored.number,
                        hash: stored.hash.map(B256::from),
                        state_root: B256::from(stored.state_root),
                        sequence: stored.sequence,
                        horizon: stored.horizon,
                    };
                    (stored.number, block)
                })
                .collect(),
            hashes: (stored.hashes.into_iter())
                .map(|(number, hash)| (number, B256::from(hash)))
                .collect(),
            payloads: stored.payloads,
            oldest: stored.oldest,
        }
    }
}
