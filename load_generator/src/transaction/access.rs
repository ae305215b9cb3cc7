//! What a transaction is known to touch, and how that is declared.

use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, U256, keccak256};

/// How transactions state what they touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Declarations {
    /// Not at all (EIP-1559 transactions).
    #[default]
    None,
    /// By access lists (EIP-2930 lists in EIP-1559 transactions): hints that any chain takes.
    Lists,
    /// By signed sets (Lockweave's type 0x44): what is not declared fails.
    Signed,
}

/// Storage slots of contracts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots(Vec<(Address, Vec<B256>)>);

impl Slots {
    /// A slot of a contract, listed once.
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

    /// As an EIP-2930 list.
    pub fn to_list(&self) -> AccessList {
        let items = self.0.iter().map(|(address, slots)| AccessListItem {
            address: *address,
            storage_keys: slots.clone(),
        });
        AccessList(items.collect())
    }
}

/// What one transaction may touch, apart from its sender, its recipient and its fee: at least what it will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Slots that are looked at.
    pub reads: Slots,
    /// Slots that are written.
    pub writes: Slots,
}

impl Access {
    /// Everything in one EIP-2930 list.
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

/// Slot `number` of the contract itself.
pub(crate) fn slot(number: u64) -> B256 {
    B256::from(U256::from(number))
}

/// Where Solidity puts `mapping[key]` when the mapping stands at `base`. The key is an address, a number or another
/// value of up to 32 bytes, padded on the left.
pub(crate) fn mapping_slot(key: B256, base: B256) -> B256 {
    keccak256([key.0, base.0].concat())
}

/// An address as a mapping's key.
pub(crate) fn address_key(address: Address) -> B256 {
    address.into_word()
}

/// A number as a mapping's key.
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
