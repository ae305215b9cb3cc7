//! A state in memory that can be read as of each of the last blocks.
//!
//! Every value carries the numbers of the blocks that set it. A reader at block B takes the newest version
//! that is not newer than B, so adding block B + 1 does not affect it. Versions that no kept block can see
//! are dropped when their value is set again.

use ahash::AHashMap;
use alloy_primitives::{Address, B256, U256};
use lockweave_accounts_db::StateItem;
use lockweave_runtime::{Account, Code, StateDelta, StateError, StateView};
use parking_lot::RwLock;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Shards, each with its own lock.
const SHARDS: usize = 64;
/// `BLOCKHASH` reaches this far back.
const BLOCK_HASHES: u64 = 256;

/// Values by the block that set them, oldest first.
#[derive(Clone, Debug)]
struct Versions<T>(Vec<(u64, T)>);

impl<T: Copy> Versions<T> {
    const fn none() -> Self {
        Self(Vec::new())
    }

    fn at(&self, block: u64) -> Option<(u64, T)> {
        let newest = self.0.iter().rev().find(|(set, _)| *set <= block);
        newest.copied()
    }

    /// The newest block that set it.
    fn last(&self) -> Option<&u64> {
        self.0.last().map(|(set, _)| set)
    }

    fn push(&mut self, block: u64, value: T, oldest: u64) {
        // The version that the oldest kept block sees must stay.
        let unseen = self.0.iter().rposition(|(set, _)| *set <= oldest);
        if let Some(unseen) = unseen
            && unseen > 0
        {
            self.0.drain(..unseen);
        }
        match self.0.last_mut() {
            Some((set, last)) if *set == block => *last = value,
            _ => self.0.push((block, value)),
        }
    }
}

#[derive(Debug)]
struct Entry {
    account: Versions<Option<Account>>,
    /// Blocks that cleared the account's storage.
    wipes: Versions<()>,
    slots: AHashMap<U256, Versions<U256>>,
}

impl Entry {
    fn slot(&self, slot: U256, block: u64) -> U256 {
        let Some(versions) = self.slots.get(&slot) else {
            return U256::ZERO;
        };
        self.live(versions, block)
    }

    fn live(&self, versions: &Versions<U256>, block: u64) -> U256 {
        match (versions.at(block), self.wipes.at(block)) {
            // A slot that a block sets is set after the block's storage clears.
            (Some((set, value)), Some((cleared, ()))) if set >= cleared => value,
            (Some((_, value)), None) => value,
            _ => U256::ZERO,
        }
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            account: Versions::none(),
            wipes: Versions::none(),
            slots: AHashMap::new(),
        }
    }
}

type Shard = AHashMap<Address, Entry>;

/// The states after the last blocks.
#[derive(Debug)]
pub struct VersionedState {
    shards: Box<[RwLock<Shard>]>,
    codes: RwLock<AHashMap<B256, Arc<Code>>>,
    hashes: RwLock<AHashMap<u64, B256>>,
    oldest: AtomicU64,
}

impl VersionedState {
    /// An empty state; the first block to be applied has number `first`.
    pub fn new(first: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            codes: RwLock::default(),
            hashes: RwLock::default(),
            oldest: AtomicU64::new(first),
        }
    }

    /// The oldest block whose state can be read.
    pub fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Acquire)
    }

    /// Applies the changes of block `number`, keeping the states from `oldest` on.
    ///
    /// The state of `number` must not be read before this returns.
    pub fn apply(&self, number: u64, hash: B256, delta: &StateDelta, oldest: u64) {
        self.oldest.store(oldest, Ordering::Release);
        {
            let mut codes = self.codes.write();
            for code in &delta.codes {
                codes.entry(code.hash()).or_insert_with(|| Arc::clone(code));
            }
        }
        {
            let mut hashes = self.hashes.write();
            hashes.insert(number, hash);
            // The oldest state may be asked for the hashes of the 256 blocks before it.
            if let Some(unseen) = oldest.checked_sub(BLOCK_HASHES + 1) {
                hashes.remove(&unseen);
            }
        }
        for address in &delta.cleared {
            let mut shard = self.shard(*address).write();
            let entry = shard.entry(*address).or_default();
            entry.wipes.push(number, (), oldest);
        }
        for (address, slot, value) in &delta.slots {
            let mut shard = self.shard(*address).write();
            let slots = &mut shard.entry(*address).or_default().slots;
            let versions = slots.entry(*slot).or_insert_with(Versions::none);
            versions.push(number, *value, oldest);
        }
        for (address, account) in &delta.accounts {
            let mut shard = self.shard(*address).write();
            let entry = shard.entry(*address).or_default();
            entry.account.push(number, *account, oldest);
        }
    }

    /// The state after a block.
    pub fn at(self: &Arc<Self>, block: u64) -> VersionedView {
        VersionedView {
            state: Arc::clone(self),
            block,
        }
    }

    fn shard(&self, address: Address) -> &RwLock<Shard> {
        // The last bytes of an address are the hardest to choose.
        &self.shards[usize::from(address[19]) % SHARDS]
    }
}

/// The state after one block.
#[derive(Clone, Debug)]
pub struct VersionedView {
    state: Arc<VersionedState>,
    block: u64,
}

impl StateView for VersionedView {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        Ok(self.account_at(address))
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        Ok(self.slot_at(address, slot))
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        Ok(self.state.codes.read().get(&hash).cloned())
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        if number > self.block {
            return Ok(None);
        }
        Ok(self.state.hashes.read().get(&number).copied())
    }

    fn has_storage(&self, address: Address) -> Result<bool, StateError> {
        let mut found = false;
        self.for_each_slot(address, &mut |_, _| found = true);
        Ok(found)
    }
}

impl VersionedView {
    pub(super) fn account_at(&self, address: Address) -> Option<Account> {
        let shard = self.state.shard(address).read();
        let entry = shard.get(&address);
        let version = entry.and_then(|entry| entry.account.at(self.block));
        version.and_then(|(_, account)| account)
    }

    /// The value of a slot.
    pub(super) fn slot_at(&self, address: Address, slot: U256) -> U256 {
        let shard = self.state.shard(address).read();
        let entry = shard.get(&address);
        entry.map_or(U256::ZERO, |entry| entry.slot(slot, self.block))
    }

    /// Visits every slot of an account that is not zero.
    pub(super) fn for_each_slot(&self, address: Address, each: &mut dyn FnMut(U256, U256)) {
        let shard = self.state.shard(address).read();
        let Some(entry) = shard.get(&address) else {
            return;
        };
        for (slot, versions) in &entry.slots {
            let value = entry.live(versions, self.block);
            if !value.is_zero() {
                each(*slot, value);
            }
        }
    }

    /// The changes that lead from the newest state back to this one.
    pub(super) fn changes_since(&self) -> StateDelta {
        let mut delta = StateDelta::default();
        for shard in &self.state.shards {
            for (address, entry) in &*shard.read() {
                let is_newer = |set: Option<&u64>| set.is_some_and(|set| *set > self.block);
                if is_newer(entry.account.last()) {
                    let account = entry
                        .account
                        .at(self.block)
                        .and_then(|(_, account)| account);
                    delta.accounts.push((*address, account));
                }
                let was_cleared = is_newer(entry.wipes.last());
                for (slot, versions) in &entry.slots {
                    if was_cleared || is_newer(versions.last()) {
                        delta
                            .slots
                            .push((*address, *slot, entry.live(versions, self.block)));
                    }
                }
            }
        }
        delta
    }

    /// Gives `visit` all accounts and slots, until it returns `false`.
    pub(super) fn visit(&self, visit: &mut dyn FnMut(StateItem) -> bool) {
        for shard in &self.state.shards {
            for (address, entry) in &*shard.read() {
                let Some((_, Some(account))) = entry.account.at(self.block) else {
                    continue;
                };
                if !visit(StateItem::Account(*address, account)) {
                    return;
                }
                for (slot, versions) in &entry.slots {
                    let value = entry.live(versions, self.block);
                    if !value.is_zero() && !visit(StateItem::Slot(*address, *slot, value)) {
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_deltas::delta;
    use lockweave_runtime::MemoryState;
    use proptest::prelude::*;

    const KEPT: u64 = 4;

    proptest! {
        /// Every kept state equals that of a plain map after the block.
        #[test]
        fn old_states_stay_as_they_were(deltas in prop::collection::vec(delta(), 1..14)) {
            let state = Arc::new(VersionedState::new(0));
            let mut model = MemoryState::new();
            let mut models = Vec::new();
            for (number, delta) in (0_u64..).zip(&deltas) {
                let oldest = number.saturating_sub(KEPT);
                state.apply(number, B256::repeat_byte(1), delta, oldest);
                model.apply(delta);
                models.push(model.clone());
                for kept in oldest..=number {
                    let view = state.at(kept);
                    let model = &models[usize::try_from(kept).unwrap()];
                    for byte in 0..6 {
                        let address = Address::repeat_byte(byte);
                        prop_assert_eq!(view.account(address).unwrap(), model.account(address).unwrap());
                        prop_assert_eq!(view.has_storage(address).unwrap(), model.has_storage(address).unwrap());
                        for slot in 0..4 {
                            let slot = U256::from(slot);
                            prop_assert_eq!(view.slot(address, slot).unwrap(), model.slot(address, slot).unwrap());
                        }
                    }
                }
            }
        }
    }
}
