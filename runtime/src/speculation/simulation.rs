//! The outcome and effects of a simulated transaction.

use crate::model::{KeyAccess, KeyId, Outcome, WriteSet};
use alloy_primitives::U256;

/// A list with room for more than this is not kept. Few transactions touch so much, and over many blocks
/// every speculative transaction could get such a list.
pub(crate) const ROOM_KEPT: usize = 128;

/// The outcome and effects of a transaction that ran on the state before the block.
#[derive(Debug, Default)]
pub(crate) struct Simulation {
    /// Until it is taken.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) writes: WriteSet,
    /// By effect, in the order in which they are applied: the position of its key in the access set.
    pub(crate) places: Vec<u32>,
    /// The cells that the effects changed, once it was taken and may be taken back.
    pub(crate) cells: Vec<KeyId>,
}

impl Simulation {
    pub(super) fn clear(&mut self) {
        self.outcome = None;
        self.writes.clear();
        self.places.clear();
        self.cells.clear();
    }

    /// Lists the cells of the effects, in their order; `keys` are those of the access set.
    pub(crate) fn list_cells(&self, keys: &[KeyAccess], cells: &mut Vec<KeyId>) {
        cells.clear();
        cells.extend((self.places.iter()).map(|place| keys[*place as usize].key));
    }

    /// The credits among the effects, whose cells are these.
    pub(crate) fn credits(&self, cells: &[KeyId]) -> impl Iterator<Item = (KeyId, U256)> {
        let credits = &self.writes.credits;
        // They are the last effects.
        let first = cells.len() - credits.len();
        let amounts = credits.iter().map(|credit| credit.amount);
        cells[first..].iter().copied().zip(amounts)
    }

    pub(super) fn is_small(&self) -> bool {
        self.places.capacity() <= ROOM_KEPT && self.writes.slots.capacity() <= ROOM_KEPT
    }
}

/// How a set was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inference {
    /// By running the transaction, to this outcome.
    Simulated(Outcome),
    /// By running it under assumptions that do not hold yet (an earlier transaction of the sender
    /// is in the block), or up to an error. The outcome says nothing.
    Assumed,
    /// From what earlier runs of the same code have shown.
    Template {
        /// What such runs used lately, in gas.
        gas: u64,
    },
    /// It follows from the transaction alone.
    Known,
}

impl Inference {
    /// The gas that the transaction is expected to use, if that is known.
    pub const fn gas(&self) -> Option<u64> {
        match self {
            Self::Simulated(outcome) => Some(outcome.gas_used),
            Self::Template { gas } => Some(*gas),
            Self::Assumed | Self::Known => None,
        }
    }
}

/// The KECCAK256 of the place of a mapping's entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownHash {
    pub(crate) place: [u8; 64],
    pub(crate) hash: U256,
}
