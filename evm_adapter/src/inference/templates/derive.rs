//! All explanations of a word.

use super::{
    expression::{Expression, Leaf, Piece, SOURCES_MAX, Source},
    inputs::Width,
    observation::Observation,
};
use alloy_primitives::U256;
use lockweave_runtime::KeyPart;

/// Nesting of hashes; deeper ones count as constants.
const DEPTH_MAX: usize = 5;
/// Maximum distance from a hash of an array element or a structure's field.
const REACH: u64 = 1 << 32;
/// How values are packed into a slot: an address alone, behind a flag, behind the high part of a word.
const SHIFTS: [u8; 3] = [0, 8, 96];
/// Slots whose values may be explanations, at most.
const SLOTS_MAX: usize = 64;

/// Explains the words of one call.
pub(crate) struct Derivation<'a> {
    observation: &'a Observation<'a>,
    /// Slots accessed before the current key: place and value.
    slots: Vec<(u16, U256)>,
}

impl<'a> Derivation<'a> {
    pub(crate) const fn new(observation: &'a Observation<'a>) -> Self {
        Self {
            observation,
            slots: Vec::new(),
        }
    }

    /// Lets the key at this place explain later ones, if it is a slot.
    pub(crate) fn pass(&mut self, place: u16) {
        let observed = &self.observation.keys[usize::from(place)];
        let is_slot = matches!(observed.entry.key.part, KeyPart::Slot(_));
        if is_slot && !observed.value.is_zero() && self.slots.len() < SLOTS_MAX {
            self.slots.push((place, observed.value));
        }
    }

    /// Explains an address.
    pub(crate) fn address(&self, address: U256) -> Expression {
        let leaf = self.leaf(address);
        if leaf.sources.is_empty()
            && let Some(hash) = self.observation.hash_ending_in(address)
        {
            return self.word(hash, 0);
        }
        Expression::Leaf(leaf)
    }

    /// Explains the number of a slot.
    pub(crate) fn slot(&self, slot: U256) -> Expression {
        self.word(slot, 0)
    }

    fn word(&self, word: U256, depth: usize) -> Expression {
        if depth < DEPTH_MAX {
            if let Some(preimage) = self.observation.preimages.get(word) {
                return Expression::Keccak(self.pieces(preimage, depth + 1));
            }
            if let Some((hash, distance)) = self.observation.hash_below(word, REACH) {
                let base = Box::new(self.word(hash, depth + 1));
                return Expression::Sum(base, self.leaf(distance));
            }
        }
        Expression::Leaf(self.leaf(word))
    }

    /// Splits a preimage into words or, if it is packed, into addresses, hashes and bytes.
    fn pieces(&self, preimage: &[u8], depth: usize) -> Vec<Piece> {
        if preimage.len().is_multiple_of(32) {
            let words = preimage.chunks_exact(32).map(U256::from_be_slice);
            return words
                .map(|word| Piece::Value(self.word(word, depth), Width::Word))
                .collect();
        }
        let mut pieces = Vec::new();
        let mut rest = preimage;
        while let Some((first, behind)) = rest.split_first() {
            if let Some((piece, length)) = self.packed(rest, depth) {
                pieces.push(piece);
                rest = &rest[length..];
                continue;
            }
            match pieces.last_mut() {
                Some(Piece::Bytes(bytes)) => bytes.push(*first),
                _ => pieces.push(Piece::Bytes(vec![*first])),
            }
            rest = behind;
        }
        pieces
    }

    /// The value that packed bytes begin with, if one is known, and its length.
    fn packed(&self, bytes: &[u8], depth: usize) -> Option<(Piece, usize)> {
        if let Some(word) = bytes.first_chunk::<32>() {
            let word = U256::from_be_bytes(*word);
            if self.observation.preimages.get(word).is_some() {
                return Some((Piece::Value(self.word(word, depth), Width::Word), 32));
            }
        }
        let address = U256::from_be_slice(bytes.first_chunk::<20>()?);
        if address.bit_len() <= 64 {
            return None;
        }
        let leaf = self.leaf(address);
        let is_known = !leaf.sources.is_empty();
        is_known.then_some((Piece::Value(Expression::Leaf(leaf), Width::Address), 20))
    }

    fn leaf(&self, value: U256) -> Leaf {
        let inputs = &self.observation.inputs;
        let parties = [
            (inputs.caller, Source::Caller),
            (inputs.target, Source::Target),
            (inputs.beneficiary, Source::Beneficiary),
        ];
        let parties = parties.into_iter().filter_map(|(address, source)| {
            (U256::from_be_slice(address.as_slice()) == value).then_some(source)
        });
        let calldata = inputs
            .places_of(&self.observation.index, value)
            .map(|(offset, width)| Source::Calldata { offset, width });
        let slots = self
            .slots
            .iter()
            .flat_map(|(key, held)| held_at(*key, *held, value));
        // Zeros are everywhere and explain nothing.
        let sources = parties.chain(calldata).chain(slots);
        let sources = sources.take(if value.is_zero() { 0 } else { SOURCES_MAX });
        Leaf {
            value,
            is_constant: true,
            sources: sources.collect(),
        }
    }
}

/// The positions of a value in a slot's value.
fn held_at(key: u16, held: U256, value: U256) -> impl Iterator<Item = Source> {
    let width = if value.bit_len() > 160 {
        Width::Word
    } else {
        Width::Address
    };
    let shifts = SHIFTS.into_iter().filter(move |shift| {
        let shifted = held >> usize::from(*shift);
        match width {
            Width::Word => *shift == 0 && shifted == value,
            // Small numbers are packed in too many ways to tell; only whole slots count.
            Width::Address if value.bit_len() <= 64 => *shift == 0 && shifted == value,
            Width::Address => (shifted << 96) >> 96 == value,
        }
    });
    shifts.map(move |shift| Source::Slot { key, shift, width })
}
