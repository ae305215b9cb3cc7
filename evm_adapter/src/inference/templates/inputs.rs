//! The inputs of a call, which may explain its keys.

use crate::transaction::EvmTransaction;
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, U256};

/// Bytes of calldata that may explain keys, at most.
const CALLDATA_MAX: usize = 1_024;

/// A transaction's call: caller, target and calldata.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) caller: Address,
    pub(crate) target: Address,
    pub(crate) beneficiary: Address,
    pub(crate) calldata: &'a [u8],
}

impl<'a> Inputs<'a> {
    /// The call that a transaction makes, if its code is that of its recipient: no creation and no authorisations
    /// (EIP-7702).
    pub(crate) fn of(transaction: &'a EvmTransaction, beneficiary: Address) -> Option<Self> {
        let envelope = transaction.envelope();
        let delegates = envelope
            .authorization_list()
            .is_some_and(|list| !list.is_empty());
        if delegates {
            return None;
        }
        Some(Self {
            caller: transaction.sender(),
            target: envelope.to()?,
            beneficiary,
            calldata: envelope.input(),
        })
    }

    /// The first four bytes of calldata; `None` where there are fewer.
    pub(crate) fn selector(&self) -> Option<[u8; 4]> {
        self.calldata.first_chunk().copied()
    }

    /// The calldata that explanations may come from.
    fn explainable_calldata(&self) -> &'a [u8] {
        &self.calldata[..self.calldata.len().min(CALLDATA_MAX)]
    }

    /// A word of calldata, padded with zeros as by `CALLDATALOAD`.
    pub(crate) fn word(&self, offset: usize) -> U256 {
        let rest = self.calldata.get(offset..).unwrap_or_default();
        let mut word = B256::ZERO;
        let length = rest.len().min(32);
        word[..length].copy_from_slice(&rest[..length]);
        word.into()
    }

    /// Twenty bytes of calldata as a word.
    pub(crate) fn address(&self, offset: usize) -> U256 {
        self.word(offset) >> 96
    }

    /// Every offset in calldata by the eight bytes at it, sorted, for
    /// [`places_of`](Self::places_of).
    pub(crate) fn index(&self) -> Vec<(u64, u16)> {
        let calldata = self.explainable_calldata();
        let mut index: Vec<_> = (calldata.windows(8).zip(0_u16..))
            .map(|(bytes, offset)| (beginning(bytes), offset))
            .collect();
        index.sort_unstable();
        index
    }

    /// The offsets and widths of a value in calldata: small numbers as whole words, addresses and hashes at any offset,
    /// as bots pack them.
    pub(crate) fn places_of(
        &self,
        index: &[(u64, u16)],
        value: U256,
    ) -> impl Iterator<Item = (u16, Width)> {
        let calldata = self.explainable_calldata();
        let bytes = value.to_be_bytes::<32>();
        let (width, start) = match value.bit_len() {
            0..=64 => (None, 24),
            65..=160 => (Some(Width::Address), 12),
            _ => (Some(Width::Word), 0),
        };
        // With a selector in front, or without one.
        let words = (0_u16..).map(|word| 32 * (word / 2) + 4 * (word % 2));
        let aligned = words
            .take_while(move |offset| width.is_none() && usize::from(*offset) < calldata.len())
            .filter(move |offset| self.word(usize::from(*offset)) == value)
            .map(|offset| (offset, Width::Word));
        let first = beginning(&bytes[start..]);
        let from = index.partition_point(|(known, _)| *known < first);
        let packed = (index[from..].iter())
            .take_while(move |(known, _)| *known == first)
            .filter_map(move |(_, offset)| {
                let found = calldata[usize::from(*offset)..].starts_with(&bytes[start..]);
                Some((*offset, width?)).filter(|_| found)
            });
        aligned.chain(packed)
    }
}

/// The first eight bytes as a number.
fn beginning(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// The number of bytes in a word that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Width {
    /// Twenty, with zeros in front.
    Address,
    /// All 32.
    Word,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    fn inputs(calldata: &[u8]) -> Inputs<'_> {
        Inputs {
            caller: Address::ZERO,
            target: Address::ZERO,
            beneficiary: Address::ZERO,
            calldata,
        }
    }

    #[test]
    fn small_numbers_are_words_and_addresses_are_anywhere() {
        let mut calldata = hex!("a9059cbb").to_vec();
        let address = Address::repeat_byte(7);
        calldata.extend_from_slice(&U256::from(5).to_be_bytes::<32>());
        calldata.extend_from_slice(&[1, 2, 3]);
        calldata.extend_from_slice(address.as_slice());
        let inputs = inputs(&calldata);
        let index = inputs.index();
        let places = |value| inputs.places_of(&index, value).collect::<Vec<_>>();
        assert_eq!(places(U256::from(5)), [(4, Width::Word)]);
        let value = U256::from_be_slice(address.as_slice());
        assert_eq!(places(value), [(39, Width::Address)]);
        assert_eq!(inputs.address(39), value);
        assert_eq!(places(U256::from(1_u64) << 64), []);
    }

    #[test]
    fn calldata_is_padded_with_zeros() {
        let inputs = inputs(&[0xff; 5]);
        assert_eq!(inputs.word(4), U256::from(0xff) << 248);
        assert_eq!(inputs.word(400), U256::ZERO);
    }
}
