//! Undo: a record that restores what later blocks changed.

use super::encode::Changes;
use crate::{
    error::{CommitError, ReadError},
    index::BlockSummary,
    log::{
        Key, RecordKind,
        entry::{Body, Value},
        walk_records,
    },
    shared::Core,
};
use alloy_primitives::{Address, B256};
use std::collections::BTreeSet;

/// Accounts, and slots by account.
pub(crate) type ChangedKeys = (BTreeSet<Address>, BTreeSet<(Address, B256)>);

impl Core {
    /// Returns to an earlier block, with a record that restores what later blocks changed.
    pub(crate) fn undo_to(&self, number: u64) -> Result<(), CommitError> {
        let (target, latest, oldest) = {
            let chain = self.chain.read();
            let latest = chain.latest().ok_or(ReadError::Empty)?.number;
            (chain.blocks.get(&number).cloned(), latest, chain.oldest)
        };
        let target = target.ok_or(ReadError::NotRetained {
            number,
            oldest,
            latest,
        })?;
        if latest == number {
            return Ok(());
        }
        let changes = self.changes_since(&target)?;
        let block = self.prepare_changes(number, &changes, RecordKind::Undo)?;
        if block.state_root != target.state_root {
            let what = "undoing the blocks after this record does not restore its state";
            return Err(self.damage_at(target.horizon, what).into());
        }
        self.commit(block, target.hash, &[])?;
        Ok(())
    }

    /// The changes that lead from the newest block back to `target`.
    pub(crate) fn changes_since(
        &self,
        target: &BlockSummary,
    ) -> Result<Changes<'static>, CommitError> {
        let table = self.segments();
        let (accounts, slots) = self.keys_since(target)?;
        let value = |key: Key| -> Result<Option<Value>, ReadError> {
            match self.find(&table, self.hasher.hash(&key), &key)? {
                Some((location, entry)) => {
                    self.version_at(&table, target.horizon, location, &entry)
                }
                None => Ok(None),
            }
        };
        let mut account_changes = Vec::with_capacity(accounts.len());
        for address in accounts {
            let record = Value::record(value(Key::Account(address))?);
            account_changes.push((address, record.account));
        }
        let mut slot_changes = Vec::with_capacity(slots.len());
        for (address, slot) in slots {
            let word = Value::word(value(Key::Slot(address, slot))?);
            slot_changes.push((address, slot.into(), word));
        }
        Ok(Changes {
            accounts: account_changes.into(),
            slots: slot_changes.into(),
            codes: &[],
        })
    }

    /// The accounts and slots that changed since a block.
    pub(crate) fn keys_since(&self, target: &BlockSummary) -> Result<ChangedKeys, ReadError> {
        let table = self.segments();
        let (mut accounts, mut slots) = (BTreeSet::new(), BTreeSet::new());
        walk_records(&table, target.horizon.position(), |segment, record| {
            for entry in record.entries() {
                let entry = entry
                    .map_err(|(position, what)| segment.damage(position - segment.start, what))?;
                let Body::Value { key, .. } = entry.body else {
                    continue;
                };
                match key {
                    Key::Account(address) => drop(accounts.insert(address)),
                    Key::Slot(address, slot) => drop(slots.insert((address, slot))),
                    Key::Code(_) => {}
                }
            }
            Ok(())
        })?;
        Ok((accounts, slots))
    }
}
