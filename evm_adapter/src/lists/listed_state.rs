//! The state before each transaction of a block, from the block's access list (EIP-7928).

use ahash::AHashMap;
use alloy_eips::eip7928::AccountChanges;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use lockweave_runtime::{Account, Code, StateError, StateView};
use std::sync::Arc;

/// The state before a block, with the changes of the block's access list.
pub struct ListedState {
    base: Arc<dyn StateView>,
    accounts: AHashMap<Address, ListedAccount>,
    codes: AHashMap<B256, Arc<Code>>,
}

/// Changes by index, ascending.
type Changes<T> = Vec<(u64, T)>;

#[derive(Default)]
struct ListedAccount {
    balances: Changes<U256>,
    nonces: Changes<u64>,
    codes: Changes<B256>,
    slots: AHashMap<U256, Changes<U256>>,
}

impl ListedState {
    /// The changes of a list on the state before its block. Indices must be ascending, as in every valid list.
    pub fn new(base: Arc<dyn StateView>, list: &[AccountChanges]) -> Self {
        let mut codes = AHashMap::new();
        let mut accounts = AHashMap::with_capacity(list.len());
        for account in list {
            let mut listed = ListedAccount::default();
            let balances = account.balance_changes.iter();
            let balances = balances.map(|one| (one.block_access_index.get(), one.post_balance));
            listed.balances.extend(balances);
            let nonces = account.nonce_changes.iter();
            let nonces = nonces.map(|one| (one.block_access_index.get(), one.new_nonce));
            listed.nonces.extend(nonces);
            for change in &account.code_changes {
                let code = Arc::new(Code::new(change.new_code.clone()));
                let index = change.block_access_index.get();
                listed.codes.push((index, code.hash()));
                codes.insert(code.hash(), code);
            }
            for slot in &account.storage_changes {
                let changes = slot.changes.iter();
                let changes = changes.map(|one| (one.block_access_index.get(), one.new_value));
                listed.slots.insert(slot.slot, changes.collect());
            }
            accounts.insert(account.address, listed);
        }
        Self {
            base,
            accounts,
            codes,
        }
    }

    /// The state before the steps of this index.
    pub const fn before(self: Arc<Self>, index: u64) -> StateBefore {
        StateBefore { state: self, index }
    }
}

impl std::fmt::Debug for ListedState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListedState")
            .field("accounts", &self.accounts.len())
            .finish_non_exhaustive()
    }
}

/// A [`ListedState`] before the steps of one index.
#[derive(Debug)]
pub struct StateBefore {
    state: Arc<ListedState>,
    index: u64,
}

/// The value of the last change before `index`.
fn last<T: Copy>(changes: &[(u64, T)], index: u64) -> Option<T> {
    let earlier = changes.partition_point(|(changed, _)| *changed < index);
    earlier.checked_sub(1).map(|last| changes[last].1)
}

impl StateView for StateBefore {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        let base = self.state.base.account(address)?;
        let Some(listed) = self.state.accounts.get(&address) else {
            return Ok(base);
        };
        let mut account = base.unwrap_or(Account {
            code_hash: KECCAK256_EMPTY,
            ..Account::default()
        });
        let index = self.index;
        account.balance = last(&listed.balances, index).unwrap_or(account.balance);
        account.nonce = last(&listed.nonces, index).unwrap_or(account.nonce);
        account.code_hash = last(&listed.codes, index).unwrap_or(account.code_hash);
        // An empty account does not exist (EIP-161).
        let is_empty =
            account.balance.is_zero() && account.nonce == 0 && account.code_hash == KECCAK256_EMPTY;
        Ok((!is_empty).then_some(account))
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        let listed = self.state.accounts.get(&address);
        let changes = listed.and_then(|account| account.slots.get(&slot));
        match changes.and_then(|changes| last(changes, self.index)) {
            Some(value) => Ok(value),
            None => self.state.base.slot(address, slot),
        }
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        match self.state.codes.get(&hash) {
            Some(code) => Ok(Some(Arc::clone(code))),
            None => self.state.base.code(hash),
        }
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        self.state.base.block_hash(number)
    }

    fn has_storage(&self, address: Address) -> Result<bool, StateError> {
        self.state.base.has_storage(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_eips::eip7928::{BalanceChange, BlockAccessIndex, SlotChanges, StorageChange};
    use lockweave_runtime::MemoryState;

    #[test]
    fn a_value_is_that_of_the_last_change_before() {
        let (address, slot) = (Address::repeat_byte(1), U256::from(5));
        let mut base = MemoryState::new();
        let account = Account {
            balance: U256::from(10),
            nonce: 1,
            ..Account::default()
        };
        base.insert_account(address, account);
        base.insert_slot(address, slot, U256::from(7));
        let mut changes = AccountChanges::new(address);
        let index = BlockAccessIndex::new;
        changes.balance_changes = vec![
            BalanceChange::new(index(1), U256::from(20)),
            BalanceChange::new(index(3), U256::from(30)),
        ];
        let stored = vec![StorageChange::new(index(2), U256::ZERO)];
        changes.storage_changes = vec![SlotChanges::new(slot, stored)];
        let state = Arc::new(ListedState::new(Arc::new(base), &[changes]));
        let at = |index| {
            let view = Arc::clone(&state).before(index);
            let balance = view.account(address).unwrap().unwrap().balance;
            (balance, view.slot(address, slot).unwrap())
        };
        let expected = |balance: u64, value: u64| (U256::from(balance), U256::from(value));
        assert_eq!(at(0), expected(10, 7));
        assert_eq!(at(1), expected(10, 7));
        assert_eq!(at(2), expected(20, 7));
        assert_eq!(at(3), expected(20, 0));
        assert_eq!(at(4), expected(30, 0));
    }
}
