//! revm's journal over a guarded state.
//!
//! revm keeps balance, nonce and code of an account in one record and loads them together. Here the code
//! is a key of its own, so that a deposit into a contract does not conflict with every call of it. An
//! account is loaded with its code alone; nonce and balance are read only when they are needed (`observe`).
//!
//! Until then the record's balance is the sum of the transfers *to* the account, from zero. A debit
//! reads the account first, and a revert subtracts what its checkpoint added, so the sum is exact. If the
//! account is never read, the sum becomes a [`Credit`].
//!
//! Where reads conflict with nothing ([`StateAccess::is_lookup_free`]), accounts are loaded with nonce and balance.

use super::{
    database::{JournalDb, Loaded, loaded_index},
    error::DbError,
    write_set::collect,
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, Log, U256};
use lockweave_runtime::{AccessError, Credit, StateAccess, WriteSet};
use revm::{
    context::{
        JournalInner, JournalTr,
        journaled_state::{
            AccountInfoLoad, AccountLoad, JournalCheckpoint, JournalLoadError, TransferError,
            account::JournaledAccount,
        },
    },
    context_interface::context::{SStoreResult, SelfDestructResult, StateLoad},
    inspector::JournalExt,
    primitives::{AddressMap, AddressSet, HashSet, StorageKey, StorageValue, hardfork::SpecId},
    state::{Account, Bytecode, EvmState, TransactionId},
};

type JournalEntry = revm::context::JournalEntry;

/// revm's journal, which reads nonce and balance only when they are needed.
#[derive(Debug)]
pub struct GuardedJournal<S> {
    pub(crate) database: JournalDb<S>,
    inner: JournalInner<JournalEntry>,
    /// A refusal that revm's interface could not report. It makes the transaction void.
    refusal: Option<AccessError>,
    /// The fee, if the transaction did not load the beneficiary.
    fee: Option<Credit>,
    /// Records the accounts and slots that a transaction touches, if set.
    pub(crate) touched: Option<Touched>,
}

/// Accounts and slots that a transaction touches, in reverted calls too.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) accounts: Vec<Address>,
    pub(crate) slots: Vec<(Address, U256)>,
}

type DbLoadError = JournalLoadError<DbError>;

impl<S: StateAccess> GuardedJournal<S> {
    /// Reads nonce and balance of a loaded account.
    fn observe(&mut self, address: Address) -> Result<(), DbError> {
        if self.database.loads_whole {
            return Ok(());
        }
        let account = self.inner.state.get_mut(&address);
        let account = account.expect("an account is loaded before it is observed");
        self.database.observe(address, account)
    }

    fn is_observed(&self, account: &Account) -> bool {
        self.database.loads_whole
            || self.database.loaded[loaded_index(account)]
                .observed
                .is_some()
    }

    /// Loads an account with its code; `observe` says whether to read nonce and balance.
    fn load(
        &mut self,
        address: Address,
        observe: Observe,
        skip_cold_load: bool,
    ) -> Result<StateLoad<&Account>, DbLoadError> {
        let (load, _) = self.load_observed(address, observe, skip_cold_load)?;
        Ok(load)
    }

    /// As [`load`](Self::load), with whether nonce and balance have been read.
    fn load_observed(
        &mut self,
        address: Address,
        observe: Observe,
        skip_cold_load: bool,
    ) -> Result<(StateLoad<&Account>, bool), DbLoadError> {
        if self.database.loads_whole {
            let database = &mut self.database;
            let load = self
                .inner
                .load_account_optional(database, address, true, skip_cold_load)?;
            return Ok((load, true));
        }
        let load = self.inner.load_account_optional(
            &mut self.database,
            address,
            // revm removes the code of a contract under construction, and its callers rely on
            // there being some, if empty.
            true,
            skip_cold_load,
        )?;
        let is_cold = load.is_cold;
        // The returned reference borrows the database, so the account is looked up again.
        let account = self.inner.state.get_mut(&address);
        let account = account.expect("it was just loaded");
        let reads = match observe {
            Observe::Yes => true,
            Observe::No => false,
            // Whether an account without code is empty depends on its nonce and balance.
            Observe::IfCodeless => account.info.code_hash == KECCAK256_EMPTY,
            Observe::IfMaybeEmpty => {
                account.info.code_hash == KECCAK256_EMPTY
                    && !self.database.is_surely_in_use(address)
            }
        };
        if reads {
            self.database.observe(address, account)?;
        }
        let loaded = &self.database.loaded[loaded_index(account)];
        let is_observed = loaded.observed.is_some();
        Ok((StateLoad::new(account, is_cold), is_observed))
    }

    /// Records a refusal that revm's interface cannot report; the transaction's result is dropped at the end.
    fn refuse(&mut self, error: DbError) -> TransferError {
        self.refusal.get_or_insert(error.into());
        TransferError::OutOfFunds
    }

    /// Pays the beneficiary, as a credit if the transaction has not read its balance.
    pub(crate) fn pay_fee(&mut self, beneficiary: Address, amount: U256) -> Result<(), DbError> {
        if let Some(account) = self.inner.state.get(&beneficiary)
            && !self.is_observed(account)
        {
            let sum = account.info.balance.saturating_add(amount);
            if self.database.may_credit(beneficiary, sum) {
                let account = self.inner.state.get_mut(&beneficiary);
                let account = account.expect("it was just found");
                account.info.balance = sum;
                account.mark_touch();
                return Ok(());
            }
        } else if !self.inner.state.contains_key(&beneficiary)
            && self.database.may_credit(beneficiary, amount)
        {
            self.fee = Some(Credit {
                address: beneficiary,
                amount,
            });
            return Ok(());
        }
        self.balance_incr(beneficiary, amount)
    }

    /// Takes the transaction's effects, and leaves the journal ready for the next one.
    pub(crate) fn take_effects(&mut self, writes: &mut WriteSet) -> Result<(), AccessError> {
        writes.clear();
        let refusal = self.refusal.take();
        let spec = self.inner.cfg.spec;
        writes.credits.extend(self.fee.take());
        for (address, account) in self.inner.state.drain() {
            let loaded = match account.info.account_id {
                Some(id) => &self.database.loaded[id.get()],
                None => &Loaded {
                    address,
                    ..Loaded::NOTHING
                },
            };
            debug_assert_eq!(loaded.address, address);
            if let Some(touched) = &mut self.touched {
                touched.accounts.push(address);
                let slots = account.storage.keys();
                touched.slots.extend(slots.map(|slot| (address, *slot)));
            }
            collect(writes, spec, address, &account, loaded);
        }
        self.reset();
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        if let Some(limits) = &self.database.limits {
            // Effects are in hash-map order; the reported key must not depend on it.
            let refused = writes.effects();
            let refused = refused.filter_map(|(key, needed)| limits.check(&key, needed).err());
            if let Some(refusal) = refused.min_by_key(|refusal| refusal.key) {
                return Err(refusal.into());
            }
        }
        Ok(())
    }

    /// Clears the journal after a transaction, in any state; keeps its memory.
    pub(crate) fn reset(&mut self) {
        self.database.loaded.clear();
        self.refusal = None;
        self.fee = None;
        let inner = &mut self.inner;
        inner.state.clear();
        inner.transient_storage.clear();
        inner.logs.clear();
        inner.journal.clear();
        inner.selfdestructed_addresses.clear();
        inner.depth = 0;
        inner.transaction_id = TransactionId::ZERO;
        inner.warm_addresses.clear_coinbase_and_access_list();
    }

    pub(crate) const fn has_refusal(&self) -> bool {
        self.refusal.is_some()
    }
}

/// When to read nonce and balance.
#[derive(Clone, Copy, Debug)]
enum Observe {
    Yes,
    No,
    IfCodeless,
    /// If the account may be empty.
    IfMaybeEmpty,
}

impl<S: StateAccess> JournalExt for GuardedJournal<S> {
    fn journal(&self) -> &[JournalEntry] {
        &self.inner.journal
    }
}

impl<S: StateAccess> JournalTr for GuardedJournal<S> {
    type Database = JournalDb<S>;
    type State = EvmState;
    type JournaledAccount<'a>
        = JournaledAccount<'a, JournalDb<S>, JournalEntry>
    where
        S: 'a;

    fn new(database: JournalDb<S>) -> Self {
        Self {
            database,
            inner: JournalInner::new(),
            refusal: None,
            fee: None,
            touched: None,
        }
    }

    fn db_and_state(&self) -> (&Self::Database, &Self::State) {
        (&self.database, &self.inner.state)
    }

    fn db_and_state_mut(&mut self) -> (&mut Self::Database, &mut Self::State) {
        (&mut self.database, &mut self.inner.state)
    }

    #[inline]
    fn sload_skip_cold_load(
        &mut self,
        address: Address,
        key: StorageKey,
        skip_cold_load: bool,
    ) -> Result<StateLoad<StorageValue>, DbLoadError> {
        self.inner
            .sload_assume_account_present(&mut self.database, address, key, skip_cold_load)
    }

    #[inline]
    fn sstore_skip_cold_load(
        &mut self,
        address: Address,
        key: StorageKey,
        value: StorageValue,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SStoreResult>, DbLoadError> {
        self.inner.sstore_assume_account_present(
            &mut self.database,
            address,
            key,
            value,
            skip_cold_load,
        )
    }

    fn tload(&mut self, address: Address, key: StorageKey) -> StorageValue {
        self.inner.tload(address, key)
    }

    fn tstore(&mut self, address: Address, key: StorageKey, value: StorageValue) {
        self.inner.tstore(address, key, value);
    }

    fn log(&mut self, log: Log) {
        self.inner.log(log);
    }

    fn take_logs(&mut self) -> Vec<Log> {
        self.inner.take_logs()
    }

    fn logs(&self) -> &[Log] {
        &self.inner.logs
    }

    fn selfdestruct(
        &mut self,
        address: Address,
        target: Address,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SelfDestructResult>, DbLoadError> {
        if self.database.loads_whole {
            let database = &mut self.database;
            return self
                .inner
                .selfdestruct(database, address, target, skip_cold_load);
        }
        // The balance moves, and the gas depends on whether the target is empty: read both. Loading
        // the target warms it, so its coldness is taken from here.
        let is_cold = self.load(target, Observe::Yes, skip_cold_load)?.is_cold;
        self.observe(address)?;
        let mut result = self
            .inner
            .selfdestruct(&mut self.database, address, target, false)?;
        result.is_cold = is_cold;
        Ok(result)
    }

    fn warm_access_list(&mut self, access_list: AddressMap<HashSet<StorageKey>>) {
        self.inner.warm_addresses.set_access_list(access_list);
    }

    fn warm_coinbase_account(&mut self, address: Address) {
        self.inner.warm_addresses.set_coinbase(address);
    }

    fn warm_precompiles(&mut self, addresses: &AddressSet) {
        self.inner
            .warm_addresses
            .set_precompile_addresses(addresses);
    }

    fn precompile_addresses(&self) -> &AddressSet {
        self.inner.warm_addresses.precompiles()
    }

    fn set_spec_id(&mut self, spec_id: SpecId) {
        self.inner.set_spec_id(spec_id);
    }

    fn set_eip7708_config(&mut self, disabled: bool, eip8246_delayed_clear_disabled: bool) {
        self.inner
            .set_eip7708_config(disabled, eip8246_delayed_clear_disabled);
    }

    fn touch_account(&mut self, address: Address) {
        self.inner.touch(address);
    }

    fn transfer(
        &mut self,
        from: Address,
        to: Address,
        balance: U256,
    ) -> Result<Option<TransferError>, DbError> {
        for address in [from, to] {
            self.load(address, Observe::No, false)
                .map_err(JournalLoadError::unwrap_db_error)?;
        }
        Ok(self.transfer_loaded(from, to, balance))
    }

    fn transfer_loaded(
        &mut self,
        from: Address,
        to: Address,
        balance: U256,
    ) -> Option<TransferError> {
        if !balance.is_zero() && !self.database.loads_whole {
            if let Err(error) = self.observe(from) {
                return Some(self.refuse(error));
            }
            let target = self.inner.state.get(&to)?;
            if !self.is_observed(target) {
                let sum = target.info.balance.saturating_add(balance);
                if !self.database.may_credit(to, sum)
                    && let Err(error) = self.observe(to)
                {
                    return Some(self.refuse(error));
                }
            }
        }
        self.inner.transfer_loaded(from, to, balance)
    }

    fn caller_accounting_journal_entry(
        &mut self,
        address: Address,
        old_balance: U256,
        bump_nonce: bool,
    ) {
        #[expect(deprecated, reason = "the trait still has it")]
        self.inner
            .caller_accounting_journal_entry(address, old_balance, bump_nonce);
    }

    fn balance_incr(&mut self, address: Address, balance: U256) -> Result<(), DbError> {
        self.load(address, Observe::Yes, false)
            .map_err(JournalLoadError::unwrap_db_error)?;
        self.inner
            .balance_incr(&mut self.database, address, balance)
    }

    fn nonce_bump_journal_entry(&mut self, address: Address) {
        #[expect(deprecated, reason = "the trait still has it")]
        self.inner.nonce_bump_journal_entry(address);
    }

    fn load_account(&mut self, address: Address) -> Result<StateLoad<&Account>, DbError> {
        self.load(address, Observe::Yes, false)
            .map_err(JournalLoadError::unwrap_db_error)
    }

    /// revm loads the recipient of a transaction with this: for its code, and from Amsterdam on to
    /// see whether it is empty (EIP-2780).
    fn load_account_with_code(&mut self, address: Address) -> Result<StateLoad<&Account>, DbError> {
        let observe = if self.inner.cfg.spec.is_enabled_in(SpecId::AMSTERDAM) {
            Observe::IfCodeless
        } else {
            Observe::No
        };
        self.load(address, observe, false)
            .map_err(JournalLoadError::unwrap_db_error)
    }

    fn load_account_delegated(
        &mut self,
        address: Address,
    ) -> Result<StateLoad<AccountLoad>, DbError> {
        self.load(address, Observe::IfCodeless, false)
            .map_err(JournalLoadError::unwrap_db_error)?;
        self.inner
            .load_account_delegated(&mut self.database, address)
    }

    fn load_account_mut_skip_cold_load(
        &mut self,
        address: Address,
        skip_cold_load: bool,
    ) -> Result<StateLoad<Self::JournaledAccount<'_>>, DbLoadError> {
        if self.database.loads_whole {
            let database = &mut self.database;
            return self
                .inner
                .load_account_mut_optional(database, address, skip_cold_load);
        }
        let is_cold = self.load(address, Observe::Yes, skip_cold_load)?.is_cold;
        let mut load = self
            .inner
            .load_account_mut_optional(&mut self.database, address, false)?;
        load.is_cold = is_cold;
        Ok(load)
    }

    fn load_account_mut_optional_code(
        &mut self,
        address: Address,
        _load_code: bool,
    ) -> Result<StateLoad<Self::JournaledAccount<'_>>, DbError> {
        // Accounts come with their code.
        self.load_account_mut_skip_cold_load(address, false)
            .map_err(JournalLoadError::unwrap_db_error)
    }

    fn set_code_with_hash(&mut self, address: Address, code: Bytecode, hash: B256) {
        self.inner.set_code_with_hash(address, code, hash);
    }

    fn checkpoint(&mut self) -> JournalCheckpoint {
        self.inner.checkpoint()
    }

    fn checkpoint_commit(&mut self) {
        self.inner.checkpoint_commit();
    }

    fn checkpoint_revert(&mut self, checkpoint: JournalCheckpoint) {
        self.inner.checkpoint_revert(checkpoint);
    }

    fn create_account_checkpoint(
        &mut self,
        caller: Address,
        address: Address,
        balance: U256,
        spec_id: SpecId,
    ) -> Result<JournalCheckpoint, TransferError> {
        for account in [caller, address] {
            if let Err(error) = self.observe(account) {
                return Err(self.refuse(error));
            }
        }
        // EIP-7610: an account with storage cannot be created over, whatever its nonce and code.
        match self.database.has_storage(address) {
            Ok(false) => {}
            Ok(true) => return Err(TransferError::CreateCollision),
            Err(error) => return Err(self.refuse(error.into())),
        }
        self.inner
            .create_account_checkpoint(caller, address, balance, spec_id)
    }

    fn depth(&self) -> usize {
        self.inner.depth
    }

    fn commit_tx(&mut self) {
        // `take_effects` drains the state; this clears what belongs to the transaction alone.
        self.inner.commit_tx();
    }

    fn discard_tx(&mut self) {
        self.inner.discard_tx();
    }

    fn finalize(&mut self) -> EvmState {
        self.inner.finalize()
    }

    fn load_account_info_skip_cold_load(
        &mut self,
        address: Address,
        load_code: bool,
        skip_cold_load: bool,
    ) -> Result<AccountInfoLoad<'_>, DbLoadError> {
        // Without code, the caller wants balance or nonce; with it, the code, or to call it.
        let observe = if load_code {
            Observe::IfMaybeEmpty
        } else {
            Observe::Yes
        };
        let spec = self.inner.cfg.spec;
        let (load, is_observed) = self.load_observed(address, observe, skip_cold_load)?;
        // Only non-empty accounts stay unobserved.
        let is_empty = is_observed && load.data.state_clear_aware_is_empty(spec);
        Ok(AccountInfoLoad::new(
            &load.data.info,
            load.is_cold,
            is_empty,
        ))
    }

    fn code(&mut self, address: Address) -> Result<StateLoad<Bytes>, DbError> {
        let load = self
            .load(address, Observe::No, false)
            .map_err(JournalLoadError::unwrap_db_error)?;
        let code = load.data.info.code.as_ref();
        let bytes = code.map(Bytecode::original_bytes).unwrap_or_default();
        Ok(StateLoad::new(bytes, load.is_cold))
    }
}
