//! The cells of an open block: every declared key's current value, over the state before the block.

use crate::{
    access::{AccessSet, KeyAccess},
    cells::Cells,
    delta::{DeltaCollector, StateDelta},
    id::KeyId,
    interner::Interner,
    key::{KeyPart, StateKey},
    state::{Account, CodeRef, StateError, StateView},
    write_set::AccountValue,
};
use alloy_primitives::{B256, U256};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
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
            self.touches.fetch_add(1, Ordering::Relaxed);
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

    /// Takes back an amount that was added.
    pub(crate) fn subtract(&mut self, amount: U256) {
        if amount.is_zero() {
            *self.touches.get_mut() -= 1;
            return;
        }
        let sum = self.sum().checked_sub(amount);
        let sum = sum.expect("only what was credited is taken back");
        for (limb, value) in self.limbs.iter_mut().zip(sum.as_limbs()) {
            *limb.get_mut() = *value;
        }
    }

    pub(crate) fn sum(&self) -> U256 {
        U256::from_limbs(std::array::from_fn(|position| {
            self.limbs[position].load(Ordering::Relaxed)
        }))
    }

    /// Whether anything was credited, even nothing.
    pub(crate) fn is_touched(&self) -> bool {
        !self.sum().is_zero() || self.touches.load(Ordering::Relaxed) != 0
    }
}

/// Nonce and balance inside the block.
#[derive(Debug)]
pub(crate) struct AccountCell {
    /// As last written; stable while credits are granted.
    pub(crate) value: AccountValue,
    /// What came since.
    pub(crate) credits: Credits,
    before: Option<Account>,
}

impl AccountCell {
    /// The value as last written plus the credits since.
    pub(crate) fn current(&self, rules: StateRules) -> AccountValue {
        let credited = self.credits.sum();
        let mut value = self.value;
        value.balance += credited;
        value.exists |=
            !credited.is_zero() || (self.credits.is_touched() && !rules.clear_empty_accounts);
        value
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
    before: B256,
}

/// A storage slot inside the block.
#[derive(Debug)]
pub(crate) struct SlotCell {
    pub(crate) value: U256,
    /// The account's incarnation when the value was written.
    pub(crate) incarnation: u32,
    before: U256,
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
    pub(crate) cells: Cells<StateCell>,
}

impl StateCells {
    /// No cells yet, over the state before the block.
    pub fn new(view: Arc<dyn StateView>, rules: StateRules) -> Self {
        Self {
            view,
            rules,
            interner: Interner::new(),
            cells: Cells::new(),
        }
    }

    /// The state before the block.
    pub fn view(&self) -> &Arc<dyn StateView> {
        &self.view
    }

    /// Gives every key of a set its dense id, and new keys their value before the block.
    ///
    /// May be called from many threads; this is where cold state is read, so it belongs off the
    /// scheduler's path. The result is in the set's order, or `None` for the whole state.
    pub fn resolve(&self, set: &AccessSet) -> Result<Option<Box<[KeyAccess]>>, StateError> {
        match set {
            AccessSet::Everything => Ok(None),
            AccessSet::Keys(entries) => entries
                .iter()
                .map(|entry| {
                    let key = self.intern(&entry.key)?;
                    let mode = entry.mode;
                    Ok(KeyAccess { key, mode })
                })
                .collect::<Result<_, _>>()
                .map(Some),
        }
    }

    /// The dense id of a key, whose cell is made and filled if it is new.
    pub fn intern(&self, key: &StateKey) -> Result<KeyId, StateError> {
        self.interner
            .intern(key, || Ok(self.cells.push(self.load(key)?)))
    }

    fn load(&self, key: &StateKey) -> Result<StateCell, StateError> {
        let view = &*self.view;
        Ok(match key.part {
            KeyPart::Account => {
                let before = view.account(key.address)?;
                StateCell::Account(AccountCell {
                    value: AccountValue::from(before.as_ref()),
                    credits: Credits::default(),
                    before,
                })
            }
            KeyPart::Code => {
                let account = view.account(key.address)?;
                let code = CodeRef::load(view, key.address, account.as_ref())?;
                StateCell::Code(CodeCell {
                    before: code.hash(),
                    code,
                    incarnation: 0,
                })
            }
            KeyPart::Slot(slot) => {
                let before = view.slot(key.address, slot)?;
                StateCell::Slot(SlotCell {
                    value: before,
                    incarnation: 0,
                    before,
                })
            }
        })
    }

    /// What the block changed. For a block whose transactions are all done.
    pub fn delta(&mut self) -> Result<StateDelta, StateError> {
        let Self {
            view,
            rules,
            interner,
            cells,
        } = self;
        let mut codes = BTreeMap::new();
        let mut incarnations = BTreeMap::new();
        for (key, id) in interner.iter_mut() {
            if let StateCell::Code(cell) = cells.get_mut(id) {
                if cell.code.hash() != cell.before {
                    codes.insert(key.address, cell.code.clone());
                }
                if cell.incarnation > 0 {
                    incarnations.insert(key.address, cell.incarnation);
                }
            }
        }
        let mut collector = DeltaCollector::new(codes, incarnations, *rules);
        for (key, id) in interner.iter_mut() {
            match (key.part, cells.get_mut(id)) {
                (KeyPart::Account, StateCell::Account(cell)) => {
                    let touched = cell.credits.is_touched();
                    collector.account(key.address, cell.before, cell.current(*rules), touched);
                }
                (KeyPart::Slot(slot), StateCell::Slot(cell)) => {
                    let incarnation = collector.incarnation(key.address);
                    collector.slot(key.address, slot, cell.before, cell.current(incarnation));
                }
                _ => {}
            }
        }
        collector.finish(&**view)
    }
}

impl fmt::Debug for StateCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateCells")
            .field("cells", &self.cells)
            .finish_non_exhaustive()
    }
}
