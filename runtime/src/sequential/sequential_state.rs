//! The state of a block that runs sequentially: what has changed so far, over the state before the block.
//!
//! Locks, cells and dense ids are for transactions that run in parallel. If one thread runs them all, one
//! after another, two maps suffice: one entry for an account, code included, and one for each slot that was
//! written. What a block only reads leaves no entry.
//!
//! This is not the [serial executor](crate::SerialState), the oracle for this state too. They share only the
//! definition of a change.

use super::place_map::PlaceMap;
use crate::{
    executor::Transfer,
    keys::Room,
    model::{
        Account, AccountValue, AddressKey, CodeRef, Credit, DeltaContext, DeltaPart, KeyPart,
        StateError, StateKey, StateRules, StateView, WriteSet, is_credit_safe,
    },
};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use std::hash::{Hash, Hasher};

/// Fewer changes than this are gathered in one part: that is faster than starting several threads.
pub(crate) const PART_MIN: usize = 4_096;

/// Memory is not shrunk below this many entries.
const ROOM_LEFT_MIN: usize = 1 << 10;

/// An account that was read or changed.
struct ChangedAccount {
    before: Option<Account>,
    value: AccountValue,
    /// Set once it was read, if the account had any, or changed.
    code: Option<CodeRef>,
    /// How often the storage of this account was cleared in this block.
    generation: u32,
    /// Whether it was credited since the value was last written, even with nothing.
    is_credited: bool,
}

impl ChangedAccount {
    fn has_code(&self) -> bool {
        match &self.code {
            Some(code) => !code.is_empty(),
            None => self.before.is_some_and(|before| before.has_code()),
        }
    }

    /// Whether the code is what it was, and no storage was cleared.
    fn has_its_code(&self) -> bool {
        let code = self.code.as_ref();
        self.generation == 0 && code.is_none_or(|code| code.hash() == self.code_before())
    }

    fn code_before(&self) -> B256 {
        let before = self.before.as_ref();
        before.map_or(KECCAK256_EMPTY, |before| before.code_hash)
    }

    /// Adds the account's change to a part.
    fn tell(&self, address: Address, context: &DeltaContext, part: &mut DeltaPart<'_>) {
        let Self { before, value, .. } = *self;
        let code_before = self.code_before();
        let code_hash = self.code.as_ref().map_or(code_before, CodeRef::hash);
        let touched = self.is_credited;
        part.account_with_code(context, address, before, value, code_hash, touched);
        // As everywhere: code makes an account, whatever else is said of it.
        if before.is_none() && code_hash != code_before {
            part.code_alone(context, address, value, code_hash);
        }
    }

    fn write(&mut self, value: AccountValue) {
        self.value = value;
        self.is_credited = false;
    }

    fn credit(&mut self, amount: U256, rules: StateRules) {
        self.value.balance += amount;
        self.value.exists |= !amount.is_zero() || !rules.clear_empty_accounts;
        self.is_credited = true;
    }

    fn may_credit(&self, amount: U256) -> bool {
        is_credit_safe(self.value.balance, amount)
    }
}

struct WrittenSlot {
    before: U256,
    value: U256,
    /// The account's generation when the value was written.
    generation: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct SlotKey {
    address: Address,
    slot: U256,
}

impl Hash for SlotKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        StateKey::slot(self.address, self.slot).hash(state);
    }
}

/// Accounts are asked for again and again; so many of them are found without a hash.
const RECENT: usize = 512;

#[derive(Clone, Copy)]
struct Recent([u32; RECENT]);

impl Default for Recent {
    fn default() -> Self {
        Self([0; RECENT])
    }
}

impl Recent {
    #[inline]
    fn of(&mut self, address: &Address) -> &mut u32 {
        let end = u16::from_be_bytes([address[18], address[19]]);
        &mut self.0[usize::from(end) % RECENT]
    }
}

/// What has changed in a block that runs sequentially. Empty until then, with the memory of earlier blocks.
#[derive(Default, derive_more::Debug)]
#[debug("SequentialState {{ accounts: {}, slots: {} }}", self.accounts.len(), self.slots.len())]
pub struct SequentialState {
    accounts: PlaceMap<AddressKey, ChangedAccount>,
    slots: PlaceMap<SlotKey, WrittenSlot>,
    /// Where accounts were found, by the end of their address: the last one of each end. They may be of another block.
    recent: Recent,
    /// Places of accounts whose code changed or whose storage was cleared; some occur twice.
    recoded: Vec<usize>,
    has_cleared: bool,
    /// Places of what the effects being applied change; kept for its memory.
    found: Vec<usize>,
    room: Room,
}

impl SequentialState {
    /// Forgets everything, and keeps the memory, unless little of it was needed for some time.
    pub(crate) fn clear(&mut self) {
        let keys = self.accounts.len().max(self.slots.len());
        let room = self.accounts.capacity().max(self.slots.capacity());
        self.accounts.clear();
        self.slots.clear();
        self.recoded.clear();
        self.has_cleared = false;
        if let Some(kept) = self.room.cut_down(keys, room) {
            let kept = kept.max(ROOM_LEFT_MIN);
            self.accounts.shrink_to(kept);
            self.slots.shrink_to(kept);
        }
    }

    /// How many accounts and slots may have changed.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.accounts.len(), self.slots.len())
    }

    /// The place of an account, which is loaded if it has none.
    #[inline]
    fn find(&mut self, view: &dyn StateView, address: Address) -> Result<usize, StateError> {
        let place = *self.recent.of(&address) as usize;
        if self.accounts.key_at(place) == Some(&AddressKey(address)) {
            return Ok(place);
        }
        self.find_or_load(view, address)
    }

    /// The same where it was not found by the end of its address.
    #[inline(never)]
    fn find_or_load(
        &mut self,
        view: &dyn StateView,
        address: Address,
    ) -> Result<usize, StateError> {
        let look = || {
            let before = view.account(address)?;
            Ok(ChangedAccount {
                value: AccountValue::from(before.as_ref()),
                before,
                code: None,
                generation: 0,
                is_credited: false,
            })
        };
        let place = self
            .accounts
            .find_or_try_insert(AddressKey(address), look)?;
        // The map has no places beyond that.
        *self.recent.of(&address) = u32::try_from(place).unwrap_or(u32::MAX);
        Ok(place)
    }

    /// The place of a slot that is written.
    fn find_slot(
        &mut self,
        view: &dyn StateView,
        address: Address,
        slot: U256,
    ) -> Result<usize, StateError> {
        let look = || {
            let before = view.slot(address, slot)?;
            Ok(WrittenSlot {
                before,
                value: before,
                generation: 0,
            })
        };
        self.slots
            .find_or_try_insert(SlotKey { address, slot }, look)
    }

    /// How often the storage of an account was cleared.
    #[inline]
    pub(crate) fn generation(&self, address: Address) -> u32 {
        if !self.has_cleared {
            return 0;
        }
        let account = self.accounts.get(&AddressKey(address));
        account.map_or(0, |account| account.generation)
    }

    #[inline]
    pub(crate) fn account(
        &mut self,
        view: &dyn StateView,
        address: Address,
    ) -> Result<AccountValue, StateError> {
        let place = self.find(view, address)?;
        Ok(self.accounts[place].value)
    }

    #[inline]
    pub(crate) fn code(
        &mut self,
        view: &dyn StateView,
        address: Address,
    ) -> Result<&CodeRef, StateError> {
        static NONE: CodeRef = CodeRef::EMPTY;
        let place = self.find(view, address)?;
        let account = &mut self.accounts[place];
        if account.code.is_none() && account.has_code() {
            let code = CodeRef::load(view, address, account.before.as_ref())?;
            account.code = Some(code);
        }
        Ok(account.code.as_ref().unwrap_or(&NONE))
    }

    #[inline]
    pub(crate) fn slot(
        &self,
        view: &dyn StateView,
        address: Address,
        slot: U256,
    ) -> Result<U256, StateError> {
        let generation = self.generation(address);
        if let Some(written) = self.slots.get(&SlotKey { address, slot }) {
            let is_current = written.generation == generation;
            return Ok(if is_current {
                written.value
            } else {
                U256::ZERO
            });
        }
        if generation > 0 {
            return Ok(U256::ZERO);
        }
        view.slot(address, slot)
    }

    /// Whether a balance may be increased without reading it. Not if the state fails; it fails again when it
    /// is read.
    pub(crate) fn may_credit(
        &mut self,
        view: &dyn StateView,
        address: Address,
        amount: U256,
    ) -> bool {
        let place = self.find(view, address);
        place.is_ok_and(|place| self.accounts[place].may_credit(amount))
    }

    /// Carries out a transfer whose beneficiary is neither of the two, if all is as it has to be.
    pub(crate) fn transfer(
        &mut self,
        view: &dyn StateView,
        rules: StateRules,
        transfer: &Transfer,
    ) -> Option<()> {
        let payer = self.find(view, transfer.sender).ok()?;
        let paid = if transfer.recipient == transfer.sender {
            None
        } else {
            Some(self.find(view, transfer.recipient).ok()?)
        };
        let tipped = self.find(view, transfer.beneficiary).ok()?;
        let sender = &self.accounts[payer];
        let mut value = sender.value;
        if sender.has_code() || value.nonce != transfer.nonce || value.balance < transfer.needed {
            return None;
        }
        value.balance -= transfer.gas_cost;
        value.nonce += 1;
        value.exists = true;
        if !self.accounts[tipped].may_credit(transfer.tip) {
            return None;
        }
        if let Some(paid) = paid {
            let recipient = &mut self.accounts[paid];
            if recipient.has_code() || !recipient.may_credit(transfer.value) {
                return None;
            }
            value.balance -= transfer.value;
            recipient.credit(transfer.value, rules);
        }
        self.accounts[payer].write(value);
        self.accounts[tipped].credit(transfer.tip, rules);
        Some(())
    }

    /// Applies a transaction's effects, all, or none if the state fails.
    pub(crate) fn apply(
        &mut self,
        view: &dyn StateView,
        rules: StateRules,
        writes: &WriteSet,
    ) -> Result<(), StateError> {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        let all_found = self.find_all(view, writes, &mut found);
        if all_found.is_ok() {
            self.apply_found(rules, writes, &found);
        }
        self.found = found;
        all_found
    }

    /// The places of what effects change, in the order in which they are applied.
    fn find_all(
        &mut self,
        view: &dyn StateView,
        writes: &WriteSet,
        found: &mut Vec<usize>,
    ) -> Result<(), StateError> {
        for (address, _) in &writes.accounts {
            found.push(self.find(view, *address)?);
        }
        for (address, _) in &writes.codes {
            found.push(self.find(view, *address)?);
        }
        for address in &writes.cleared {
            found.push(self.find(view, *address)?);
        }
        for (address, slot, _) in &writes.slots {
            found.push(self.find_slot(view, *address, *slot)?);
        }
        for credit in &writes.credits {
            found.push(self.find(view, credit.address)?);
        }
        Ok(())
    }

    fn apply_found(&mut self, rules: StateRules, writes: &WriteSet, found: &[usize]) {
        let mut found = found.iter().copied();
        let mut next = || found.next().expect("one was found for each effect");
        for (_, value) in &writes.accounts {
            self.accounts[next()].write(*value);
        }
        for (_, code) in &writes.codes {
            let place = next();
            self.accounts[place].code = Some(code.clone());
            self.recoded.push(place);
        }
        for _ in &writes.cleared {
            let place = next();
            self.accounts[place].generation += 1;
            self.recoded.push(place);
            self.has_cleared = true;
        }
        for (address, _, value) in &writes.slots {
            let generation = self.generation(*address);
            let slot = &mut self.slots[next()];
            slot.value = *value;
            slot.generation = generation;
        }
        for Credit { amount, .. } in &writes.credits {
            self.accounts[next()].credit(*amount, rules);
        }
    }

    /// Whether the block has left this key as it was, so that a read gives the value before the block.
    ///
    /// A slot of a cleared account is covered by the account's code, which its reader has read too.
    pub(crate) fn is_untouched(&self, key: &StateKey) -> bool {
        let address = key.address;
        match key.part {
            KeyPart::Slot(slot) => {
                let written = self.slots.get(&SlotKey { address, slot });
                written.is_none_or(|written| written.value == written.before)
            }
            KeyPart::Account => {
                let account = self.accounts.get(&AddressKey(address));
                account.is_none_or(|it| it.value == AccountValue::from(it.before.as_ref()))
            }
            KeyPart::Code => {
                let account = || self.accounts.get(&AddressKey(address));
                self.recoded.is_empty() || account().is_none_or(ChangedAccount::has_its_code)
            }
        }
    }

    /// What must be known of the whole block before its changes can be told.
    pub(crate) fn add_to(&self, context: &mut DeltaContext) {
        for place in &self.recoded {
            let (AddressKey(address), account) = &self.accounts.entries()[*place];
            if account.generation > 0 {
                context
                    .generations
                    .insert(AddressKey(*address), account.generation);
            }
            if let Some(code) = &account.code
                && code.hash() != account.code_before()
            {
                context.told_codes.extend(code.get().cloned());
            }
        }
    }

    /// Gathers the changes of one of so many parts.
    pub(crate) fn collect(
        &self,
        (shard, parts): (usize, usize),
        context: &DeltaContext,
        part: &mut DeltaPart<'_>,
    ) {
        let range = |len: usize| len * shard / parts..len * (shard + 1) / parts;
        let accounts = self.accounts.entries();
        let accounts = accounts.get(range(accounts.len()));
        for (AddressKey(address), account) in accounts.into_iter().flatten() {
            account.tell(*address, context, part);
        }
        let slots = self.slots.entries();
        let slots = slots.get(range(slots.len()));
        for (SlotKey { address, slot }, written) in slots.into_iter().flatten() {
            let is_current = written.generation == context.generation(*address);
            let after = if is_current {
                written.value
            } else {
                U256::ZERO
            };
            part.slot(context, *address, *slot, written.before, after);
        }
    }
}

#[cfg(test)]
mod tests;
