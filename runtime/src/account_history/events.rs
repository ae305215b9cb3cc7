//! What payments do to accounts.

use crate::{
    cells::{AccountCell, KeyCells},
    executor::Transfer,
    keys::SHARDS,
    model::{AccessEntry, StateKey, StateRules, is_credit_safe},
};
use alloy_primitives::{Address, U256};

#[derive(Default)]
pub(crate) struct Part {
    /// By shard: what is done to its accounts, in block order.
    pub(crate) shards: Vec<Vec<Event>>,
    pub(crate) tips: Option<Tips>,
    /// What a payment touches, while it is noted.
    pub(crate) touched: Vec<AccessEntry>,
}

#[derive(Clone, Copy)]
pub(crate) struct Tips {
    pub(crate) beneficiary: Address,
    pub(crate) sum: Amount,
}

/// What a payment does to an account. Amounts are in wei.
pub(crate) struct Event {
    /// Of the account's key.
    pub(crate) hash: u64,
    pub(crate) address: Address,
    pub(crate) action: Action,
}

pub(crate) enum Action {
    /// Adds to the balance.
    Credit(Amount),
    /// Takes from the balance, of an account that has this nonce and as much as is needed.
    Debit {
        nonce: u64,
        needed: Amount,
        cost: Amount,
    },
}

/// An amount below 2^128 wei, on which words suffice as alignment: there are two events for every payment.
#[derive(Clone, Copy)]
pub(crate) struct Amount([u64; 2]);

impl Amount {
    pub(crate) const ZERO: Self = Self([0, 0]);

    pub(crate) const fn new(amount: U256) -> Option<Self> {
        match *amount.as_limbs() {
            [low, high, 0, 0] => Some(Self([low, high])),
            _ => None,
        }
    }

    pub(crate) const fn get(self) -> U256 {
        let [low, high] = self.0;
        U256::from_limbs([low, high, 0, 0])
    }

    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        let ([low, high], [more_low, more_high]) = (self.0, other.0);
        let (low, carry) = low.carrying_add(more_low, false);
        let (high, carry) = high.carrying_add(more_high, carry);
        if carry { None } else { Some(Self([low, high])) }
    }
}

impl Part {
    pub(crate) fn clear(&mut self) {
        self.shards.resize_with(SHARDS, Vec::new);
        self.shards.iter_mut().for_each(Vec::clear);
        self.tips = None;
    }

    /// Notes what a payment does; `None` if that is more than is done here.
    pub(crate) fn add(&mut self, cells: &KeyCells, transfer: &Transfer) -> Option<()> {
        let Transfer {
            sender,
            recipient,
            beneficiary,
            ..
        } = *transfer;
        // Its tips would have to be part of its history, payment by payment.
        if sender == beneficiary {
            return None;
        }
        let value = Amount::new(transfer.value)?;
        let gas = Amount::new(transfer.gas_cost)?;
        let is_paid = recipient != sender;
        let debit = Action::Debit {
            nonce: transfer.nonce,
            needed: Amount::new(transfer.needed)?,
            cost: if is_paid { gas.plus(value)? } else { gas },
        };
        self.push(cells, sender, debit);
        if is_paid {
            self.push(cells, recipient, Action::Credit(value));
        }
        let tips = self.tips.get_or_insert(Tips {
            beneficiary,
            sum: Amount::ZERO,
        });
        tips.sum = tips.sum.plus(Amount::new(transfer.tip)?)?;
        (tips.beneficiary == beneficiary).then_some(())
    }

    pub(crate) fn push(&mut self, cells: &KeyCells, address: Address, action: Action) {
        let (hash, shard) = cells.interner.place_of(&StateKey::account(address));
        let events = &mut self.shards[shard];
        // Some accounts receive most payments of a block.
        if let Action::Credit(amount) = action
            && let Some(last) = events.last_mut()
            && last.address == address
            && let Action::Credit(before) = &mut last.action
            && let Some(sum) = before.plus(amount)
        {
            *before = sum;
            return;
        }
        events.push(Event {
            hash,
            address,
            action,
        });
    }
}

impl Action {
    pub(crate) fn apply(&self, account: &mut AccountCell, rules: StateRules) -> Option<()> {
        match self {
            Self::Credit(amount) => account.be_paid(amount.get()),
            Self::Debit {
                nonce,
                needed,
                cost,
            } => account.pay(rules, *nonce, needed.get(), cost.get()),
        }
    }
}

impl AccountCell {
    /// Adds an amount, if the balance can take it.
    pub(crate) fn be_paid(&mut self, amount: U256) -> Option<()> {
        if !is_credit_safe(self.value.balance, amount) {
            return None;
        }
        self.credits.add_alone(amount);
        Some(())
    }

    /// Takes `cost` from the account, if it has this nonce and at least `needed`.
    pub(crate) fn pay(
        &mut self,
        rules: StateRules,
        nonce: u64,
        needed: U256,
        cost: U256,
    ) -> Option<()> {
        let mut value = self.current(rules);
        if value.nonce != nonce || value.balance < needed {
            return None;
        }
        value.balance = value.balance.checked_sub(cost)?;
        value.nonce = nonce.checked_add(1)?;
        value.exists = true;
        self.replace(value);
        Some(())
    }
}
