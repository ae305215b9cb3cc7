//! Those who sign: the keys of a network's validators.

use alloy_primitives::{B256, hex};
use ed25519_zebra::VerificationKey;
use std::num::NonZeroU64;
use thiserror::Error;

/// Validators of a network, at most.
pub const VALIDATORS_MAX: usize = 100;

/// What the namespace of every network begins with.
const NAME: &[u8] = b"lockweave";

/// Why keys are not a set of validators.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidSet {
    /// There is no key.
    #[error("a network has at least one validator")]
    Empty,
    /// There are too many keys.
    #[error("a network has at most {VALIDATORS_MAX} validators")]
    TooMany,
    /// A key appears twice.
    #[error("the validator {} appears twice", hex::encode(.0))]
    Twice([u8; 32]),
    /// A key is not one of Ed25519.
    #[error("{} is not an Ed25519 public key", hex::encode(.0))]
    NotAKey([u8; 32]),
}

/// What all validator sets of a network have in common. The genesis file has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The network's id, in the slot [`NETWORK`](crate::contract::NETWORK) of the contract. Signatures begin with it.
    pub id: B256,
    /// Blocks of an epoch, `config.lockweave.epochBlocks`. Epoch `e` has the blocks from `e * epoch_blocks` on.
    pub epoch_blocks: NonZeroU64,
}

impl Network {
    /// The epoch of a block.
    pub const fn epoch(&self, number: u64) -> u64 {
        number / self.epoch_blocks.get()
    }

    /// The last block of an epoch; `None` if its number is too large.
    pub fn last_block(&self, epoch: u64) -> Option<u64> {
        let next = epoch.checked_add(1)?;
        Some(next.checked_mul(self.epoch_blocks.get())? - 1)
    }
}

/// The validators of a network from one epoch on, in the order of their keys.
///
/// Those of the genesis are in the storage of the [contract](crate::contract) there. Each change is a
/// [`Handover`](crate::Handover).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet {
    network: Network,
    first_epoch: u64,
    keys: Vec<VerificationKey>,
}

impl ValidatorSet {
    /// The first validators of a network. The order of the keys does not matter.
    pub fn new(
        network: Network,
        keys: impl IntoIterator<Item = [u8; 32]>,
    ) -> Result<Self, InvalidSet> {
        Self::since(0, network, keys)
    }

    pub(crate) fn since(
        first_epoch: u64,
        network: Network,
        keys: impl IntoIterator<Item = [u8; 32]>,
    ) -> Result<Self, InvalidSet> {
        let mut sorted = Vec::new();
        for key in keys {
            if sorted.len() == VALIDATORS_MAX {
                return Err(InvalidSet::TooMany);
            }
            sorted.push(key);
        }
        sorted.sort_unstable();
        if sorted.is_empty() {
            return Err(InvalidSet::Empty);
        }
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(InvalidSet::Twice(pair[0]));
        }
        let keys = (sorted.iter())
            .map(|key| VerificationKey::try_from(*key).map_err(|_| InvalidSet::NotAKey(*key)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            network,
            first_epoch,
            keys,
        })
    }

    /// The network.
    pub const fn network(&self) -> Network {
        self.network
    }

    /// The first epoch in which they sign.
    pub const fn first_epoch(&self) -> u64 {
        self.first_epoch
    }

    /// Their keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = [u8; 32]> {
        self.keys.iter().map(|key| (*key).into())
    }

    /// What the signatures of this network begin with, so that they are worth nothing in another.
    pub fn namespace(&self) -> Vec<u8> {
        [NAME, self.network.id.as_slice()].concat()
    }

    /// The signatures that make a block final: more than two thirds.
    pub fn quorum(&self) -> usize {
        let count = self.count();
        count - (count - 1) / 3
    }

    /// The number of validators.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn key(&self, index: u32) -> Option<&VerificationKey> {
        self.keys.get(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;

    const NETWORK: Network = Network {
        id: B256::ZERO,
        epoch_blocks: NonZeroU64::new(10).unwrap(),
    };

    /// Distinct keys: encodings of points are common, so the next numbers are tried.
    fn keys(count: usize) -> Vec<[u8; 32]> {
        let numbers = (1_u32..).map(|number| keccak256(number.to_be_bytes()).0);
        numbers
            .filter(|bytes| VerificationKey::try_from(*bytes).is_ok())
            .take(count)
            .collect()
    }

    #[test]
    fn quorums_are_more_than_two_thirds() {
        let quorums = [
            (1, 1),
            (2, 2),
            (3, 3),
            (4, 3),
            (5, 4),
            (6, 5),
            (7, 5),
            (10, 7),
            (100, 67),
        ];
        for (count, quorum) in quorums {
            let set = ValidatorSet::new(NETWORK, keys(count)).unwrap();
            assert_eq!((set.count(), set.quorum()), (count, quorum));
        }
    }

    #[test]
    fn the_order_of_the_keys_does_not_matter() {
        let mut keys = keys(7);
        let set = ValidatorSet::new(NETWORK, keys.clone()).unwrap();
        assert!(set.keys().is_sorted());
        keys.reverse();
        assert_eq!(ValidatorSet::new(NETWORK, keys.clone()).unwrap(), set);
        let other = Network {
            id: B256::repeat_byte(1),
            ..NETWORK
        };
        let other = ValidatorSet::new(other, keys).unwrap();
        assert_ne!(other.namespace(), set.namespace());
    }

    #[test]
    fn wrong_sets_are_refused() {
        let make = |keys| ValidatorSet::new(NETWORK, keys);
        assert_eq!(make(Vec::new()), Err(InvalidSet::Empty));
        assert_eq!(make(keys(VALIDATORS_MAX + 1)), Err(InvalidSet::TooMany));
        let mut twice = keys(3);
        twice.push(twice[0]);
        assert_eq!(make(twice.clone()), Err(InvalidSet::Twice(twice[0])));
        let no_point = (0_u8..=255)
            .map(|first| [first; 32])
            .find(|bytes| VerificationKey::try_from(*bytes).is_err())
            .unwrap();
        assert_eq!(make(vec![no_point]), Err(InvalidSet::NotAKey(no_point)));
    }

    #[test]
    fn epochs_are_blocks_of_the_same_count() {
        let epochs = [0, 9, 10, 19, 20].map(|number| NETWORK.epoch(number));
        assert_eq!(epochs, [0, 0, 1, 1, 2]);
        assert_eq!(NETWORK.last_block(0), Some(9));
        assert_eq!(NETWORK.last_block(1), Some(19));
        assert_eq!(NETWORK.last_block(u64::MAX), None);
        assert_eq!(NETWORK.last_block(u64::MAX / 10), None);
    }
}
