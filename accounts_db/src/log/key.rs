//! Keys and their hashes.

use alloy_primitives::{Address, B256, U256};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// A key of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Account(Address),
    Slot(Address, B256),
    Code(B256),
}

impl Key {
    pub(crate) fn slot(address: Address, slot: U256) -> Self {
        Self::Slot(address, slot.into())
    }
}

/// Hashes keys with a secret of the database, so that an attacker cannot construct keys that
/// collide in its index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHasher {
    key: [u8; 16],
}

impl KeyHasher {
    pub(crate) const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// SipHash-1-3 of a byte for the kind of key, followed by the key's bytes.
    pub(crate) fn hash(&self, key: &Key) -> u64 {
        match key {
            Key::Account(address) => self.account(address.as_slice()),
            Key::Slot(address, slot) => self.slot(address.as_slice(), slot.as_slice()),
            Key::Code(hash) => self.bytes::<33>(&[&[2], hash.as_slice()]),
        }
    }

    pub(crate) fn account(&self, address: &[u8]) -> u64 {
        self.bytes::<21>(&[&[0], address])
    }

    pub(crate) fn slot(&self, address: &[u8], slot: &[u8]) -> u64 {
        self.bytes::<53>(&[&[1], address, slot])
    }

    fn bytes<const N: usize>(&self, parts: &[&[u8]]) -> u64 {
        let mut bytes = [0; N];
        let mut end = 0;
        for part in parts {
            bytes[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(&bytes[..end]);
        hasher.finish()
    }
}
