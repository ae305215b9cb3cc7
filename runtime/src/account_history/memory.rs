//! Memory that payments leave to the next block.

use super::{changes::Place, events::Part, shard_accounts::ReplayedAccounts};

/// Memory that payments use.
#[derive(Default)]
pub(crate) struct PaymentsMemory {
    pub(crate) parts: Vec<Part>,
    pub(crate) replayed: Vec<ReplayedAccounts>,
    pub(crate) places: Vec<Vec<Place>>,
}

impl PaymentsMemory {
    /// Takes back what payments left to a block.
    pub(crate) fn keep_places(&mut self, places: Vec<Vec<Place>>) {
        if !places.is_empty() {
            self.places = places;
        }
    }
}
