//! A small cache of the hashes that name storage slots.

use alloy_primitives::{U256, keccak256};
use std::fmt;

/// Length of a [`SlotPreimage`].
pub(super) const PREIMAGE_LEN: usize = 64;
/// What Solidity hashes to find the slot of a mapping's entry: the key and the mapping's own slot.
pub(crate) type SlotPreimage = [u8; PREIMAGE_LEN];

/// Entries of the cache, of 96 bytes each: they fit into a core's own cache.
const ENTRIES: usize = 512;

/// A direct-mapped cache of hashes of 64 bytes.
///
/// Preimages that collide in it cause misses, never wrong hashes.
#[derive(Default)]
pub(crate) struct SlotHashes {
    /// Empty until the first hash.
    entries: Box<[(SlotPreimage, U256)]>,
}

impl SlotHashes {
    /// The hash of a preimage, computed if it is not cached.
    pub(crate) fn hash(&mut self, preimage: &SlotPreimage) -> U256 {
        self.get(preimage).unwrap_or_else(|| {
            let hash = keccak256(preimage).into();
            self.put(preimage, hash);
            hash
        })
    }

    pub(super) fn get(&self, preimage: &SlotPreimage) -> Option<U256> {
        let (known, hash) = self.entries.get(index(preimage))?;
        (known == preimage).then_some(*hash)
    }

    pub(super) fn put(&mut self, preimage: &SlotPreimage, hash: U256) {
        if self.entries.is_empty() {
            // Every entry must be correct from the start.
            let zeros = [0; PREIMAGE_LEN];
            self.entries = vec![(zeros, keccak256(zeros).into()); ENTRIES].into();
        }
        self.entries[index(preimage)] = (*preimage, hash);
    }
}

/// The entry of a preimage, by the low bytes of both words, in which addresses and numbers differ.
fn index(preimage: &SlotPreimage) -> usize {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let [.., key, _, _, _, slot] = *preimage.as_chunks::<8>().0 else {
        return 0;
    };
    let (key, slot) = (u64::from_be_bytes(key), u64::from_be_bytes(slot));
    let mixed = (key.wrapping_mul(MIX) ^ slot).wrapping_mul(MIX);
    usize::try_from(mixed >> (u64::BITS - ENTRIES.trailing_zeros())).unwrap_or_default()
}

impl fmt::Debug for SlotHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotHashes").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    fn preimage_of(key: u64, slot: u64) -> SlotPreimage {
        let words = [U256::from(key), U256::from(slot)];
        let bytes = words.map(|word| word.to_be_bytes::<32>()).concat();
        bytes.try_into().expect("two words")
    }

    #[test]
    fn cached_hashes_are_correct() {
        let mut hashes = SlotHashes::default();
        assert_eq!(hashes.get(&[0; PREIMAGE_LEN]), None);
        let preimages = (0..4 * ENTRIES as u64).map(|key| preimage_of(key / 2, key % 2));
        for preimage in preimages.clone() {
            let hash = keccak256(preimage).into();
            assert!(hashes.get(&preimage).is_none_or(|known| known == hash));
            hashes.put(&preimage, hash);
            assert_eq!(hashes.get(&preimage), Some(hash));
            assert_eq!(hashes.hash(&preimage), hash);
        }
        let another = preimage_of(u64::MAX, 7);
        let hash = U256::from_be_bytes(keccak256(another).0);
        assert_eq!(hashes.hash(&another), hash);
        assert_eq!(hashes.get(&another), Some(hash));
        let known: Vec<_> = preimages
            .filter_map(|preimage| Some((preimage, hashes.get(&preimage)?)))
            .collect();
        for (preimage, hash) in &known {
            assert_eq!(B256::from(*hash), keccak256(preimage));
        }
        // They spread: of four preimages for each entry, one is kept.
        assert!(known.len() > ENTRIES / 2, "{}", known.len());
    }

    #[test]
    fn an_uncached_preimage_has_no_wrong_hash() {
        let mut hashes = SlotHashes::default();
        hashes.put(&preimage_of(1, 1), U256::ZERO);
        let hash = hashes.get(&[0; PREIMAGE_LEN]);
        assert!(hash.is_none_or(|known| B256::from(known) == keccak256([0; PREIMAGE_LEN])));
    }
}
