//! The accounts of an interner shard while their histories are replayed.

// A thread that locks an interner shard has exclusive access to the cells of that shard's accounts.
#![allow(unsafe_code)]

use super::events::Part;
use crate::{
    cells::{AccountCell, KeyCells},
    keys::{LockedShard, SHARDS},
    model::{Account, Changes, DeltaContext, StateError, StateKey},
};
use alloy_primitives::Address;
use hashbrown::HashTable;
use parking_lot::Mutex;

/// The accounts of a shard that this thread has locked.
pub(crate) struct ShardAccounts<'a> {
    cells: &'a KeyCells,
    interned: LockedShard<'a, StateKey>,
    /// Those without cells.
    replayed: &'a mut ReplayedAccounts,
}

impl<'a> ShardAccounts<'a> {
    /// Locks a shard. `replayed` is memory for the accounts without cells.
    ///
    /// # Safety
    ///
    /// For as long as the value lives, no other thread uses the cells of this shard's keys.
    pub(crate) unsafe fn lock(
        cells: &'a KeyCells,
        shard: usize,
        replayed: &'a mut ReplayedAccounts,
    ) -> Self {
        Self {
            cells,
            interned: cells.interner.lock_shard(shard),
            replayed,
        }
    }

    /// Changes an account of this shard, whose key has this hash. `change` also gets the account before the block.
    #[inline]
    pub(crate) fn change(
        &mut self,
        hash: u64,
        key: &StateKey,
        change: impl FnOnce(Option<&Account>, &mut AccountCell) -> Option<()>,
    ) -> Result<Option<()>, StateError> {
        let Self {
            cells,
            interned,
            replayed,
        } = self;
        if let Some(account) = replayed.find(hash, key.address) {
            return Ok(change(account.before.as_ref(), &mut account.cell));
        }
        let Some(id) = interned.get(hash, key) else {
            let before = cells.view().account(key.address)?;
            let account = replayed.insert(hash, key.address, before);
            return Ok(change(account.before.as_ref(), &mut account.cell));
        };
        let before = cells.arena.origin(id).account();
        // SAFETY: the id came from the locked shard of these cells. By the contract of `lock` no other thread uses its cell, and
        // `&mut self` rules out a second change on this thread.
        Ok(unsafe { (cells.arena).write(id, |cell| change(before, cell.account_mut())) })
    }

    /// Adds what became of those without cells to a block's changes.
    pub(crate) fn collect(&self, changes: &ReplayedChanges, shard: usize) {
        let mut places = changes.places.get(shard).map(|places| places.lock());
        let context = DeltaContext::without_code(self.cells.rules);
        let mut part = changes.changes.part();
        for account in &self.replayed.accounts {
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

#[derive(Default)]
pub(crate) struct ReplayedAccounts {
    /// Where in the list an account is, by the hash of its key.
    places: HashTable<u32>,
    accounts: Vec<ReplayedAccount>,
}

struct ReplayedAccount {
    hash: u64,
    address: Address,
    before: Option<Account>,
    cell: AccountCell,
}

impl ReplayedAccounts {
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.accounts.clear();
    }

    #[inline]
    fn find(&mut self, hash: u64, address: Address) -> Option<&mut ReplayedAccount> {
        let Self { places, accounts } = self;
        let place = places.find(hash, |place| accounts[*place as usize].address == address)?;
        Some(&mut accounts[*place as usize])
    }

    #[inline]
    fn insert(
        &mut self,
        hash: u64,
        address: Address,
        before: Option<Account>,
    ) -> &mut ReplayedAccount {
        let Self { places, accounts } = self;
        let place = u32::try_from(accounts.len()).expect("a block pays fewer than 2^32 accounts");
        places.insert_unique(hash, place, |place| accounts[*place as usize].hash);
        accounts.push(ReplayedAccount {
            hash,
            address,
            cell: AccountCell::from(before.as_ref()),
            before,
        });
        accounts.last_mut().expect("one was just added")
    }
}

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
