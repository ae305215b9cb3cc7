//! The changes of a block while they are gathered, key by key.

use super::{
    key::AddressKey,
    state::{Account, Code, CodeRef, StateError, StateRules, StateView},
    state_delta::StateDelta,
    write_set::AccountValue,
};
use crate::memory::{Appender, SharedList};
use ahash::RandomState;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
};

/// What must be known of a whole block before its changes can be told key by key.
#[derive(Debug)]
pub(crate) struct DeltaContext {
    /// Code that changed, by account.
    pub(crate) codes: BTreeMap<Address, CodeRef>,
    /// The same of accounts that are [told with their code](DeltaPart::account_with_code).
    pub(crate) told_codes: Vec<Arc<Code>>,
    /// How often each account's storage was cleared, where it was.
    pub(crate) generations: HashMap<AddressKey, u32, RandomState>,
    pub(crate) rules: StateRules,
}

impl DeltaContext {
    /// Of a block, or of accounts, whose code and storage as a whole stay what they are.
    pub(crate) fn without_code(rules: StateRules) -> Self {
        Self {
            codes: BTreeMap::new(),
            told_codes: Vec::new(),
            generations: HashMap::default(),
            rules,
        }
    }

    pub(crate) fn generation(&self, address: Address) -> u32 {
        if self.generations.is_empty() {
            return 0;
        }
        (self.generations.get(&AddressKey(address)).copied()).unwrap_or(0)
    }

    /// An account as it is after the block.
    fn account(&self, now: AccountValue, code_hash: B256) -> Option<Account> {
        let account = Account {
            nonce: now.nonce,
            balance: now.balance,
            code_hash,
        };
        let cleared = self.rules.clear_empty_accounts && account.is_empty();
        (now.exists && !cleared).then_some(account)
    }

    pub(crate) fn finish(
        self,
        changes: Changes,
        view: &dyn StateView,
    ) -> Result<StateDelta, StateError> {
        let mut delta = changes.into_delta();
        let cleared = self.generations.into_keys();
        delta
            .cleared
            .extend(cleared.map(|AddressKey(address)| address));
        delta.codes.extend(self.told_codes);
        for (address, code) in self.codes {
            let code_hash = code.hash();
            let mut accounts = delta.accounts.iter_mut();
            match accounts.find(|(known, _)| *known == address) {
                Some((_, Some(account))) => account.code_hash = code_hash,
                Some((_, None)) => {}
                None => {
                    // Code alone changed: nonce and balance are those before the block.
                    let account = view.account(address)?.unwrap_or_default();
                    let account = Account {
                        code_hash,
                        ..account
                    };
                    delta.accounts.push((address, Some(account)));
                }
            }
            delta.codes.extend(code.get().cloned());
        }
        delta.codes.sort_unstable_by_key(|code| code.hash());
        delta.codes.dedup_by_key(|code| code.hash());
        Ok(delta)
    }
}

/// A delta's lists while they are being filled, from any thread.
pub(crate) struct Changes {
    accounts: SharedList<(Address, Option<Account>)>,
    slots: SharedList<(Address, U256, U256)>,
    /// Empty, with the memory of an earlier delta.
    rest: StateDelta,
}

impl Changes {
    /// None yet, on the memory of an earlier delta, with room for so many accounts and slots.
    pub(crate) fn with_memory(mut memory: StateDelta, accounts: usize, slots: usize) -> Self {
        memory.clear();
        Self {
            accounts: SharedList::with_memory(mem::take(&mut memory.accounts), accounts),
            slots: SharedList::with_memory(mem::take(&mut memory.slots), slots),
            rest: memory,
        }
    }

    /// How much more room for accounts than accounts there has to be, so that [each has a place](DeltaPart::account), whatever so many
    /// gather.
    pub(crate) const fn slack(parts: usize) -> usize {
        SharedList::<(Address, Option<Account>)>::slack(parts)
    }

    /// The list of accounts, by the [places](DeltaPart::account) that parts gave them.
    pub(crate) const fn accounts(&self) -> &SharedList<(Address, Option<Account>)> {
        &self.accounts
    }

    pub(crate) fn into_memory(self) -> StateDelta {
        let mut memory = self.into_delta();
        memory.clear();
        memory
    }

    fn into_delta(self) -> StateDelta {
        StateDelta {
            accounts: self.accounts.into_vec(),
            slots: self.slots.into_vec(),
            ..self.rest
        }
    }

    pub(crate) const fn part(&self) -> DeltaPart<'_> {
        DeltaPart {
            accounts: self.accounts.appender(),
            slots: self.slots.appender(),
        }
    }
}

/// Changes of some of a block's keys.
///
/// The serial executor and the open block both end here, so they cannot differ in what they call a
/// change.
pub(crate) struct DeltaPart<'a> {
    accounts: Appender<'a, (Address, Option<Account>)>,
    slots: Appender<'a, (Address, U256, U256)>,
}

impl DeltaPart<'_> {
    /// Takes an account that the block may have changed, and whether a credit touched it. Returns its place among those that
    /// changed, if it has one: there is one for so many as were expected.
    pub(crate) fn account(
        &mut self,
        context: &DeltaContext,
        address: Address,
        before: Option<Account>,
        now: AccountValue,
        touched: bool,
    ) -> Option<usize> {
        let code_before = before.map_or(KECCAK256_EMPTY, |account| account.code_hash);
        let code_hash = if context.codes.is_empty() {
            code_before
        } else {
            let code = context.codes.get(&address);
            code.map_or(code_before, CodeRef::hash)
        };
        self.account_with_code(context, address, before, now, code_hash, touched)
    }

    /// The same of an account whose code is known to have this hash now.
    #[inline]
    pub(crate) fn account_with_code(
        &mut self,
        context: &DeltaContext,
        address: Address,
        before: Option<Account>,
        now: AccountValue,
        code_hash: B256,
        touched: bool,
    ) -> Option<usize> {
        let code_before = before.map_or(KECCAK256_EMPTY, |account| account.code_hash);
        // Field by field: what was put together in words is not compared in larger pieces until it has reached the
        // cache, behind all that was written before.
        let changed = code_hash != code_before
            || match before {
                Some(before) => {
                    !now.exists || now.nonce != before.nonce || now.balance != before.balance
                }
                None => now != AccountValue::default(),
            };
        if !changed && !touched {
            return None;
        }
        let after = context.account(now, code_hash);
        let differs = match (after, before) {
            (None, None) => false,
            (Some(_), Some(_)) => changed,
            _ => true,
        };
        if differs {
            self.accounts.push((address, after))
        } else {
            None
        }
    }

    /// Takes an account that was not there and now has this code, and nothing else by which it would be there.
    pub(crate) fn code_alone(
        &mut self,
        context: &DeltaContext,
        address: Address,
        now: AccountValue,
        code_hash: B256,
    ) {
        if context.account(now, code_hash).is_none() {
            let account = Account {
                code_hash,
                ..Account::default()
            };
            self.accounts.push((address, Some(account)));
        }
    }

    /// Takes an account that the block found with this code and another value.
    pub(crate) fn changed_account(
        &mut self,
        context: &DeltaContext,
        address: Address,
        now: AccountValue,
        code_hash: B256,
    ) {
        self.accounts
            .push((address, context.account(now, code_hash)));
    }

    /// Takes slots that changed, of accounts that were not cleared.
    pub(crate) fn changed_slots(&mut self, slots: &[(Address, U256, U256)]) {
        self.slots.extend_from_slice(slots);
    }

    /// Takes a slot that the block may have changed; `after` as of the account's last generation.
    pub(crate) fn slot(
        &mut self,
        context: &DeltaContext,
        address: Address,
        slot: U256,
        before: U256,
        after: U256,
    ) {
        let before = if context.generation(address) == 0 {
            before
        } else {
            U256::ZERO
        };
        if before != after {
            self.slots.push((address, slot, after));
        }
    }
}
