//! Those who sign: the keys of a network's validators.

use alloy_primitives::{B256, hex, keccak256};
use ed25519_zebra::VerificationKey;
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

/// The validators of a network, in the order of their keys.
///
/// The genesis file names them, in `config.lockweave.validators`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet {
    keys: Vec<VerificationKey>,
    namespace: Vec<u8>,
}

impl ValidatorSet {
    /// The validators of the network with this genesis block. The order of the keys does not matter.
    pub fn new(
        genesis_hash: B256,
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
        let text = [genesis_hash.as_slice(), sorted.as_flattened()].concat();
        let keys = (sorted.iter())
            .map(|key| VerificationKey::try_from(*key).map_err(|_| InvalidSet::NotAKey(*key)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            keys,
            namespace: [NAME, keccak256(text).as_slice()].concat(),
        })
    }

    /// What the signatures of this network begin with, so that they are worth nothing in another: its name, and the
    /// hash of its genesis and its validators.
    pub fn namespace(&self) -> Vec<u8> {
        self.namespace.clone()
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
            let set = ValidatorSet::new(B256::ZERO, keys(count)).unwrap();
            assert_eq!((set.count(), set.quorum()), (count, quorum));
        }
    }

    #[test]
    fn the_order_of_the_keys_does_not_matter() {
        let mut keys = keys(7);
        let set = ValidatorSet::new(B256::ZERO, keys.clone()).unwrap();
        keys.reverse();
        assert_eq!(ValidatorSet::new(B256::ZERO, keys.clone()).unwrap(), set);
        let other_genesis = ValidatorSet::new(B256::repeat_byte(1), keys.clone()).unwrap();
        assert_ne!(other_genesis.namespace(), set.namespace());
        keys.pop();
        let smaller = ValidatorSet::new(B256::ZERO, keys).unwrap();
        assert_ne!(smaller.namespace(), set.namespace());
    }

    #[test]
    fn wrong_sets_are_refused() {
        let make = |keys| ValidatorSet::new(B256::ZERO, keys);
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
}
