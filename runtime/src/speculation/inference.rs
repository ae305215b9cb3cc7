//! How an access set was inferred, and the hashes that were computed meanwhile.

use crate::model::Outcome;
use alloy_primitives::U256;

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
