//! The accounts of a shard of the interner while somebody follows what payments do to them.

// Whoever has a shard of the interner for himself has the cells of its accounts.
#![allow(unsafe_code)]

use crate::{
    delta::{Changes, DeltaContext},
    key::StateKey,
    state::{Account, StateError},
    state_cells::{AccountCell, CellShard, StateCells, StateRules},
};
use alloy_primitives::Address;
use hashbrown::HashTable;
use std::fmt;

/// The accounts of a shard, of which nobody else has to do with any.
pub(crate) struct ShardAccounts<'a> {
    cells: &'a StateCells,
    interned: CellShard<'a>,
    /// Those without cells; nothing if all are to have cells.
    followed: Option<&'a mut FollowedAccounts>,
}

impl<'a> ShardAccounts<'a> {
    /// Has the accounts of a shard for itself. Those of which the block has no cells get some, unless there is other memory
    /// for them.
    pub(crate) fn lock(
        cells: &'a StateCells,
        shard: usize,
        followed: Option<&'a mut FollowedAccounts>,
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
        let id = if let Some(followed) = followed {
            if let Some(account) = followed.find(hash, key.address) {
                return Ok(change(account.before.as_ref(), &mut account.cell));
            }
            if let Some(id) = interned.get(hash, key) {
                id
            } else {
                let before = cells.view().account(key.address)?;
                let account = followed.insert(hash, key.address, before);
                return Ok(change(account.before.as_ref(), &mut account.cell));
            }
        } else {
            interned.intern(hash, key)?
        };
        // SAFETY: the id came from these cells.
        let before = unsafe { cells.cells.origin(id) }.account();
        // SAFETY: by this function's contract.
        Ok(unsafe { (cells.cells).write(id, |cell| change(before, cell.account_mut())) })
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

    /// Adds what became of them to a block's changes.
    pub(crate) fn collect(&self, changes: &Changes, rules: StateRules) {
        let context = DeltaContext::without_code(rules);
        let mut part = changes.part();
        for account in &self.accounts {
            let (now, touched) = (account.cell.current(rules), account.cell.is_credited());
            part.account(&context, account.address, account.before, now, touched);
        }
    }
}

impl fmt::Debug for FollowedAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowedAccounts")
            .field("accounts", &self.accounts.len())
            .finish_non_exhaustive()
    }
}
