//! The cells of an open block: every declared key's current value, over the state before the block.

use super::open_block::SealedBlock;
use crate::{
    account_history::FollowedChanges,
    cells::Cells,
    keys::{Interner, KeyTable, LockedShard, RecentKeys, SHARDS},
    model::{
        Account, AccountValue, AddressKey, Changes, CodeRef, DeltaContext, DeltaPart, DenseId,
        KeyId, KeyPart, Outcome, StateDelta, StateError, StateKey, StateView, TaskId,
    },
    payments::PaymentsMemory,
    sequential::{PART_MIN, SequentialState},
    speculation::Draft,
};
use alloy_primitives::{Address, U256};
use parking_lot::Mutex;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Balance increases that came since the value was last written.
///
/// Four limbs of an ordinary sum, each an atomic: credits commute, so a sum that every carry
/// reaches is exact as soon as nobody adds any more, which is what a read grant means. Overflow of
/// the whole is ruled out by [`StateAccess::may_credit`](crate::StateAccess::may_credit).
#[derive(Debug, Default)]
pub(crate) struct Credits {
    limbs: [AtomicU64; 4],
    /// Credits of nothing: they leave no sum, but they touch the account.
    touches: AtomicU64,
}

impl Credits {
    /// Adds an amount. Takes part in a sum, so it needs no order among other additions.
    pub(crate) fn add(&self, amount: U256) {
        if amount.is_zero() {
            self.touch(1);
            return;
        }
        let mut carry = 0_u64;
        for (limb, part) in self.limbs.iter().zip(amount.as_limbs()) {
            // Two additions, because limb and carry together may exceed 64 bits.
            carry = [*part, carry]
                .into_iter()
                .filter(|part| *part != 0)
                .map(|part| limb.fetch_add(part, Ordering::Relaxed).checked_add(part))
                .filter(Option::is_none)
                .count() as u64;
        }
    }

    /// Adds nothing so many times.
    pub(crate) fn touch(&self, times: u64) {
        if times > 0 {
            self.touches.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// Adds an amount while nobody else does.
    pub(crate) fn add_alone(&mut self, amount: U256) {
        if amount.is_zero() {
            *self.touches.get_mut() += 1;
        } else {
            let sum = self.sum() + amount;
            self.set_sum(sum);
        }
    }

    fn set_sum(&mut self, sum: U256) {
        for (limb, value) in self.limbs.iter_mut().zip(sum.as_limbs()) {
            *limb.get_mut() = *value;
        }
    }

    /// Takes back an amount that was added.
    pub(crate) fn subtract(&mut self, amount: U256) {
        if amount.is_zero() {
            *self.touches.get_mut() -= 1;
            return;
        }
        let sum = self.sum().checked_sub(amount);
        let sum = sum.expect("only what was credited is taken back");
        self.set_sum(sum);
    }

    pub(crate) fn sum(&self) -> U256 {
        U256::from_limbs(std::array::from_fn(|position| {
            self.limbs[position].load(Ordering::Relaxed)
        }))
    }

    /// Whether anything was credited, even nothing.
    pub(crate) fn is_touched(&self) -> bool {
        // Word by word: sixteen bytes at once of what was written in words would have to wait until it has reached
        // the cache, behind all that was written before.
        let words = self.limbs.iter().chain([&self.touches]);
        words.fold(0, |all, word| all | word.load(Ordering::Relaxed)) != 0
    }
}

/// Nonce and balance inside the block.
#[derive(Debug)]
pub(crate) struct AccountCell {
    /// As last written; stable while credits are granted.
    pub(crate) value: AccountValue,
    /// What came since.
    pub(crate) credits: Credits,
}

impl From<Option<&Account>> for AccountCell {
    fn from(before: Option<&Account>) -> Self {
        Self {
            value: AccountValue::from(before),
            credits: Credits::default(),
        }
    }
}

impl AccountCell {
    /// The value as last written plus the credits since.
    #[inline]
    pub(crate) fn current(&self, rules: StateRules) -> AccountValue {
        let mut value = self.value;
        if self.credits.is_touched() {
            let credited = self.credits.sum();
            value.balance += credited;
            value.exists |= !credited.is_zero() || !rules.clear_empty_accounts;
        }
        value
    }

    /// Whether anything was credited since the value was last written, even nothing.
    pub(crate) fn is_credited(&self) -> bool {
        self.credits.is_touched()
    }

    /// Replaces the value, credits included, and returns what was there.
    pub(crate) fn replace(&mut self, value: AccountValue) -> (AccountValue, Credits) {
        (
            std::mem::replace(&mut self.value, value),
            std::mem::take(&mut self.credits),
        )
    }
}

/// Code inside the block, and how often the account's storage was wiped.
#[derive(Debug)]
pub(crate) struct CodeCell {
    pub(crate) code: CodeRef,
    /// Storage wipes of this account in this block. A slot of an earlier incarnation is zero.
    pub(crate) incarnation: u32,
}

/// A storage slot inside the block.
#[derive(Debug)]
pub(crate) struct SlotCell {
    pub(crate) value: U256,
    /// The account's incarnation when the value was written.
    pub(crate) incarnation: u32,
}

impl SlotCell {
    /// The value, given how often the account's storage was wiped so far.
    pub(crate) const fn current(&self, incarnation: u32) -> U256 {
        if self.incarnation == incarnation {
            self.value
        } else {
            U256::ZERO
        }
    }
}

/// The current value of one key.
#[derive(Debug)]
pub(crate) enum StateCell {
    Account(AccountCell),
    Code(CodeCell),
    Slot(SlotCell),
}

/// The value of one key before the block.
#[derive(Debug)]
pub(crate) enum Origin {
    Account(Option<Account>),
    Code(CodeRef),
    Slot(U256),
}

impl Origin {
    /// The value of a key in this state.
    pub(crate) fn load(
        view: &dyn StateView,
        key: &StateKey,
        accounts: &mut LastAccount,
    ) -> Result<Self, StateError> {
        Ok(match key.part {
            KeyPart::Account => Self::Account(accounts.get(view, key.address)?),
            KeyPart::Code => {
                let account = accounts.get(view, key.address)?;
                Self::Code(CodeRef::load(view, key.address, account.as_ref())?)
            }
            KeyPart::Slot(slot) => Self::Slot(view.slot(key.address, slot)?),
        })
    }

    /// The cell as it is before anything happens to it.
    pub(crate) fn cell(&self) -> StateCell {
        match self {
            Self::Account(before) => StateCell::Account(before.as_ref().into()),
            Self::Code(code) => StateCell::Code(CodeCell {
                code: code.clone(),
                incarnation: 0,
            }),
            Self::Slot(value) => StateCell::Slot(SlotCell {
                value: *value,
                incarnation: 0,
            }),
        }
    }

    pub(crate) fn account(&self) -> Option<&Account> {
        match self {
            Self::Account(account) => account.as_ref(),
            _ => unreachable!("the cell's kind is its key's"),
        }
    }

    pub(crate) fn code(&self) -> &CodeRef {
        match self {
            Self::Code(code) => code,
            _ => unreachable!("the cell's kind is its key's"),
        }
    }

    pub(crate) fn slot(&self) -> U256 {
        match self {
            Self::Slot(value) => *value,
            _ => unreachable!("the cell's kind is its key's"),
        }
    }

    /// Whether the block has left this value as it was, so that a look at `cell` shows what a look
    /// before the block did.
    ///
    /// A slot of a wiped account is covered by the account's code, which its reader holds too.
    pub(crate) fn is_current(&self, cell: &StateCell) -> bool {
        match (self, cell) {
            (Self::Account(before), StateCell::Account(cell)) => {
                cell.value == AccountValue::from(before.as_ref()) && !cell.credits.is_touched()
            }
            (Self::Code(before), StateCell::Code(cell)) => {
                cell.incarnation == 0 && cell.code == *before
            }
            (Self::Slot(before), StateCell::Slot(cell)) => cell.value == *before,
            _ => unreachable!("the cell's kind is its key's"),
        }
    }
}

macro_rules! cell_kind {
    ($kind:ident, $cell:ty, $get:ident, $get_mut:ident) => {
        pub(crate) fn $get(&self) -> &$cell {
            match self {
                Self::$kind(cell) => cell,
                _ => unreachable!("the cell's kind is its key's"),
            }
        }

        pub(crate) fn $get_mut(&mut self) -> &mut $cell {
            match self {
                Self::$kind(cell) => cell,
                _ => unreachable!("the cell's kind is its key's"),
            }
        }
    };
}

impl StateCell {
    cell_kind!(Account, AccountCell, account, account_mut);
    cell_kind!(Code, CodeCell, code, code_mut);
    cell_kind!(Slot, SlotCell, slot, slot_mut);
}

/// The account read last.
#[derive(Default)]
pub(crate) struct LastAccount(Option<(Address, Option<Account>)>);

impl LastAccount {
    fn get(
        &mut self,
        view: &dyn StateView,
        address: Address,
    ) -> Result<Option<Account>, StateError> {
        match self.0 {
            Some((known, account)) if known == address => Ok(account),
            _ => {
                let account = view.account(address)?;
                self.0 = Some((address, account));
                Ok(account)
            }
        }
    }
}

/// What a block's fork says about state as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRules {
    /// EIP-161: an account that was touched and is empty is removed. Before it, a touch creates.
    pub clear_empty_accounts: bool,
}

/// The cells of one block, and the state below them.
pub struct StateCells {
    view: Arc<dyn StateView>,
    pub(crate) rules: StateRules,
    interner: Interner<StateKey>,
    /// The keys that sets name, once they are numbered; the interner has the others.
    table: Option<Arc<KeyTable>>,
    /// Whether keys may be touched in a way of which the table knows nothing.
    widened: bool,
    pub(crate) cells: Cells<StateCell, Origin>,
    /// Accounts whose code changed or whose storage was wiped, with the cells of their codes.
    recoded: Mutex<Vec<(Address, KeyId)>>,
    /// Whether there are such.
    is_recoded: AtomicBool,
    /// What became of accounts without anybody using their cells.
    followed: Option<FollowedChanges>,
    /// What became of a block that ran in order, without cells.
    ordered: Box<SequentialState>,
    /// Memory of earlier blocks' results.
    pub(crate) spare: Spare,
}

/// Memory that earlier blocks' results had. Large pieces of memory are costly to get: every page of
/// them is cleared by the system when it is first touched.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) table: Option<KeyTable>,
    /// Cleared.
    pub(crate) drafts: Vec<Draft>,
    pub(crate) payments: PaymentsMemory,
    delta: StateDelta,
}

impl StateCells {
    /// No cells yet, over the state before the block.
    pub fn new(view: Arc<dyn StateView>, rules: StateRules) -> Self {
        Self {
            view,
            rules,
            interner: Interner::new(),
            table: None,
            widened: false,
            cells: Cells::new(),
            recoded: Mutex::default(),
            is_recoded: AtomicBool::new(false),
            followed: None,
            ordered: Box::default(),
            spare: Spare::default(),
        }
    }

    /// The state before the block.
    pub fn view(&self) -> &Arc<dyn StateView> {
        &self.view
    }

    /// As [`intern`](Self::intern), by way of what the calling thread looked up lately in this block.
    pub fn intern_cached(
        &self,
        recent: &mut RecentKeys<StateKey>,
        key: &StateKey,
    ) -> Result<KeyId, StateError> {
        self.interner.intern_cached(recent, key, || {
            let mut accounts = LastAccount::default();
            self.push(key, &mut accounts)
        })
    }

    /// The hash of a key, and the part of the interner that it belongs to.
    pub(crate) fn place_of(&self, key: &StateKey) -> (u64, usize) {
        self.interner.place_of(key)
    }

    /// Has a part of the interner for itself.
    pub(crate) fn lock_shard(&self, shard: usize) -> LockedShard<'_, StateKey> {
        self.interner.lock_shard(shard)
    }

    /// Takes the numbers of a block's keys from now on. There are no cells yet.
    pub(crate) fn set_table(&mut self, table: Arc<KeyTable>) {
        self.cells.reserve(table.len());
        self.widened = table.has_everything();
        self.table = Some(table);
    }

    /// The numbers of the keys that the block's sets name, if they were numbered.
    pub(crate) const fn table(&self) -> Option<&Arc<KeyTable>> {
        self.table.as_ref()
    }

    /// The same, as long as all that transactions touch stands in it.
    #[inline]
    pub(crate) fn complete_table(&self) -> Option<&KeyTable> {
        let table = self.table.as_deref();
        table.filter(|_| !self.widened)
    }

    /// From now on the table does not know all that transactions touch.
    pub(crate) const fn widen(&mut self) {
        self.widened = true;
    }

    /// Fills the cells of the keys that a task introduces, as far as they are not filled.
    ///
    /// # Safety
    ///
    /// Called for a task of the [table](Self::set_table), by one thread at a time, which has seen what
    /// earlier calls for the task did.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn introduce(
        &self,
        table: &KeyTable,
        task: TaskId,
    ) -> Result<(), StateError> {
        let mut accounts = LastAccount::default();
        let (first, keys) = table.introduces(task);
        for (index, key) in (first.index()..).zip(keys) {
            let id = KeyId::from_index(index);
            // It is if an earlier call failed half-way.
            if self.cells.is_filled(id) {
                continue;
            }
            let origin = Origin::load(&*self.view, key, &mut accounts)?;
            let cell = origin.cell();
            // SAFETY: room was made for all keys of the table; one task introduces a key, this is the
            // one call for it just now, and none before has filled the cell.
            unsafe { self.cells.fill(id, origin, cell) };
        }
        Ok(())
    }

    /// Whether it is known that nobody in the block does more with a key than to credit it, while
    /// many do.
    #[inline]
    pub(crate) fn is_popular_credit(&self, key: KeyId) -> bool {
        let table = self.complete_table();
        table.is_some_and(|table| table.is_popular_credit(key))
    }

    /// The dense id of a key, whose cell is made and filled if it is new.
    pub fn intern(&self, key: &StateKey) -> Result<KeyId, StateError> {
        self.interner.intern(key, || {
            let mut accounts = LastAccount::default();
            self.push(key, &mut accounts)
        })
    }

    /// Makes the cell of a key that is new to the interner.
    #[allow(unsafe_code)]
    fn push(&self, key: &StateKey, accounts: &mut LastAccount) -> Result<KeyId, StateError> {
        let origin = Origin::load(&*self.view, key, accounts)?;
        let followed = self.followed.as_ref().filter(|_| key.is_account());
        let changed = followed.and_then(|followed| {
            let (hash, shard) = self.place_of(key);
            // SAFETY: it is here since all shards were collected; if one was not, the block is restarted, and then it is gone.
            unsafe { followed.take(hash, shard, key.address) }
        });
        let cell = changed.map_or_else(|| origin.cell(), StateCell::Account);
        Ok(self.cells.push_from(origin, cell))
    }

    /// Notes that an account's code changed or its storage was wiped.
    ///
    /// Such accounts are few; sealing looks at them before everything else.
    pub(crate) fn note_recoded(&self, address: Address, code: KeyId) {
        self.recoded.lock().push((address, code));
        self.is_recoded.store(true, Ordering::Relaxed);
    }

    /// Whether an account's code may have changed or its storage may have been wiped: by anybody who held something
    /// that the caller holds now.
    #[inline]
    pub(crate) fn is_recoded(&self) -> bool {
        self.is_recoded.load(Ordering::Relaxed)
    }

    /// Empties the cells for another block, and keeps the memory.
    pub fn reset(&mut self, view: Arc<dyn StateView>, rules: StateRules) {
        self.view = view;
        self.rules = rules;
        self.interner.clear();
        // Where somebody keeps the table, for another run of the block, its memory is not ours.
        if let Some(table) = self.table.take().and_then(Arc::into_inner) {
            self.spare.table = Some(table);
        }
        self.widened = false;
        self.cells.clear();
        self.recoded.get_mut().clear();
        *self.is_recoded.get_mut() = false;
        self.ordered.clear();
        if let Some(changes) = self.take_followed() {
            self.spare.delta = changes.into_memory();
        }
    }

    /// Changes of none yet, with room for so many accounts without cells.
    pub(crate) fn changes_with_room(&mut self, accounts: usize) -> Changes {
        let memory = std::mem::take(&mut self.spare.delta);
        let cells = self.cells.len();
        let (more, slots) = self.ordered.len();
        Changes::with_memory(memory, accounts + cells + more, cells + slots)
    }

    fn take_followed(&mut self) -> Option<Changes> {
        let (changes, places) = self.followed.take()?.into_parts();
        self.spare.payments.keep_places(places);
        Some(changes)
    }

    /// Takes what became of accounts that have no cells, all shards of it. One that gets a cell from now on has its value from there.
    pub(crate) fn set_followed(&mut self, followed: FollowedChanges) {
        self.followed = Some(followed);
    }

    /// Hands out what there is of a block that runs in order, which is nothing yet.
    pub(crate) fn take_ordered(&mut self) -> Box<SequentialState> {
        std::mem::take(&mut self.ordered)
    }

    /// Takes what became of a block that ran in order.
    pub(crate) fn put_ordered(&mut self, ordered: Box<SequentialState>) {
        self.ordered = ordered;
    }

    /// Takes the memory of a sealed block that is not needed any more, for the next one.
    pub fn recycle(&mut self, sealed: SealedBlock) {
        let SealedBlock {
            mut outcomes,
            mut delta,
        } = sealed;
        outcomes.clear();
        delta.clear();
        self.spare.outcomes = outcomes;
        self.spare.delta = delta;
    }

    /// Ends the time in which cells change. For a block whose transactions are all done.
    pub(crate) fn settle(mut self) -> SettledCells {
        let mut context = DeltaContext::without_code(self.rules);
        for (address, id) in std::mem::take(self.recoded.get_mut()) {
            let (before, cell) = self.cells.parts_mut(id);
            let cell = cell.code_mut();
            if cell.code != *before.code() {
                context.codes.insert(address, cell.code.clone());
            }
            if cell.incarnation > 0 {
                let incarnation = cell.incarnation;
                context
                    .incarnations
                    .insert(AddressKey(address), incarnation);
            }
        }
        self.ordered.add_to(&mut context);
        let followed = self.take_followed();
        let changes = followed.unwrap_or_else(|| self.changes_with_room(0));
        SettledCells {
            cells: self,
            context,
            changes,
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }
}

/// Cells that no longer change: the block's transactions are done.
#[derive(Debug)]
pub(crate) struct SettledCells {
    cells: StateCells,
    context: DeltaContext,
    changes: Changes,
    /// A bit for each of the [parts](Self::parts): whether somebody gathers its changes, or has.
    begun: AtomicU64,
    /// Whether that is over.
    done: AtomicU64,
}

const _: () = assert!(SHARDS == u64::BITS as usize);

impl SettledCells {
    /// How many cells there are, or what stands for them.
    pub(crate) fn len(&self) -> usize {
        let (accounts, slots) = self.cells.ordered.len();
        self.cells.cells.len() + accounts + slots
    }

    /// How many parts the changes are gathered in: [`SHARDS`], or one where there are few and no cells.
    pub(crate) fn parts(&self) -> usize {
        let is_one = self.cells.cells.is_empty() && self.cells.table.is_none();
        if is_one && self.len() < PART_MIN {
            1
        } else {
            SHARDS
        }
    }

    /// Gathers the changes of one of the [parts](Self::parts) of the keys, if nobody has. From any thread. `apart`
    /// gives the drafts of transactions that stayed apart, whose keys are not looked at.
    pub(crate) fn collect<'d>(&self, shard: usize, apart: impl Fn(TaskId) -> Option<&'d Draft>) {
        let bit = 1 << shard;
        if self.begun.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return;
        }
        let mut part = self.changes.part();
        if let Some(table) = &self.cells.table {
            let pieces = (shard..table.parts()).step_by(SHARDS);
            let tasks = pieces.flat_map(|piece| table.tasks_of(piece));
            for task in tasks.map(TaskId::from_index) {
                if let Some(draft) = apart(task) {
                    draft.collect(&self.context, &mut part);
                    continue;
                }
                let (first, keys) = table.introduces(task);
                for (index, key) in (first.index()..).zip(keys) {
                    let id = KeyId::from_index(index);
                    // One that is not was named and never asked for.
                    if self.cells.cells.is_filled(id) {
                        self.collect_key(&mut part, key, id);
                    }
                }
            }
        }
        let each = |key: &StateKey, id| self.collect_key(&mut part, key, id);
        self.cells.interner.for_each_in_shard(shard, each);
        let ordered = &self.cells.ordered;
        ordered.collect((shard, self.parts()), &self.context, &mut part);
        drop(part);
        self.done.fetch_or(bit, Ordering::Relaxed);
    }

    /// What became of one key. Its id came from the interner, whose lock orders memory, or from the
    /// table and is filled.
    #[allow(unsafe_code)]
    fn collect_key(&self, part: &mut DeltaPart<'_>, key: &StateKey, id: KeyId) {
        let (context, rules) = (&self.context, self.context.rules);
        // SAFETY: the cell is filled, as said above. Cells are written through a granted state, which
        // holds its block by reference; this value was made from a block that nobody else refers to,
        // and gives no cell out for writing.
        unsafe {
            let before = self.cells.cells.origin(id);
            self.cells.cells.read(id, |cell| match (key.part, cell) {
                (KeyPart::Account, StateCell::Account(cell)) => {
                    let (now, touched) = (cell.current(rules), cell.is_credited());
                    let before = before.account().copied();
                    part.account(context, key.address, before, now, touched);
                }
                (KeyPart::Slot(slot), StateCell::Slot(cell)) => {
                    let after = cell.current(context.incarnation(key.address));
                    part.slot(context, key.address, slot, before.slot(), after);
                }
                _ => {}
            });
        }
    }

    /// The delta of all changes, and the cells, to be reset and used again.
    ///
    /// # Panics
    ///
    /// If the changes of a part are not gathered.
    pub(crate) fn finish(self) -> Result<(StateDelta, StateCells), StateError> {
        let parts = self.parts();
        let done = self.done.into_inner();
        let all = u64::MAX >> (SHARDS - parts);
        assert_eq!(done, all, "not all changes are gathered");
        let delta = self.context.finish(self.changes, &*self.cells.view)?;
        Ok((delta, self.cells))
    }
}

impl fmt::Debug for StateCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateCells")
            .field("cells", &self.cells)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryState;
    use proptest::prelude::*;

    fn amount() -> impl Strategy<Value = U256> {
        prop_oneof![
            any::<u64>().prop_map(U256::from),
            Just(U256::from(u64::MAX)),
            any::<[u64; 3]>().prop_map(|[a, b, c]| U256::from_limbs([a, b, c, 0])),
        ]
    }

    proptest! {
        /// Every carry reaches the sum, on one thread and on several.
        #[test]
        fn credits_add_up(amounts in prop::collection::vec(amount(), 0..60)) {
            let credits = Credits::default();
            std::thread::scope(|scope| {
                let credits = &credits;
                let add = |chunk: &[U256]| chunk.iter().for_each(|amount| credits.add(*amount));
                let threads: Vec<_> = amounts
                    .chunks(15)
                    .map(|chunk| scope.spawn(move || add(chunk)))
                    .collect();
                // The thread sanitizer sees a join, not how a scope waits for its end.
                for thread in threads {
                    thread.join().expect("no panic");
                }
            });
            let expected: U256 = amounts.iter().sum();
            prop_assert_eq!(credits.sum(), expected);
            prop_assert_eq!(credits.is_touched(), !amounts.is_empty());
            let mut credits = credits;
            for amount in &amounts {
                credits.subtract(*amount);
            }
            prop_assert_eq!(credits.sum(), U256::ZERO);
            prop_assert!(!credits.is_touched());
        }
    }

    #[test]
    fn a_slot_of_an_earlier_incarnation_is_zero() {
        let slot = SlotCell {
            value: U256::from(5),
            incarnation: 1,
        };
        assert_eq!(slot.current(1), U256::from(5));
        assert_eq!(slot.current(2), U256::ZERO);
    }

    #[test]
    fn missing_code_is_an_error_when_its_key_is_resolved() {
        let mut state = MemoryState::new();
        let address = Address::repeat_byte(1);
        let code_hash = alloy_primitives::B256::repeat_byte(9);
        let account = Account {
            code_hash,
            ..Account::default()
        };
        state.insert_account(address, account);
        let rules = StateRules {
            clear_empty_accounts: true,
        };
        let cells = StateCells::new(Arc::new(state), rules);
        let error = cells.intern(&StateKey::code(address)).unwrap_err();
        assert!(matches!(error, StateError::MissingCode { hash, .. } if hash == code_hash));
        assert!(cells.intern(&StateKey::account(address)).is_ok());
    }
}
