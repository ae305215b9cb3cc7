//! The state commitment: `LtHash`, a homomorphic hash of a set.
//!
//! Every element of the state (an account, a nonzero slot) is expanded by BLAKE3's extendable
//! output to 2048 bytes, read as 1024 lanes of 16 bits. The lanes of all elements are added modulo
//! 2^16. The order does not matter, removed elements are subtracted, and threads can sum parts
//! independently. The commitment is BLAKE3 of the sum. (Bellare and Micciancio 1997; parameters of
//! Lewi et al., "Securing Update Propagation with Homomorphic Hashing", 2019.)
//!
//! | element | bytes |
//! | --- | --- |
//! | account | `01`, address 20, nonce 8 little-endian, balance 32 big-endian, code hash 32 |
//! | slot | `02`, address 20, slot 32 big-endian, value 32 big-endian |

use super::xof::{Accumulator, ELEMENT_BYTES_MAX, Sign};
use alloy_primitives::{Address, B256, U256};
use lockweave_runtime::Account;
use std::fmt;

/// Bytes of a lattice.
pub const LATTICE_BYTES: usize = 2048;
const LANES: usize = LATTICE_BYTES / 2;

/// A sum of elements.
#[derive(Clone, PartialEq, Eq)]
pub struct Lattice {
    lanes: Box<[u16; LANES]>,
}

impl Default for Lattice {
    /// The sum of no elements.
    fn default() -> Self {
        Self {
            lanes: Box::new([0; LANES]),
        }
    }
}

impl fmt::Debug for Lattice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lattice({})", self.commitment())
    }
}

impl Lattice {
    /// The lanes, little-endian.
    pub fn to_bytes(&self) -> [u8; LATTICE_BYTES] {
        let mut bytes = [0; LATTICE_BYTES];
        for (lane, bytes) in self.lanes.iter().zip(bytes.chunks_exact_mut(2)) {
            bytes.copy_from_slice(&lane.to_le_bytes());
        }
        bytes
    }

    /// The lattice with these lanes.
    pub fn from_bytes(bytes: &[u8; LATTICE_BYTES]) -> Self {
        let mut lattice = Self::default();
        for (lane, bytes) in lattice.lanes.iter_mut().zip(bytes.chunks_exact(2)) {
            *lane = u16::from_le_bytes([bytes[0], bytes[1]]);
        }
        lattice
    }

    /// The state commitment: BLAKE3 of the lanes.
    pub fn commitment(&self) -> B256 {
        B256::from(*blake3::hash(&self.to_bytes()).as_bytes())
    }

    /// Adds a change. Lanes are numbers modulo 2^16: wrapping is part of the hash.
    pub fn apply(&mut self, change: &LatticeChange) {
        for (lane, sum) in self.lanes.iter_mut().zip(change.0.lanes()) {
            *lane = lane.wrapping_add(sum);
        }
    }
}

/// The sum of added and removed elements; parts from several threads can be merged.
#[derive(Clone, Default)]
pub struct LatticeChange(Accumulator);

impl fmt::Debug for LatticeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lattice = Lattice::default();
        lattice.apply(self);
        write!(f, "LatticeChange({lattice:?})")
    }
}

impl LatticeChange {
    /// Replaces an account's element.
    pub fn account(&mut self, address: Address, before: Option<&Account>, after: Option<&Account>) {
        if before == after {
            return;
        }
        for (account, sign) in [(before, Sign::Minus), (after, Sign::Plus)] {
            let Some(account) = account else { continue };
            let mut element = [0; ELEMENT_BYTES_MAX];
            element[0] = 1;
            element[1..21].copy_from_slice(address.as_slice());
            element[21..29].copy_from_slice(&account.nonce.to_le_bytes());
            element[29..61].copy_from_slice(&account.balance.to_be_bytes::<32>());
            element[61..93].copy_from_slice(account.code_hash.as_slice());
            self.0.add(&element, 93, sign);
        }
    }

    /// Replaces a slot's element; a zero value has none.
    pub fn slot(&mut self, address: Address, slot: B256, before: U256, after: U256) {
        if before == after {
            return;
        }
        for (value, sign) in [(before, Sign::Minus), (after, Sign::Plus)] {
            if value.is_zero() {
                continue;
            }
            let mut element = [0; ELEMENT_BYTES_MAX];
            element[0] = 2;
            element[1..21].copy_from_slice(address.as_slice());
            element[21..53].copy_from_slice(slot.as_slice());
            element[53..85].copy_from_slice(&value.to_be_bytes::<32>());
            self.0.add(&element, 85, sign);
        }
    }

    /// Adds the sum of another part.
    pub fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::b256;

    /// The lanes of one element as the `blake3` crate expands it: the oracle.
    fn expanded(element: &[u8]) -> Lattice {
        let mut bytes = [0; LATTICE_BYTES];
        let mut hasher = blake3::Hasher::new();
        hasher.update(element);
        hasher.finalize_xof().fill(&mut bytes);
        Lattice::from_bytes(&bytes)
    }

    fn account_element(address: Address, account: &Account) -> Vec<u8> {
        [
            &[1][..],
            address.as_slice(),
            &account.nonce.to_le_bytes(),
            &account.balance.to_be_bytes::<32>(),
            account.code_hash.as_slice(),
        ]
        .concat()
    }

    #[test]
    fn an_element_is_the_extended_output_of_blake3() {
        let address = Address::repeat_byte(0x11);
        let account = Account {
            nonce: 7,
            balance: U256::from(1_000_000_007_u64),
            code_hash: B256::repeat_byte(0x22),
        };
        let mut change = LatticeChange::default();
        change.account(address, None, Some(&account));
        let mut lattice = Lattice::default();
        lattice.apply(&change);
        assert_eq!(lattice, expanded(&account_element(address, &account)));

        let slot = B256::repeat_byte(0x33);
        let value = U256::from(0xdead_beef_u32);
        let mut change = LatticeChange::default();
        change.slot(address, slot, U256::ZERO, value);
        let mut lattice = Lattice::default();
        lattice.apply(&change);
        let element = [
            &[2][..],
            address.as_slice(),
            slot.as_slice(),
            &value.to_be_bytes::<32>(),
        ]
        .concat();
        assert_eq!(lattice, expanded(&element));
    }

    #[test]
    fn what_comes_and_goes_leaves_nothing() {
        let address = Address::repeat_byte(1);
        let mut change = LatticeChange::default();
        for number in 1..50_u64 {
            change.slot(
                address,
                U256::from(number).into(),
                U256::ZERO,
                U256::from(number),
            );
        }
        let mut back = LatticeChange::default();
        for number in (1..50_u64).rev() {
            back.slot(
                address,
                U256::from(number).into(),
                U256::from(number),
                U256::ZERO,
            );
        }
        let mut lattice = Lattice::default();
        lattice.apply(&change);
        assert_ne!(lattice, Lattice::default());
        change.merge(&back);
        let mut lattice = Lattice::default();
        lattice.apply(&change);
        assert_eq!(lattice, Lattice::default());
    }

    /// Pinned: a change here is a change of every chain's state commitment.
    #[test]
    fn commitments_are_pinned() {
        assert_eq!(
            Lattice::default().commitment(),
            b256!("be2a8de3dcf46c94ce85cdc8e07ac308f4d8a95490d956c38d780fd610db0813"),
            "the empty state"
        );
        let mut lattice = Lattice::default();
        let mut change = LatticeChange::default();
        let address = Address::repeat_byte(0x11);
        let account = Account {
            nonce: 1,
            balance: U256::from(2),
            ..Account::default()
        };
        change.account(address, None, Some(&account));
        change.slot(address, B256::repeat_byte(3), U256::ZERO, U256::from(4));
        lattice.apply(&change);
        assert_eq!(
            lattice.commitment(),
            b256!("05133c056a7a08dce4e3b8ac9dc34d1735325da26ba27db8f6bccd36d43acbbf"),
            "an account with a slot"
        );
    }
}
