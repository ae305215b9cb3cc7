//! Hypotheses about the origin of a word, by the calls seen so far.

use super::inputs::Width;
use alloy_primitives::U256;

/// Explanations of one value, at most.
pub(crate) const SOURCES_MAX: usize = 8;

/// A possible origin of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The caller.
    Caller,
    /// The called account.
    Target,
    /// The block's beneficiary.
    Beneficiary,
    /// Calldata at `offset`.
    Calldata {
        /// In bytes.
        offset: u16,
        /// Its width.
        width: Width,
    },
    /// The value of a slot that is an earlier key.
    Slot {
        /// Its place among the keys.
        key: u16,
        /// Shift of the value to the right, in bits.
        shift: u8,
        /// Width after the shift.
        width: Width,
    },
}

/// A value with all its explanations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// The last value.
    pub(crate) value: U256,
    /// Whether it was the same in all calls.
    pub(crate) is_constant: bool,
    /// At most [`SOURCES_MAX`].
    pub(crate) sources: Vec<Source>,
}

/// Numbers below this are more likely part of the code than an input that happens to be equal: slot
/// numbers, fields, indices.
const SMALL: U256 = U256::from_limbs([1 << 16, 0, 0, 0]);

impl Leaf {
    /// The explanation to use: `None` for a constant.
    pub(crate) fn choice(&self) -> Option<Source> {
        if self.is_constant && self.value < SMALL {
            return None;
        }
        // A constant that is also an input is more likely an input that was always the same.
        self.sources.first().copied()
    }

    /// The common explanations; `places` maps the other's keys to keys of the shape.
    fn unify(&self, other: &Self, places: &[Option<u16>]) -> Option<Self> {
        let is_constant = self.is_constant && other.is_constant && self.value == other.value;
        let others = other.sources.iter().filter_map(|source| match *source {
            Source::Slot { key, shift, width } => Some(Source::Slot {
                key: places.get(usize::from(key)).copied().flatten()?,
                shift,
                width,
            }),
            source => Some(source),
        });
        let others: Vec<_> = others.collect();
        let common = self.sources.iter().filter(|source| others.contains(source));
        let sources: Vec<_> = common.copied().collect();
        (is_constant || !sources.is_empty()).then_some(Self {
            value: other.value,
            is_constant,
            sources,
        })
    }
}

/// The origin of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// An input, a slot's value or a constant.
    Leaf(Leaf),
    /// A hash.
    Keccak(Vec<Piece>),
    /// A base plus an offset: an array's element, a structure's field.
    Sum(Box<Expression>, Leaf),
}

/// A piece of a preimage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Constant bytes.
    Bytes(Vec<u8>),
    /// A word or an address.
    Value(Expression, Width),
}

impl Expression {
    /// The common explanations; `None` if there are none.
    pub(crate) fn unify(&self, other: &Self, places: &[Option<u16>]) -> Option<Self> {
        match (self, other) {
            (Self::Leaf(left), Self::Leaf(right)) => left.unify(right, places).map(Self::Leaf),
            (Self::Sum(left, left_more), Self::Sum(right, right_more)) => {
                let base = left.unify(right, places)?;
                let more = left_more.unify(right_more, places)?;
                Some(Self::Sum(Box::new(base), more))
            }
            (Self::Keccak(left), Self::Keccak(right)) if left.len() == right.len() => {
                let pieces = left.iter().zip(right);
                let pieces = pieces.map(|(left, right)| left.unify(right, places));
                pieces.collect::<Option<_>>().map(Self::Keccak)
            }
            _ => None,
        }
    }
}

impl Piece {
    fn unify(&self, other: &Self, places: &[Option<u16>]) -> Option<Self> {
        match (self, other) {
            (Self::Bytes(left), Self::Bytes(right)) if left == right => Some(self.clone()),
            (Self::Value(left, width), Self::Value(right, other_width)) if width == other_width => {
                Some(Self::Value(left.unify(right, places)?, *width))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(value: u64, is_constant: bool, sources: &[Source]) -> Leaf {
        Leaf {
            value: U256::from(value),
            is_constant,
            sources: sources.to_vec(),
        }
    }

    const WORD: Source = Source::Calldata {
        offset: 4,
        width: Width::Word,
    };

    #[test]
    fn only_common_explanations_are_kept() {
        let first = leaf(5, true, &[Source::Caller, WORD]);
        let second = leaf(6, true, &[WORD]);
        let both = first.unify(&second, &[]).expect("the word explains both");
        assert_eq!(both, leaf(6, false, &[WORD]));
        assert_eq!(both.choice(), Some(WORD));
        assert_eq!(first.unify(&leaf(6, true, &[]), &[]), None);
    }

    #[test]
    fn small_constants_are_believed_and_large_ones_that_are_inputs_are_not() {
        assert_eq!(leaf(5, true, &[WORD]).choice(), None);
        assert_eq!(leaf(1 << 40, true, &[WORD]).choice(), Some(WORD));
        assert_eq!(leaf(1 << 40, true, &[]).choice(), None);
    }

    #[test]
    fn slots_are_named_by_their_place_in_the_shape() {
        let slot = |key| Source::Slot {
            key,
            shift: 0,
            width: Width::Address,
        };
        let first = leaf(1 << 40, false, &[slot(3)]);
        let second = leaf(1 << 41, false, &[slot(0)]);
        assert!(first.unify(&second, &[Some(3)]).is_some());
        assert_eq!(first.unify(&second, &[Some(2)]), None);
        assert_eq!(first.unify(&second, &[None]), None);
    }
}
