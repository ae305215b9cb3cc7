//! The current value of one key inside a block, and its value before the block.

use super::credits::Credits;
use crate::model::{
    Account, AccountValue, CodeRef, KeyPart, StateError, StateKey, StateRules, StateView,
};
use alloy_primitives::{Address, U256};

#[derive(Debug)]
pub(crate) struct AccountCell {
    /// As last written; stable while credits are granted.
    pub(crate) value: AccountValue,
    /// Credits since then.
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

/// Code inside the block, and how often the account's storage was cleared.
#[derive(Debug)]
pub(crate) struct CodeCell {
    pub(crate) code: CodeRef,
    /// How often the storage of this account was cleared in this block. A slot of an earlier generation is zero.
    pub(crate) generation: u32,
}

#[derive(Debug)]
pub(crate) struct SlotCell {
    pub(crate) value: U256,
    /// The account's generation when the value was written.
    pub(crate) generation: u32,
}

impl SlotCell {
    /// The value, given how often the account's storage was cleared so far.
    pub(crate) const fn current(&self, generation: u32) -> U256 {
        if self.generation == generation {
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
                generation: 0,
            }),
            Self::Slot(value) => StateCell::Slot(SlotCell {
                value: *value,
                generation: 0,
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

    /// Whether the block has left this value as it was, so that a read of `cell` gives the value before the
    /// block.
    ///
    /// A slot of a cleared account is covered by the account's code, which its reader holds too.
    pub(crate) fn is_current(&self, cell: &StateCell) -> bool {
        match (self, cell) {
            (Self::Account(before), StateCell::Account(cell)) => {
                cell.value == AccountValue::from(before.as_ref()) && !cell.credits.is_touched()
            }
            (Self::Code(before), StateCell::Code(cell)) => {
                cell.generation == 0 && cell.code == *before
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_of_an_earlier_generation_is_zero() {
        let slot = SlotCell {
            value: U256::from(5),
            generation: 1,
        };
        assert_eq!(slot.current(1), U256::from(5));
        assert_eq!(slot.current(2), U256::ZERO);
    }
}
