//! A guarded state as revm's database.

use super::{code_cache::CodeCache, error::DbError, limits::Limits};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use lockweave_runtime::{AccessError, AccessMode, AccountValue, StateAccess, StateKey};
use revm::{
    database_interface::Database,
    primitives::{StorageKey, StorageValue},
    state::{Account, AccountId, AccountInfo, AccountStatus, Bytecode},
};

/// An account that the transaction has loaded.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) address: Address,
    /// Nonce and balance before the transaction, once they have been read.
    pub(super) observed: Option<AccountValue>,
    pub(super) code_hash: B256,
}

impl Loaded {
    /// A fully loaded account that does not exist.
    pub(super) const NOTHING: Self = Self {
        address: Address::ZERO,
        observed: Some(AccountValue {
            balance: U256::ZERO,
            nonce: 0,
            exists: false,
        }),
        code_hash: KECCAK256_EMPTY,
    };
}

/// A guarded state as revm's database.
#[derive(Debug, Default)]
pub struct JournalDb<S> {
    pub(crate) state: S,
    /// Accounts loaded by the transaction; revm keeps the index as the account's id.
    pub(super) loaded: Vec<Loaded>,
    codes: CodeCache,
    /// Whether this transaction loads nonce and balance together with the code.
    pub(super) loads_whole: bool,
    /// The signed declaration, if there is one.
    pub(super) limits: Option<Limits>,
}

impl<S: StateAccess> JournalDb<S> {
    /// Starts a transaction on the current state, within these limits if there are any.
    pub(crate) fn limit(&mut self, limits: Option<Limits>) {
        self.loads_whole = limits.is_none() && self.state.is_lookup_free();
        self.limits = limits;
    }

    #[inline]
    fn allow(&self, key: impl FnOnce() -> StateKey, needed: AccessMode) -> Result<(), AccessError> {
        match &self.limits {
            None => Ok(()),
            Some(limits) => Ok(limits.check(&key(), needed)?),
        }
    }

    fn account(&mut self, address: Address) -> Result<AccountValue, AccessError> {
        self.allow(|| StateKey::account(address), AccessMode::Read)?;
        self.state.account(address)
    }

    pub(super) fn may_credit(&mut self, address: Address, amount: U256) -> bool {
        let allowed = self.allow(|| StateKey::account(address), AccessMode::Credit);
        allowed.is_ok() && self.state.may_credit(address, amount)
    }

    /// Reads nonce and balance of an account that revm's journal has loaded.
    pub(super) fn observe(
        &mut self,
        address: Address,
        account: &mut Account,
    ) -> Result<(), DbError> {
        let loaded = loaded_index(account);
        if self.loaded[loaded].observed.is_some() {
            return Ok(());
        }
        let value = self.account(address)?;
        self.loaded[loaded].observed = Some(value);
        // The record's balance is the sum of the transfers to it so far.
        account.info.balance = account.info.balance.saturating_add(value.balance);
        account.info.nonce += value.nonce;
        if !value.exists && account.info.code_hash == KECCAK256_EMPTY {
            account.status |= AccountStatus::LoadedAsNotExisting;
        }
        Ok(())
    }

    /// Whether an account without code is known not to be empty, without reading nonce and balance.
    ///
    /// An account that had a nonce and no code before the block keeps its nonce. Only destruction would clear it, but no
    /// contract can be created over a nonce (EIP-684), and delegated code cannot destroy its account (EIP-6780). A
    /// payment to such an account stays a credit, and does not wait for other transactions.
    pub(super) fn is_surely_in_use(&mut self, address: Address) -> bool {
        self.state.was_in_use(address)
    }

    pub(super) fn has_storage(&mut self, address: Address) -> Result<bool, AccessError> {
        self.allow(|| StateKey::code(address), AccessMode::Read)?;
        self.state.has_storage(address)
    }
}

impl<S: StateAccess> Database for JournalDb<S> {
    type Error = DbError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, DbError> {
        self.allow(|| StateKey::code(address), AccessMode::Read)?;
        let observed = if self.loads_whole {
            Some(self.state.account(address)?)
        } else {
            None
        };
        let code = self.state.code(address)?;
        let code_hash = code.hash();
        if observed.is_some_and(|value| !value.exists) && code_hash == KECCAK256_EMPTY {
            return Ok(None);
        }
        let account_id = AccountId::new(self.loaded.len());
        let bytecode = self.codes.get(code);
        self.loaded.push(Loaded {
            address,
            observed,
            code_hash,
        });
        let AccountValue { balance, nonce, .. } = observed.unwrap_or_default();
        Ok(Some(AccountInfo {
            balance,
            nonce,
            code_hash,
            account_id,
            code: Some(bytecode),
        }))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, DbError> {
        // Accounts are loaded with their code, so revm only asks for empty code.
        debug_assert_eq!(hash, KECCAK256_EMPTY);
        Ok(Bytecode::default())
    }

    fn storage(&mut self, address: Address, slot: StorageKey) -> Result<StorageValue, DbError> {
        self.allow(|| StateKey::slot(address, slot), AccessMode::Read)?;
        Ok(self.state.slot(address, slot)?)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, DbError> {
        Ok(self.state.block_hash(number)?)
    }
}

pub(super) fn loaded_index(account: &Account) -> usize {
    account
        .info
        .account_id
        .expect("every account is loaded through the journal's database")
        .get()
}
