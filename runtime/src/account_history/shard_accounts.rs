//! The accounts of a shard of the interner while somebody follows what payments do to them, and what became of all of them.

// Whoever has a shard of the interner for himself has the cells of its accounts; and what became of an account is taken out of a
// list that others fill.
#![allow(unsafe_code)]

use crate::{
    block::{AccountCell, StateCells},
    keys::{LockedShard, SHARDS},
    model::{Account, Changes, DeltaContext, StateError, StateKey},
};
use alloy_primitives::Address;
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::fmt;

/// The accounts of a shard, of which nobody else has to do with any.
pub(crate) struct ShardAccounts<'a> {
    cells: &'a StateCells,
    interned: LockedShard<'a, StateKey>,
    /// Those without cells.
    followed: &'a mut FollowedAccounts,
}

impl<'a> ShardAccounts<'a> {
    /// Has the accounts of a shard for itself, with memory for those without cells.
    pub(crate) fn lock(
        cells: &'a StateCells,
        shard: usize,
        followed: &'a mut FollowedAccounts,
    ) -> Self {
        Self {
            cells,
            interned: cells.lock_shard(shard),
            followed,
        }
    }

    /// Does something to an account, of whom is told what it was before the block.
    ///
    /// # Safety
    ///
    /// The key is of this shard and has this hash, and nobody uses its cell but who has the shard.
    #[inline]
    pub(crate) unsafe fn change(
        &mut self,
        hash: u64,
        key: &StateKey,
        change: impl FnOnce(Option<&Account>, &mut AccountCell) -> Option<()>,
    ) -> Result<Option<()>, StateError> {
        let Self {
            cells,
            interned,
            followed,
        } = self;
        if let Some(account) = followed.find(hash, key.address) {
            return Ok(change(account.before.as_ref(), &mut account.cell));
        }
        let Some(id) = interned.get(hash, key) else {
            let before = cells.view().account(key.address)?;
            let account = followed.insert(hash, key.address, before);
            return Ok(change(account.before.as_ref(), &mut account.cell));
        };
        // SAFETY: the id came from these cells.
        let before = unsafe { cells.cells.origin(id) }.account();
        // SAFETY: by this function's contract.
        Ok(unsafe { (cells.cells).write(id, |cell| change(before, cell.account_mut())) })
    }

    /// Adds what became of those without cells to a block's changes.
    pub(crate) fn collect(&self, changes: &FollowedChanges, shard: usize) {
        let mut places = changes.places.get(shard).map(|places| places.lock());
        let context = DeltaContext::without_code(self.cells.rules);
        let mut part = changes.changes.part();
        for account in &self.followed.accounts {
            let (now, touched) = (
                account.cell.current(context.rules),
                account.cell.is_credited(),
            );
            let place = part.account(&context, account.address, account.before, now, touched);
            if let (Some(places), Some(place)) = (&mut places, place) {
                let hash = account.hash;
                places.push(Place { hash, place });
            }
        }
    }
}

/// What became of accounts that have no cells.
#[derive(Debug)]
pub(crate) struct FollowedChanges {
    changes: Changes,
    /// By shard: where the accounts are that changed. Empty if nobody will ask.
    places: Vec<Mutex<Vec<Place>>>,
}

/// Where among the changes an account is whose key has this hash.
#[derive(Debug)]
pub(crate) struct Place {
    hash: u64,
    place: usize,
}

impl FollowedChanges {
    /// None yet, with room for so many accounts without cells. They can be [taken](Self::take) out again if there are lists for
    /// that, of which any number will do.
    pub(crate) fn with_room(
        cells: &mut StateCells,
        accounts: usize,
        lists: Option<Vec<Vec<Place>>>,
    ) -> Self {
        let places = lists.map(|mut lists| {
            lists.resize_with(SHARDS, Vec::new);
            lists.iter_mut().for_each(Vec::clear);
            lists.into_iter().map(Mutex::new).collect()
        });
        Self {
            changes: cells.changes_with_room(accounts + Changes::slack(SHARDS)),
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
        let found = places.iter().position(|place| {
            // SAFETY: it is the place that the account got, which is there as long as it is in the list.
            place.hash == hash && unsafe { self.changes.account_at(place.place) }.0 == address
        })?;
        let place = places.swap_remove(found).place;
        // SAFETY: as above, and it was in the list until now.
        let (_, after) = unsafe { self.changes.take_account(place) };
        Some(AccountCell::from(after.as_ref()))
    }

    /// The changes, and the memory of the rest.
    pub(crate) fn into_parts(self) -> (Changes, Vec<Vec<Place>>) {
        let places = self.places.into_iter().map(Mutex::into_inner);
        (self.changes, places.collect())
    }
}

/// Accounts that are followed without cells.
#[derive(Default)]
pub(crate) struct FollowedAccounts {
    /// Where in the list an account is, by the hash of its key.
    places: HashTable<u32>,
    accounts: Vec<FollowedAccount>,
}

struct FollowedAccount {
    hash: u64,
    address: Address,
    before: Option<Account>,
    cell: AccountCell,
}

impl FollowedAccounts {
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.accounts.clear();
    }

    #[inline]
    fn find(&mut self, hash: u64, address: Address) -> Option<&mut FollowedAccount> {
        let Self { places, accounts } = self;
        let place = places.find(hash, |place| accounts[*place as usize].address == address)?;
        Some(&mut accounts[*place as usize])
    }

    /// Adds one that is not there.
    #[inline]
    fn insert(
        &mut self,
        hash: u64,
        address: Address,
        before: Option<Account>,
    ) -> &mut FollowedAccount {
        let Self { places, accounts } = self;
        let place = u32::try_from(accounts.len()).expect("a block pays fewer than 2^32 accounts");
        places.insert_unique(hash, place, |place| accounts[*place as usize].hash);
        accounts.push(FollowedAccount {
            hash,
            address,
            cell: AccountCell::from(before.as_ref()),
            before,
        });
        accounts.last_mut().expect("one was just added")
    }
}

impl fmt::Debug for FollowedAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowedAccounts")
            .field("accounts", &self.accounts.len())
            .finish_non_exhaustive()
    }
}
