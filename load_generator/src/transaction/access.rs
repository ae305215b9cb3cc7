//! Storage slots that a transaction accesses, and their declaration.

use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, U256, keccak256};

/// How transactions declare their accesses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Declarations {
    /// No declaration (EIP-1559 transactions).
    #[default]
    None,
    /// Access lists (EIP-2930 lists in EIP-1559 transactions): hints that every chain accepts.
    Lists,
    /// Signed access sets (Lockweave's type 0x44): undeclared accesses fail.
    Signed,
}

/// A set of storage slots by contract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots(Vec<(Address, Vec<B256>)>);

impl Slots {
    /// Adds a slot of a contract.
    pub fn add(&mut self, contract: Address, slot: B256) {
        let position = self.0.iter().position(|(known, _)| *known == contract);
        let position = position.unwrap_or_else(|| {
            self.0.push((contract, Vec::new()));
            self.0.len() - 1
        });
        let slots = &mut self.0[position].1;
        if !slots.contains(&slot) {
            slots.push(slot);
        }
    }

    /// Adds the slot of `mapping[key]` of a contract, for a mapping at slot `mapping`.
    pub(crate) fn add_mapped(&mut self, contract: Address, key: B256, mapping: u64) {
        self.add(contract, mapping_slot(key, slot(mapping)));
    }

    /// The slots as an EIP-2930 list.
    pub fn to_list(&self) -> AccessList {
        let items = self.0.iter().map(|(address, slots)| AccessListItem {
            address: *address,
            storage_keys: slots.clone(),
        });
        AccessList(items.collect())
    }
}

/// All storage slots that a transaction may access. Sender, recipient and fee are implied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Slots that are read.
    pub reads: Slots,
    /// Slots that are written.
    pub writes: Slots,
}

impl Access {
    /// Reads and writes in one EIP-2930 list.
    pub fn to_list(&self) -> AccessList {
        let mut all = self.writes.clone();
        for (address, slots) in &self.reads.0 {
            for slot in slots {
                all.add(*address, *slot);
            }
        }
        all.to_list()
    }
}

/// Storage slot `number`.
pub(crate) fn slot(number: u64) -> B256 {
    B256::from(U256::from(number))
}

/// Solidity's storage slot of `mapping[key]` for a mapping at slot `base`. The key is an address, a number or another
/// value of up to 32 bytes, padded on the left.
pub(crate) fn mapping_slot(key: B256, base: B256) -> B256 {
    keccak256([key.0, base.0].concat())
}

/// An address as the key of a mapping.
pub(crate) fn address_key(address: Address) -> B256 {
    address.into_word()
}

/// A number as the key of a mapping.
pub(crate) fn number_key(number: usize) -> B256 {
    B256::from(U256::from(number))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256};

    use super::{Access, Slots, slot};

    #[test]
    fn a_list_has_every_slot_once() {
        let (one, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let mut access = Access::default();
        access.reads.add(one, slot(7));
        access.writes.add(one, slot(7));
        access.writes.add(other, slot(1));
        access.reads.add(one, slot(8));
        let list = access.to_list();
        let slots: usize = list.0.iter().map(|item| item.storage_keys.len()).sum();
        assert_eq!((list.0.len(), slots), (2, 3));
        let mut twice = Slots::default();
        twice.add(one, B256::ZERO);
        twice.add(one, B256::ZERO);
        assert_eq!(twice.to_list().0[0].storage_keys.len(), 1);
    }
}
