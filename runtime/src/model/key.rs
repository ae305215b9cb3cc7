//! State keys: the unit of locking.

use alloy_primitives::{Address, U256};
use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

/// What part of an account a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPart {
    /// Nonce and balance.
    Account,
    /// The code hash, and with it the account's storage as a whole (its generation).
    Code,
    /// One storage slot.
    Slot(U256),
}

/// The name of one lockable piece of state.
///
/// Keys sort by address first, so that all keys of one account stand together in a set. The whole
/// state is not a key of this type: [`AccessSet::Everything`](crate::AccessSet::Everything) stands
/// for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateKey {
    /// The account.
    pub address: Address,
    /// The part of it.
    pub part: KeyPart,
}

impl StateKey {
    /// Nonce and balance of `address`.
    #[inline]
    pub const fn account(address: Address) -> Self {
        Self {
            address,
            part: KeyPart::Account,
        }
    }

    /// Code hash of `address`. The code's bytes are stored by hash and never locked.
    #[inline]
    pub const fn code(address: Address) -> Self {
        Self {
            address,
            part: KeyPart::Code,
        }
    }

    /// Storage slot `slot` of `address`.
    #[inline]
    pub const fn slot(address: Address, slot: U256) -> Self {
        Self {
            address,
            part: KeyPart::Slot(slot),
        }
    }

    /// Whether the key names a nonce and balance.
    #[inline]
    pub const fn is_account(&self) -> bool {
        matches!(self.part, KeyPart::Account)
    }
}

/// Hashes the words of an address, and returns the rest of it.
#[inline]
fn hash_words<H: Hasher>(address: &Address, state: &mut H) -> u64 {
    let (words, rest) = address.as_chunks::<8>();
    for word in words {
        state.write_u64(u64::from_le_bytes(*word));
    }
    rest.iter()
        .fold(0, |rest, byte| rest << 8 | u64::from(*byte))
}

/// An address as a key of maps. Hashed in words: as bytes it would be read in pieces that overlap, and of an address that was
/// just copied those cannot be had before it has reached the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressKey(pub(crate) Address);

impl Hash for AddressKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let rest = hash_words(&self.0, state);
        state.write_u64(rest);
    }
}

/// The number of a slot as a key of maps, in words as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotNumber(pub(crate) U256);

impl Hash for SlotNumber {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        for limb in self.0.as_limbs() {
            state.write_u64(*limb);
        }
    }
}

/// In words: keys are hashed often, and byte by byte takes several times as long.
impl Hash for StateKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let rest = hash_words(&self.address, state);
        match self.part {
            KeyPart::Account => state.write_u64(rest),
            KeyPart::Code => state.write_u64(rest | 1 << 32),
            KeyPart::Slot(slot) => {
                state.write_u64(rest | 2 << 32);
                SlotNumber(slot).hash(state);
            }
        }
    }
}

impl Ord for StateKey {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.address
            .cmp(&other.address)
            .then_with(|| self.part.cmp(&other.part))
    }
}

impl PartialOrd for StateKey {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            KeyPart::Account => write!(f, "account {}", self.address),
            KeyPart::Code => write!(f, "code {}", self.address),
            KeyPart::Slot(slot) => write!(f, "slot {} {slot:#x}", self.address),
        }
    }
}
