//! The observation of one call: its keys, the slots' values, and the hashes.

use super::inputs::Inputs;
use crate::machine::Preimages;
use alloy_primitives::{B256, U256, map::HashMap};
use lockweave_runtime::{AccessEntry, StateKey};

/// Keys of one call that can be explained, at most.
pub(crate) const KEYS_MAX: usize = 256;

/// One key that a call accessed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    pub(crate) entry: AccessEntry,
    /// The slot's value before the call; zero for other keys.
    pub(crate) value: U256,
}

/// The keys, values and hashes of one call.
pub(crate) struct Observation<'a> {
    pub(crate) inputs: Inputs<'a>,
    /// Each key once, in the order of first access.
    pub(crate) keys: Vec<Observed>,
    pub(crate) preimages: &'a Preimages,
    /// Of calldata.
    pub(crate) index: Vec<(u64, u16)>,
    /// All hashes, sorted.
    hashes: Vec<U256>,
    /// Their last twenty bytes, sorted, with the hashes.
    endings: Vec<(U256, U256)>,
}

impl<'a> Observation<'a> {
    /// Collects accesses, in order and with duplicates, and the slots' values. `None` if there are too many to explain.
    pub(crate) fn new(
        inputs: Inputs<'a>,
        touched: impl IntoIterator<Item = (AccessEntry, Option<U256>)>,
        preimages: &'a Preimages,
    ) -> Option<Self> {
        let mut places = HashMap::<StateKey, usize>::default();
        let mut keys: Vec<Observed> = Vec::new();
        for (entry, value) in touched {
            let place = *places.entry(entry.key).or_insert(keys.len());
            match keys.get_mut(place) {
                Some(known) => known.entry.mode = known.entry.mode.union(entry.mode),
                None if place == KEYS_MAX => return None,
                None => keys.push(Observed {
                    entry,
                    value: value.unwrap_or_default(),
                }),
            }
        }
        let mut hashes: Vec<_> = preimages.hashes().collect();
        hashes.sort_unstable();
        let mut endings: Vec<_> = hashes.iter().map(|hash| (ending(*hash), *hash)).collect();
        endings.sort_unstable();
        Some(Self {
            index: inputs.index(),
            inputs,
            keys,
            preimages,
            hashes,
            endings,
        })
    }

    /// The hash that ends in this address: a contract made with CREATE2 has one.
    pub(crate) fn hash_ending_in(&self, address: U256) -> Option<U256> {
        let found = self
            .endings
            .partition_point(|(ending, _)| *ending < address);
        let (ending, hash) = self.endings.get(found)?;
        (*ending == address).then_some(*hash)
    }

    /// The closest hash below a value, within `reach`, and the distance: an array's first element lies at a hash, a
    /// structure's later fields after one.
    pub(crate) fn hash_below(&self, value: U256, reach: u64) -> Option<(U256, U256)> {
        let behind = self.hashes.partition_point(|hash| *hash <= value);
        let hash = *self.hashes.get(behind.checked_sub(1)?)?;
        let distance = value.checked_sub(hash)?;
        (distance <= U256::from(reach)).then_some((hash, distance))
    }

    /// The value of a slot, if the call accessed it.
    pub(crate) fn slot(&self, key: &StateKey) -> Option<U256> {
        let found = self.keys.iter().find(|known| known.entry.key == *key);
        found.map(|known| known.value)
    }
}

/// The last twenty bytes of a word.
fn ending(word: U256) -> U256 {
    (word << 96) >> 96
}

/// A hash as a number.
pub(crate) fn hash_value(hash: B256) -> U256 {
    U256::from_be_bytes(hash.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, keccak256};
    use lockweave_runtime::AccessMode;

    fn inputs() -> Inputs<'static> {
        Inputs {
            caller: Address::ZERO,
            target: Address::ZERO,
            beneficiary: Address::ZERO,
            calldata: &[],
        }
    }

    #[test]
    fn a_structure_lies_behind_the_closest_hash() {
        let mut preimages = Preimages::default();
        let hash = hash_value(keccak256([1]));
        preimages.record(hash, &[1]);
        preimages.record(hash + U256::from(2), &[2]);
        let seen = Observation::new(inputs(), std::iter::empty(), &preimages).expect("no keys");
        let reach = 100;
        let found = seen.hash_below(hash + U256::from(5), reach);
        assert_eq!(found, Some((hash + U256::from(2), U256::from(3))));
        assert_eq!(seen.hash_below(hash - U256::from(1), reach), None);
        assert_eq!(seen.hash_below(hash + U256::from(500), reach), None);
        assert_eq!(seen.hash_ending_in(ending(hash)), Some(hash));
        assert_eq!(seen.hash_ending_in(ending(hash) + U256::from(1)), None);
    }

    #[test]
    fn room_is_bounded() {
        let mut preimages = Preimages::default();
        for number in 0..2 * Preimages::COUNT_MAX {
            preimages.record(U256::from(number), &[0; 64]);
        }
        preimages.record(U256::MAX, &[0; Preimages::BYTES_MAX + 1]);
        assert_eq!(preimages.hashes().count(), Preimages::COUNT_MAX);
        let touched = |keys: usize| {
            (0..keys).map(|slot| {
                let key = StateKey::slot(Address::ZERO, U256::from(slot));
                let mode = AccessMode::Read;
                (AccessEntry { key, mode }, None)
            })
        };
        let twice = touched(KEYS_MAX).chain(touched(KEYS_MAX));
        let seen = Observation::new(inputs(), twice, &preimages).expect("not too many keys");
        assert_eq!(seen.keys.len(), KEYS_MAX);
        assert!(Observation::new(inputs(), touched(KEYS_MAX + 1), &preimages).is_none());
    }
}
