//! revm's journal over a guarded state.
//!
//! revm keeps what it knows of an account (balance, nonce, code) in one record and loads it whole.
//! Here code is a key of its own, apart from nonce and balance, so that a deposit into a contract
//! does not stop every call of it. So an account is loaded with its code alone, and its nonce and
//! balance are asked of the state only when somebody looks at them (`observe`).
//!
//! Until then the record's balance counts from zero what was transferred *to* the account. A debit
//! looks first; a revert takes back just what its checkpoint had added; so the count is exact, and if
//! nobody ever looked it leaves as a [`Credit`].
//!
//! Where a look costs nobody anything ([`StateAccess::is_lookup_free`]) all this is left out, and accounts are loaded whole.

use super::code_cache::CodeCache;
use crate::executor::DbError;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, Log, U256};
use lockweave_runtime::{
    AccessError, AccessMode, AccessSet, AccessSetError, AccountValue, Code, CodeRef, Credit,
    StateAccess, StateKey, UndeclaredAccess, WriteSet,
};
use revm::{
    context::{
        JournalInner, JournalTr,
        journaled_state::{
            AccountInfoLoad, AccountLoad, JournalCheckpoint, JournalLoadError, TransferError,
            account::JournaledAccount,
        },
    },
    context_interface::context::{SStoreResult, SelfDestructResult, StateLoad},
    database_interface::Database,
    primitives::{AddressMap, AddressSet, HashSet, StorageKey, StorageValue, hardfork::SpecId},
    state::{Account, AccountId, AccountInfo, AccountStatus, Bytecode, EvmState, TransactionId},
};
use std::sync::Arc;

type JournalEntry = revm::context::JournalEntry;

/// What is known of an account the transaction loaded.
#[derive(Debug)]
struct Loaded {
    address: Address,
    /// Nonce and balance before the transaction, once somebody looked.
    observed: Option<AccountValue>,
    code_hash: B256,
}

impl Loaded {
    /// Of an account that was loaded whole and is not there.
    const NOTHING: Self = Self {
        address: Address::ZERO,
        observed: Some(AccountValue {
            balance: U256::ZERO,
            nonce: 0,
            exists: false,
        }),
        code_hash: KECCAK256_EMPTY,
    };
}

/// A guarded state in the shape in which revm asks for one.
#[derive(Debug, Default)]
pub(crate) struct JournalDb<S> {
    pub(crate) state: S,
    /// Accounts loaded by the transaction; revm carries the position along as the account's id.
    loaded: Vec<Loaded>,
    codes: CodeCache,
    /// Whether accounts are loaded whole, all through a transaction.
    loads_whole: bool,
    /// What the transaction may touch at all, if it signed that.
    limits: Option<Limits>,
}

/// The declaration a transaction signed, and whom the block pays.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) declared: Arc<Result<AccessSet, AccessSetError>>,
    pub(crate) beneficiary: Address,
}

impl Limits {
    /// Whether the declaration allows an access. The fee needs no entry.
    pub(crate) fn check(&self, key: &StateKey, needed: AccessMode) -> Result<(), UndeclaredAccess> {
        let held = match &*self.declared {
            Ok(set) => set.mode(key),
            Err(_) => None,
        };
        let is_fee = needed == AccessMode::Credit && *key == StateKey::account(self.beneficiary);
        if is_fee || held.is_some_and(|held| held.allows(needed)) {
            return Ok(());
        }
        Err(UndeclaredAccess {
            transaction: None,
            key: *key,
            needed,
            held,
        })
    }
}

impl<S: StateAccess> JournalDb<S> {
    /// From now on only what is within the limits may be touched, if there are any, on the state that is here now.
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

    fn may_credit(&mut self, address: Address, amount: U256) -> bool {
        let allowed = self.allow(|| StateKey::account(address), AccessMode::Credit);
        allowed.is_ok() && self.state.may_credit(address, amount)
    }

    /// Looks at the nonce and balance of an account that revm's journal has loaded.
    fn observe(&mut self, address: Address, account: &mut Account) -> Result<(), DbError> {
        let loaded = loaded_index(account);
        if self.loaded[loaded].observed.is_some() {
            return Ok(());
        }
        let value = self.account(address)?;
        self.loaded[loaded].observed = Some(value);
        // What was transferred to it so far stands in the record's balance.
        account.info.balance = account.info.balance.saturating_add(value.balance);
        account.info.nonce += value.nonce;
        if !value.exists && account.info.code_hash == KECCAK256_EMPTY {
            account.status |= AccountStatus::LoadedAsNotExisting;
        }
        Ok(())
    }

    /// Whether an account without code is not empty, whatever it holds.
    ///
    /// One that had a nonce and no code before the block has that nonce still: it would lose it if it were
    /// destroyed, but no contract can be made where a nonce is (EIP-684), and code that an account delegates to
    /// does not destroy it (EIP-6780). So a payment to it needs no look, which would have to wait for all others.
    fn is_surely_in_use(&mut self, address: Address) -> bool {
        self.state.was_in_use(address)
    }

    fn has_storage(&mut self, address: Address) -> Result<bool, AccessError> {
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
        // Accounts are loaded with their code, so only the code of none is ever asked for.
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

/// revm's journal, with nonce and balance looked at only on purpose.
#[derive(Debug)]
pub(crate) struct GuardedJournal<S> {
    pub(crate) database: JournalDb<S>,
    inner: JournalInner<JournalEntry>,
    /// A refusal in a place where revm has no way to report one. The transaction is void.
    refusal: Option<AccessError>,
    /// The fee of a beneficiary that the transaction did not load.
    fee: Option<Credit>,
    /// Where to note what a transaction touches, if that is wanted.
    pub(crate) touched: Option<Touched>,
}

/// Accounts and slots that a transaction touched, reverted calls included.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) accounts: Vec<Address>,
    pub(crate) slots: Vec<(Address, U256)>,
}

type DbLoadError = JournalLoadError<DbError>;

impl<S: StateAccess> GuardedJournal<S> {
    /// Looks at the nonce and balance of a loaded account.
    fn observe(&mut self, address: Address) -> Result<(), DbError> {
        if self.database.loads_whole {
            return Ok(());
        }
        let account = self.inner.state.get_mut(&address);
        let account = account.expect("an account is loaded before it is looked at");
        self.database.observe(address, account)
    }

    fn is_observed(&self, account: &Account) -> bool {
        self.database.loads_whole
            || self.database.loaded[loaded_index(account)]
                .observed
                .is_some()
    }

    /// Loads an account with its code; `observe` says whether its nonce and balance are wanted.
    fn load(
        &mut self,
        address: Address,
        observe: Observe,
        skip_cold_load: bool,
    ) -> Result<StateLoad<&Account>, DbLoadError> {
        let (load, _) = self.load_noting(address, observe, skip_cold_load)?;
        Ok(load)
    }

    /// The same, and whether somebody looked at its nonce and balance, now or before.
    fn load_noting(
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
            // A contract under construction has lost its code (revm takes it away with the
            // creation), and whoever asks for code relies on there being some, if empty.
            true,
            skip_cold_load,
        )?;
        let is_cold = load.is_cold;
        // The loaded account keeps the database to itself, so it has to be found once more.
        let account = self.inner.state.get_mut(&address);
        let account = account.expect("it was just loaded");
        let look = match observe {
            Observe::Yes => true,
            Observe::No => false,
            // Whether an account without code is empty depends on its nonce and balance.
            Observe::IfCodeless => account.info.code_hash == KECCAK256_EMPTY,
            Observe::IfMaybeEmpty => {
                account.info.code_hash == KECCAK256_EMPTY
                    && !self.database.is_surely_in_use(address)
            }
        };
        if look {
            self.database.observe(address, account)?;
        }
        let loaded = &self.database.loaded[loaded_index(account)];
        let is_observed = loaded.observed.is_some();
        Ok((StateLoad::new(account, is_cold), is_observed))
    }

    /// Notes a refusal that revm cannot be told of here; the result is thrown away at the end.
    fn refuse(&mut self, error: DbError) -> TransferError {
        self.refusal.get_or_insert(error.into());
        TransferError::OutOfFunds
    }

    /// Pays the beneficiary, without looking at its balance if nobody else did.
    pub(crate) fn pay_fee(&mut self, beneficiary: Address, amount: U256) -> Result<(), DbError> {
        if let Some(account) = self.inner.state.get(&beneficiary)
            && !self.is_observed(account)
        {
            let sum = account.info.balance.saturating_add(amount);
            if self.database.may_credit(beneficiary, sum) {
                let account = self.inner.state.get_mut(&beneficiary);
                let account = account.expect("it was there a line ago");
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
            // The effects are in the order of a hash map; what is reported must not depend on that.
            let refused = writes.effects();
            let refused = refused.filter_map(|(key, needed)| limits.check(&key, needed).err());
            if let Some(refusal) = refused.min_by_key(|refusal| refusal.key) {
                return Err(refusal.into());
            }
        }
        Ok(())
    }

    /// Forgets the transaction, whatever state it left the journal in; keeps the memory.
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

/// When to look at nonce and balance.
#[derive(Clone, Copy, Debug)]
enum Observe {
    Yes,
    No,
    IfCodeless,
    /// If it may be empty.
    IfMaybeEmpty,
}

fn loaded_index(account: &Account) -> usize {
    account
        .info
        .account_id
        .expect("every account is loaded through the journal's database")
        .get()
}

/// Adds what happened to one account to the transaction's effects.
fn collect(
    writes: &mut WriteSet,
    spec: SpecId,
    address: Address,
    account: &Account,
    loaded: &Loaded,
) {
    if !account.is_touched() && !account.is_selfdestructed() && !account.is_created() {
        return;
    }
    let Some(before) = loaded.observed else {
        // Nobody looked, so nobody took from it either.
        let amount = account.info.balance;
        if !amount.is_zero() || loaded.code_hash == KECCAK256_EMPTY {
            writes.credits.push(Credit { address, amount });
        }
        collect_slots(writes, address, account);
        return;
    };
    if account.is_selfdestructed() {
        let gone = AccountValue::default();
        if before != gone {
            writes.accounts.push((address, gone));
        }
        if loaded.code_hash != KECCAK256_EMPTY {
            writes.codes.push((address, CodeRef::EMPTY));
        }
        writes.wipes.push(address);
        return;
    }
    // EIP-161 removes what was touched and is empty; before it, a touch was enough to exist.
    let clear_empty = spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
    let after = AccountValue {
        balance: account.info.balance,
        nonce: account.info.nonce,
        exists: !(clear_empty && account.info.is_empty()),
    };
    if after != before {
        writes.accounts.push((address, after));
    }
    if account.info.code_hash != loaded.code_hash {
        let code = account.info.code.as_ref().map(|code| {
            let bytes = code.original_bytes();
            CodeRef::new(Arc::new(Code::with_hash(account.info.code_hash, bytes)))
        });
        writes.codes.push((address, code.unwrap_or_default()));
    }
    if account.is_created() {
        writes.wipes.push(address);
    }
    collect_slots(writes, address, account);
}

fn collect_slots(writes: &mut WriteSet, address: Address, account: &Account) {
    let slots = account.changed_storage_slots();
    writes
        .slots
        .extend(slots.map(|(slot, value)| (address, *slot, value.present_value)));
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
        // The balance moves, and whether the target is empty decides the gas: look at both. Loading
        // the target warms it, so whether it was cold is remembered from here.
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
        // The state is drained by `take_effects`; what belongs to the transaction alone goes here.
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
        // Without code it is a look at the balance or the nonce; with it, a call or a look at code.
        let observe = if load_code {
            Observe::IfMaybeEmpty
        } else {
            Observe::Yes
        };
        let spec = self.inner.cfg.spec;
        let (load, is_observed) = self.load_noting(address, observe, skip_cold_load)?;
        // Nobody looks only at what is not empty.
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
