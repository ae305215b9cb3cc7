//! The accounts of a shard of the interner while somebody follows what payments do to them, and what became of all of them.

// Whoever has a shard of the interner for himself has the cells of its accounts; and what became of an account is taken out of a
// list that others fill.
#![allow(unsafe_code)]

use super::changes::{FollowedChanges, Place};
use crate::{
    cells::{AccountCell, KeyCells},
    keys::LockedShard,
    model::{Account, DeltaContext, StateError, StateKey},
};
use alloy_primitives::Address;
use hashbrown::HashTable;
use std::fmt;

/// The accounts of a shard, of which nobody else has to do with any.
pub(crate) struct ShardAccounts<'a> {
    cells: &'a KeyCells,
    interned: LockedShard<'a, StateKey>,
    /// Those without cells.
    followed: &'a mut FollowedAccounts,
}

impl<'a> ShardAccounts<'a> {
    /// Has the accounts of a shard for itself, with memory for those without cells.
    pub(crate) fn lock(
        cells: &'a KeyCells,
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
        let before = unsafe { cells.arena.origin(id) }.account();
        // SAFETY: by this function's contract.
        Ok(unsafe { (cells.arena).write(id, |cell| change(before, cell.account_mut())) })
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
