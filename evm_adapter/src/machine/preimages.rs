//! The Keccak preimages of one call.

use alloy_primitives::{U256, map::HashMap};

/// The Keccak preimages of one call, by their hash.
#[derive(Debug, Default)]
pub(crate) struct Preimages {
    by_hash: HashMap<U256, Vec<u8>>,
}

impl Preimages {
    /// Preimages recorded for one call, at most. A call with more computes rather than reads mappings, and its
    /// slots seldom follow from its inputs.
    pub(crate) const COUNT_MAX: usize = 512;
    /// Longer preimages are not recorded: templates explain no slot by them.
    pub(crate) const BYTES_MAX: usize = 160;

    pub(crate) fn clear(&mut self) {
        self.by_hash.clear();
    }

    /// Records a hash, up to the limits on length and number.
    pub(crate) fn record(&mut self, hash: U256, preimage: &[u8]) {
        if preimage.len() <= Self::BYTES_MAX && self.by_hash.len() < Self::COUNT_MAX {
            self.by_hash
                .entry(hash)
                .or_insert_with(|| preimage.to_vec());
        }
    }

    pub(crate) fn get(&self, hash: U256) -> Option<&[u8]> {
        self.by_hash.get(&hash).map(Vec::as_slice)
    }

    /// All hashes, in no order.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = U256> {
        self.by_hash.keys().copied()
    }
}
