//! Finding keys in a sorted access set.

use super::{access::AccessEntry, key::KeyPart};
use alloy_primitives::Address;
use std::ops::Range;

/// In a set of at most this many keys, a linear scan is faster than bisection.
pub(crate) const FEW_KEYS: usize = 12;

/// The range of one account's keys in a sorted set.
#[inline]
pub(crate) fn range_of(entries: &[AccessEntry], address: Address) -> Range<usize> {
    let is_other = |entry: &AccessEntry| entry.key.address != address;
    let start = if entries.len() <= FEW_KEYS {
        let found = entries.iter().position(|entry| !is_other(entry));
        found.unwrap_or(entries.len())
    } else {
        entries.partition_point(|entry| entry.key.address < address)
    };
    let rest = &entries[start..];
    // Most accounts have few keys, some contracts have hundreds of slots.
    let keys = match rest.iter().take(FEW_KEYS).position(is_other) {
        Some(keys) => keys,
        None if rest.len() <= FEW_KEYS => rest.len(),
        None => rest.partition_point(|entry| !is_other(entry)),
    };
    start..start + keys
}

/// The position of a part among the keys of one account.
#[inline]
pub(crate) fn position_in(entries: &[AccessEntry], part: &KeyPart) -> Option<usize> {
    match part {
        KeyPart::Slot(_) => entries
            .binary_search_by(|entry| entry.key.part.cmp(part))
            .ok(),
        // At most two keys come before the slots.
        _ => entries
            .iter()
            .take(2)
            .position(|entry| entry.key.part == *part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccessMode, AccessSet, StateKey};
    use alloy_primitives::U256;

    /// With few and many accounts, and few and many slots each, the search finds what a linear scan finds.
    #[test]
    fn keys_of_an_account_stand_where_they_are_found() {
        for (accounts, slots) in [(3, 2), (3, 40), (40, 1), (5, 12), (2, 11)] {
            let set = AccessSet::build(|set| {
                for account in 0..accounts {
                    let address = Address::repeat_byte(2 * account + 1);
                    set.insert(StateKey::code(address), AccessMode::Read);
                    // The last has none.
                    for slot in 0..if account + 1 < accounts { slots } else { 0 } {
                        set.read_slot(address, U256::from(slot));
                    }
                }
            });
            let AccessSet::Keys(entries) = set.unwrap() else {
                unreachable!("no whole state was asked for");
            };
            for byte in 0..2 * accounts + 2 {
                let address = Address::repeat_byte(byte);
                let found = range_of(&entries, address);
                let places = entries.iter().enumerate();
                let places = places.filter(|(_, entry)| entry.key.address == address);
                let expected: Vec<_> = places.map(|(place, _)| place).collect();
                assert_eq!(
                    found.collect::<Vec<_>>(),
                    expected,
                    "{accounts}, {slots}, {byte}"
                );
            }
        }
    }
}
