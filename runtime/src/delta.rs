//! What a block changed.

use crate::{
    state::{Account, Code, CodeRef, StateError, StateView},
    state_cells::StateRules,
    write_set::AccountValue,
};
use alloy_primitives::{Address, KECCAK256_EMPTY, U256};
use std::{collections::BTreeMap, sync::Arc};

/// The difference between the state before a block and the state after it, in canonical form:
/// sorted, each key once, and only what differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDelta {
    /// Accounts that changed, as they are after the block; `None` where the account is gone.
    pub accounts: Vec<(Address, Option<Account>)>,
    /// Accounts whose storage before the block is gone.
    pub wiped: Vec<Address>,
    /// Slots that changed. For a wiped account: every slot that is not zero after the block.
    pub slots: Vec<(Address, U256, U256)>,
    /// Code that accounts changed to.
    pub codes: Vec<Arc<Code>>,
}

impl StateDelta {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.wiped.is_empty() && self.slots.is_empty()
    }
}

/// Compares values before and after a block and keeps what differs.
///
/// The serial executor and the open block both end here, so they cannot differ in what they call a
/// change.
pub(crate) struct DeltaCollector {
    /// Code that changed, by account.
    codes: BTreeMap<Address, CodeRef>,
    /// How often each account's storage was wiped, where it was.
    incarnations: BTreeMap<Address, u32>,
    rules: StateRules,
    delta: StateDelta,
}

impl DeltaCollector {
    /// Nothing collected yet, for a block with these changes of code and these wipes.
    pub(crate) fn new(
        codes: BTreeMap<Address, CodeRef>,
        incarnations: BTreeMap<Address, u32>,
        rules: StateRules,
    ) -> Self {
        Self {
            codes,
            incarnations,
            rules,
            delta: StateDelta::default(),
        }
    }

    /// How often the storage of `address` was wiped.
    pub(crate) fn incarnation(&self, address: Address) -> u32 {
        if self.incarnations.is_empty() {
            return 0;
        }
        self.incarnations.get(&address).copied().unwrap_or(0)
    }

    /// Takes an account that the block may have changed, and whether a credit touched it.
    pub(crate) fn account(
        &mut self,
        address: Address,
        before: Option<Account>,
        now: AccountValue,
        touched: bool,
    ) {
        let code_before = before.map_or(KECCAK256_EMPTY, |account| account.code_hash);
        let code_hash = if self.codes.is_empty() {
            code_before
        } else {
            let code = self.codes.get(&address);
            code.map_or(code_before, CodeRef::hash)
        };
        let account = Account {
            nonce: now.nonce,
            balance: now.balance,
            code_hash,
        };
        let changed = now != AccountValue::from(before.as_ref()) || code_hash != code_before;
        if !changed && !touched {
            return;
        }
        let cleared = self.rules.clear_empty_accounts && account.is_empty();
        let after = (now.exists && !cleared).then_some(account);
        if after != before {
            self.delta.accounts.push((address, after));
        }
    }

    /// Takes a slot that the block may have changed; `after` as of the account's last incarnation.
    pub(crate) fn slot(&mut self, address: Address, slot: U256, before: U256, after: U256) {
        let before = if self.incarnation(address) == 0 {
            before
        } else {
            U256::ZERO
        };
        if before != after {
            self.delta.slots.push((address, slot, after));
        }
    }

    /// The delta in canonical form.
    pub(crate) fn finish(self, view: &dyn StateView) -> Result<StateDelta, StateError> {
        let Self {
            codes,
            incarnations,
            mut delta,
            ..
        } = self;
        delta.accounts.sort_unstable_by_key(|(address, _)| *address);
        delta
            .slots
            .sort_unstable_by_key(|(address, slot, _)| (*address, *slot));
        delta.wiped = incarnations.into_keys().collect();
        let mut recoded = Vec::new();
        for (address, code) in codes {
            let known = delta
                .accounts
                .binary_search_by_key(&address, |(address, _)| *address);
            if known.is_err() {
                // Code alone changed: nonce and balance are those before the block.
                let account = view.account(address)?.unwrap_or_default();
                let code_hash = code.hash();
                recoded.push((
                    address,
                    Some(Account {
                        code_hash,
                        ..account
                    }),
                ));
            }
            delta.codes.extend(code.get().cloned());
        }
        if !recoded.is_empty() {
            delta.accounts.append(&mut recoded);
            delta.accounts.sort_unstable_by_key(|(address, _)| *address);
        }
        delta.codes.sort_unstable_by_key(|code| code.hash());
        delta.codes.dedup_by_key(|code| code.hash());
        Ok(delta)
    }
}
