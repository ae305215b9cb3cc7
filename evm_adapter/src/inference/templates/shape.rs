//! The keys that calls on one execution path access, with their explanations.

use super::{derive::Derivation, expression::Expression, observation::Observation};
use alloy_primitives::U256;
use lockweave_runtime::{AccessMode, KeyPart};

/// One key of a shape.
#[derive(Clone, Debug)]
pub(crate) struct ShapeKey {
    pub(crate) address: Expression,
    pub(crate) part: ShapePart,
    pub(crate) mode: AccessMode,
}

/// The part of the account.
#[derive(Clone, Debug)]
pub(crate) enum ShapePart {
    Account,
    Code,
    Slot(Expression),
}

impl ShapePart {
    fn unify(&self, other: &Self, places: &[Option<u16>]) -> Option<Self> {
        match (self, other) {
            (Self::Account, Self::Account) => Some(Self::Account),
            (Self::Code, Self::Code) => Some(Self::Code),
            (Self::Slot(left), Self::Slot(right)) => left.unify(right, places).map(Self::Slot),
            _ => None,
        }
    }
}

/// The keys of calls on the same execution path.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// In the order of the first call's accesses, so that no slot depends on a later one.
    pub(crate) keys: Vec<ShapeKey>,
    /// Number of calls.
    pub(crate) runs: u32,
}

impl Shape {
    /// Explains every key of one call.
    pub(crate) fn of(observation: &Observation<'_>) -> Self {
        let mut derivation = Derivation::new(observation);
        let keys = observation
            .keys
            .iter()
            .zip(0_u16..)
            .map(|(observed, place)| {
                let key = &observed.entry.key;
                let shape_key = ShapeKey {
                    address: derivation.address(U256::from_be_slice(key.address.as_slice())),
                    part: match key.part {
                        KeyPart::Account => ShapePart::Account,
                        KeyPart::Code => ShapePart::Code,
                        KeyPart::Slot(slot) => ShapePart::Slot(derivation.slot(slot)),
                    },
                    mode: observed.entry.mode,
                };
                derivation.pass(place);
                shape_key
            });
        Self {
            keys: keys.collect(),
            runs: 1,
        }
    }

    /// The shape of the calls of both, if all keys have common explanations.
    ///
    /// Keys are matched by their explanations, those at the same place first: calls on the same path access their keys
    /// in the same order.
    pub(crate) fn unify(&self, other: &Self) -> Option<Self> {
        if self.keys.len() != other.keys.len() {
            return None;
        }
        let mut places = vec![None; other.keys.len()];
        let mut unified: Vec<Option<ShapeKey>> = vec![None; self.keys.len()];
        for (position, theirs) in other.keys.iter().enumerate() {
            let (behind, before) = (position..self.keys.len(), 0..position);
            let (place, key) = behind.chain(before).find_map(|place| {
                let free = unified[place].is_none();
                let key = self.keys[place].unify(theirs, &places);
                key.filter(|_| free).map(|key| (place, key))
            })?;
            places[position] = u16::try_from(place).ok();
            unified[place] = Some(key);
        }
        Some(Self {
            keys: unified.into_iter().collect::<Option<_>>()?,
            runs: self.runs.saturating_add(other.runs),
        })
    }
}

impl ShapeKey {
    fn unify(&self, other: &Self, places: &[Option<u16>]) -> Option<Self> {
        Some(Self {
            part: self.part.unify(&other.part, places)?,
            address: self.address.unify(&other.address, places)?,
            mode: self.mode.union(other.mode),
        })
    }
}
