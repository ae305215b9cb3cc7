//! What became of accounts that have no cells.

#![allow(unsafe_code)]

use crate::{cells::AccountCell, keys::SHARDS, model::Changes};
use alloy_primitives::Address;
use parking_lot::Mutex;

pub(crate) struct ReplayedChanges {
    pub(crate) changes: Changes,
    /// By shard: where the changed accounts are. Empty if no later transaction can ask for them.
    pub(crate) places: Vec<Mutex<Vec<Place>>>,
}

/// Where among the changes an account is whose key has this hash.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) hash: u64,
    pub(crate) place: usize,
}

impl ReplayedChanges {
    /// None yet, in these lists. They can be [taken](Self::take) out again if there are lists for
    /// that, of which any number will do.
    pub(crate) fn new(changes: Changes, lists: Option<Vec<Vec<Place>>>) -> Self {
        let places = lists.map(|mut lists| {
            lists.resize_with(SHARDS, Vec::new);
            lists.iter_mut().for_each(Vec::clear);
            lists.into_iter().map(Mutex::new).collect()
        });
        Self {
            changes,
            places: places.unwrap_or_default(),
        }
    }

    /// Takes an account out, by its key's hash and the shard of that, and makes the cell that it would have come to; `None` if it is what it was
    /// before the block, or has been taken out.
    ///
    /// # Safety
    ///
    /// All shards have been [collected](ShardAccounts::collect), in a way that orders memory.
    pub(crate) unsafe fn take(
        &self,
        hash: u64,
        shard: usize,
        address: Address,
    ) -> Option<AccountCell> {
        let mut places = self.places.get(shard)?.lock();
        let accounts = self.changes.accounts();
        let same_hash = (0..places.len()).filter(|index| places[*index].hash == hash);
        let (found, after) = same_hash.into_iter().find_map(|index| {
            let is_it = |(known, _): &(Address, _)| *known == address;
            // SAFETY: `places` lists places that accounts got, by parts that are gone as this function's contract says; a
            // place leaves `places` when its account is taken.
            let (_, after) = unsafe { accounts.take_if(places[index].place, is_it) }?;
            Some((index, after))
        })?;
        places.swap_remove(found);
        Some(AccountCell::from(after.as_ref()))
    }

    pub(crate) fn into_parts(self) -> (Changes, Vec<Vec<Place>>) {
        let places = self.places.into_iter().map(Mutex::into_inner);
        (self.changes, places.collect())
    }
}
