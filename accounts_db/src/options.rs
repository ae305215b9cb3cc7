//! How a database is opened.

use crate::error::OpenError;

/// When checkpoints are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointMode {
    /// On a background thread, when enough was appended.
    Background,
    /// At the end of the commit that makes one due; for reproducible tests.
    Inline,
    /// Only when [`Db::checkpoint`](crate::Db::checkpoint) is called.
    Manual,
}

/// How a database is opened. Every field has a default.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether a missing database is created.
    pub create: bool,
    /// Whether the database is only read; several read-only openings may exist at once.
    pub read_only: bool,
    /// Number of blocks before the newest that stay readable and undoable.
    pub history_blocks: u64,
    /// Number of blocks whose payload is kept, counted from the newest.
    pub payload_blocks: u64,
    /// Largest payload of a block, in bytes.
    pub payload_bytes_max: u64,
    /// Size of a log segment in bytes, a power of two; fixed when the database is created.
    pub segment_bytes: u64,
    /// Logarithm of the number of index shards; fixed when the database is created.
    pub shard_bits: u32,
    /// Bytes appended after which a checkpoint is due, or twice the size of the last checkpoint (8
    /// bytes a key) if that is more. Reopening reads about this much of the log.
    pub checkpoint_bytes: u64,
    /// When checkpoints are written.
    pub checkpoint_mode: CheckpointMode,
    /// Ratio of log bytes to live bytes above which compaction works.
    pub space_amplification: f64,
    /// Memory of the state trie's nodes in bytes. More of it makes roots of large states faster: all
    /// nodes take some 70 bytes an account or slot. Nodes newer than the last checkpoint can exceed
    /// the limit for a short time.
    pub trie_memory_bytes: usize,
    /// Memory for what the state trie's nodes were at earlier blocks, in bytes. A block with 25,000 changes takes
    /// 3 to 4 MB. [`Reader::proof`](crate::Reader::proof) at a block for which there is none takes as long
    /// as a block with all changes since.
    pub trie_history_bytes: usize,
    /// Threads for lookups and the state root of a block; 0 means one for each core.
    pub threads: usize,
    /// Derives a new database's name and hash key from this number instead of randomness, for
    /// reproducible tests. An attacker who knows the seed can construct colliding keys.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create: true,
            read_only: false,
            history_blocks: 256,
            payload_blocks: u64::MAX,
            payload_bytes_max: 64 << 20,
            segment_bytes: 128 << 20,
            shard_bits: 14,
            checkpoint_bytes: 128 << 20,
            checkpoint_mode: CheckpointMode::Background,
            space_amplification: 1.35,
            trie_memory_bytes: 2 << 30,
            trie_history_bytes: 1 << 30,
            threads: 0,
            seed: None,
        }
    }
}

/// Smallest segment: a header page and a few records.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Largest segment.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 16 << 30;
/// Largest logarithm of the number of shards.
pub(crate) const SHARD_BITS_MAX: u32 = 20;
/// Longest history: every retained block takes memory.
const HISTORY_BLOCKS_MAX: u64 = 1 << 20;
/// Largest payload the format holds.
const PAYLOAD_BYTES_MAX: u64 = 1 << 30;

impl Options {
    /// Options for a database that is only read.
    pub fn read_only() -> Self {
        Self {
            create: false,
            read_only: true,
            ..Self::default()
        }
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let wrong = |option, why: &str| {
            Err(OpenError::Options {
                option,
                why: why.to_owned(),
            })
        };
        if !self.segment_bytes.is_power_of_two()
            || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
        {
            return wrong(
                "segment_bytes",
                "must be a power of two from 64 KiB to 16 GiB",
            );
        }
        if self.shard_bits > SHARD_BITS_MAX {
            return wrong("shard_bits", "at most 20");
        }
        if self.history_blocks > HISTORY_BLOCKS_MAX {
            return wrong("history_blocks", "at most 1048576");
        }
        if self.payload_bytes_max > PAYLOAD_BYTES_MAX {
            return wrong("payload_bytes_max", "at most 1 GiB");
        }
        if !(self.space_amplification >= 1.1 && self.space_amplification.is_finite()) {
            return wrong("space_amplification", "must be 1.1 or more");
        }
        if self.create && self.read_only {
            return wrong("create", "a read-only database is not created");
        }
        Ok(())
    }
}
