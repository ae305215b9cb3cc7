//! What one transaction did to the state.

use super::{
    access::AccessMode,
    key::StateKey,
    state::{Account, CodeRef},
};
use alloy_primitives::{Address, U256};

/// Nonce and balance: the value of an account key.
///
/// Whether the account exists is part of it, because before EIP-161 an account without nonce,
/// balance and code could exist all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountValue {
    /// Balance in wei.
    pub balance: U256,
    /// Transactions sent, or contracts created.
    pub nonce: u64,
    /// Whether the account is in the state.
    pub exists: bool,
}

/// A blind increase of a balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Whom to credit.
    pub address: Address,
    /// By how much, in wei. A credit of zero still touches the account, as EIP-161 has it.
    pub amount: U256,
}

/// The effects of one transaction, collected while it runs and applied at once when it is done.
///
/// Within one set every key occurs once. Storage clears are applied before slot writes, so a set may clear an
/// account's storage and write new slots to it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WriteSet {
    /// New nonces and balances.
    pub accounts: Vec<(Address, AccountValue)>,
    /// Balance increases of accounts that were not read.
    pub credits: Vec<Credit>,
    /// New code.
    pub codes: Vec<(Address, CodeRef)>,
    /// Accounts whose whole storage becomes zero.
    pub cleared: Vec<Address>,
    /// New slot values.
    pub slots: Vec<(Address, U256, U256)>,
}

impl WriteSet {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.accounts.clear();
        self.credits.clear();
        self.codes.clear();
        self.cleared.clear();
        self.slots.clear();
    }

    /// Every key that applying the set uses, with the mode it has to be held in, in the order in which
    /// the effects are applied: accounts, codes, cleared storage, each slot behind the code it is held with,
    /// credits.
    pub fn effects(&self) -> impl Iterator<Item = (StateKey, AccessMode)> {
        let accounts = self.accounts.iter();
        let accounts =
            accounts.map(|(address, _)| (StateKey::account(*address), AccessMode::Write));
        let codes = self.codes.iter().map(|(address, _)| address);
        let codes = codes
            .chain(&self.cleared)
            .map(|address| (StateKey::code(*address), AccessMode::Write));
        let slots = self.slots.iter().flat_map(|(address, slot, _)| {
            [
                (StateKey::code(*address), AccessMode::Read),
                (StateKey::slot(*address, *slot), AccessMode::Write),
            ]
        });
        let credits = self.credits.iter();
        let credits = credits.map(|credit| (StateKey::account(credit.address), AccessMode::Credit));
        accounts.chain(codes).chain(slots).chain(credits)
    }

    /// Whether the transaction changed nothing.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
            && self.credits.is_empty()
            && self.codes.is_empty()
            && self.cleared.is_empty()
            && self.slots.is_empty()
    }
}

impl Clone for WriteSet {
    fn clone(&self) -> Self {
        let mut clone = Self::default();
        clone.clone_from(self);
        clone
    }

    /// Keeps the memory.
    fn clone_from(&mut self, source: &Self) {
        let Self {
            accounts,
            credits,
            codes,
            cleared,
            slots,
        } = source;
        self.accounts.clone_from(accounts);
        self.credits.clone_from(credits);
        self.codes.clone_from(codes);
        self.cleared.clone_from(cleared);
        self.slots.clone_from(slots);
    }
}

/// A credit of this much or more needs a write grant.
const CREDIT_AMOUNT_LIMIT: U256 = U256::from_limbs([0, 0, 0, 1]);

/// A balance of this much or more, three quarters of what 256 bits hold, can only be increased
/// under a write grant.
const CREDIT_BALANCE_LIMIT: U256 = U256::from_limbs([0, 0, 0, 3 << 62]);

/// Whether credits of this size on a balance of this size cannot overflow.
///
/// 2^62 credits, each below 2^192, on a balance below 3 × 2^254 stay below 2^256; a block has fewer. A credit
/// of nothing does no harm to any balance.
pub(crate) fn is_credit_safe(balance: U256, amount: U256) -> bool {
    amount.is_zero() || (amount < CREDIT_AMOUNT_LIMIT && balance < CREDIT_BALANCE_LIMIT)
}

impl From<Option<&Account>> for AccountValue {
    fn from(account: Option<&Account>) -> Self {
        account.map_or_else(Self::default, |account| Self {
            balance: account.balance,
            nonce: account.nonce,
            exists: true,
        })
    }
}
