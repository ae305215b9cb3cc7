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
use std::collections::BTreeSet;

impl Core {
    /// Returns to an earlier block, with a record that restores what later blocks changed.
    pub(crate) fn undo_to(&self, number: u64) -> Result<(), CommitError> {
        let (target, latest) = {
            let chain = self.chain.read();
            let target = chain.retained(number)?.clone();
            (target, chain.latest().map(|block| block.number))
        };
        if latest == Some(number) {
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
    ) -> Result<Changes<'static>, ReadError> {
        let (mut accounts, mut slots) = (Vec::new(), Vec::new());
        for (key, value) in self.values_before_changes(target)? {
            match key {
                Key::Account(address) => accounts.push((address, Value::record(value).account)),
                Key::Slot(address, slot) => slots.push((address, slot.into(), Value::word(value))),
                Key::Code(_) => {}
            }
        }
        Ok(Changes {
            accounts: accounts.into(),
            slots: slots.into(),
            codes: &[],
        })
    }

    /// The accounts and slots that changed since a block, each with its value at the block.
    pub(crate) fn values_before_changes(
        &self,
        target: &BlockSummary,
    ) -> Result<Vec<(Key, Option<Value>)>, ReadError> {
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
        let accounts = accounts.into_iter().map(Key::Account);
        let slots = (slots.into_iter()).map(|(address, slot)| Key::Slot(address, slot));
        let value = |key: Key| {
            let value = match self.find(&table, self.hasher.hash(&key), &key)? {
                Some((location, entry)) => {
                    self.version_at(&table, target.horizon, location, &entry)?
                }
                None => None,
            };
            Ok((key, value))
        };
        accounts.chain(slots).map(value).collect()
    }
}
