//! The seam between a transaction's meaning and the state it runs on.

use crate::model::{
    AccessEntry, AccessMode, AccessSet, AccountValue, CodeRef, FEW_KEYS, KeyPart, Outcome,
    StateError, StateKey, TaskId, WriteSet,
};
use alloy_primitives::{Address, B256, U256};
use std::error::Error;

/// A transaction reached for something it does not hold. It was stopped and left no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} needs to {needed} {key}, which it {}", self.subject(), self.declared())]
pub struct UndeclaredAccess {
    /// The transaction, by its place in the block order; `None` where it runs outside a block.
    pub transaction: Option<TaskId>,
    /// What it reached for.
    pub key: StateKey,
    /// What it wanted to do.
    pub needed: AccessMode,
    /// How it holds the key, if it does.
    pub held: Option<AccessMode>,
}

impl UndeclaredAccess {
    fn subject(&self) -> String {
        let named = |transaction| format!("transaction {transaction}");
        (self.transaction).map_or_else(|| "the transaction".to_owned(), named)
    }

    fn declared(&self) -> String {
        let held = |mode| format!("declared as {mode} only");
        self.held.map_or_else(|| "did not declare".to_owned(), held)
    }
}

/// Why an access was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccessError {
    /// The transaction does not hold the key.
    #[error(transparent)]
    Undeclared(#[from] UndeclaredAccess),
    /// The state before the block could not answer.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A payment between accounts without code, or from one to itself. Its outcome is known if nonce and balance
/// are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The account that pays.
    pub sender: Address,
    /// The account that is paid.
    pub recipient: Address,
    /// The account that gets the tip.
    pub beneficiary: Address,
    /// The nonce that the sender has to have.
    pub nonce: u64,
    /// What the sender has to have, in wei.
    pub needed: U256,
    /// What gas costs the sender, in wei; with the value no more than is needed.
    pub gas_cost: U256,
    /// What the recipient gets, in wei.
    pub value: U256,
    /// What the beneficiary gets, in wei.
    pub tip: U256,
}

/// What a transfer touches, in no order; some of it twice, if it is one to oneself.
pub(crate) fn touches(transfer: &Transfer) -> [(StateKey, AccessMode); 5] {
    let Transfer {
        sender,
        recipient,
        beneficiary,
        ..
    } = *transfer;
    let paid = if recipient == sender {
        AccessMode::Write
    } else {
        AccessMode::Credit
    };
    [
        (StateKey::account(sender), AccessMode::Write),
        (StateKey::code(sender), AccessMode::Read),
        (StateKey::account(recipient), paid),
        (StateKey::code(recipient), AccessMode::Read),
        (StateKey::account(beneficiary), AccessMode::Credit),
    ]
}

pub(crate) fn allows(set: &AccessSet, transfer: &Transfer) -> bool {
    let entries = set.entries();
    if *set == AccessSet::Everything || entries.len() > FEW_KEYS {
        let mut needed = touches(transfer).into_iter();
        return needed.all(|(key, mode)| set.allows(&key, mode));
    }
    let keys = TransferKeys::find(transfer, entries.iter().map(|entry| (entry, ())));
    let is_all = |keys: [Option<()>; 2]| keys.iter().all(Option::is_some);
    is_all([keys.sender, keys.sender_code])
        && is_all([keys.recipient, keys.recipient_code])
        && keys.beneficiary.is_some()
}

/// The keys of a transfer, as far as they are held as it needs them.
#[derive(Default)]
pub(crate) struct TransferKeys<K> {
    pub(crate) sender: Option<K>,
    pub(crate) sender_code: Option<K>,
    pub(crate) recipient: Option<K>,
    pub(crate) recipient_code: Option<K>,
    pub(crate) beneficiary: Option<K>,
}

impl<K: Copy + Default> TransferKeys<K> {
    /// Finds them in one pass over a set, of whose entries each has a key of type `K`.
    #[inline]
    pub(crate) fn find<'e>(
        transfer: &Transfer,
        entries: impl Iterator<Item = (&'e AccessEntry, K)>,
    ) -> Self {
        let mut found = Self::default();
        for (AccessEntry { key, mode }, id) in entries {
            let address = key.address;
            let held_for = |needed: AccessMode| mode.allows(needed).then_some(id);
            match key.part {
                KeyPart::Account => {
                    if address == transfer.sender {
                        found.sender = held_for(AccessMode::Write);
                    }
                    if address == transfer.recipient {
                        found.recipient = held_for(AccessMode::Credit);
                    }
                    if address == transfer.beneficiary {
                        found.beneficiary = held_for(AccessMode::Credit);
                    }
                }
                KeyPart::Code => {
                    if address == transfer.sender {
                        found.sender_code = held_for(AccessMode::Read);
                    }
                    if address == transfer.recipient {
                        found.recipient_code = held_for(AccessMode::Read);
                    }
                }
                KeyPart::Slot(_) => {}
            }
        }
        found
    }
}

/// A transaction that is a transfer and nothing else, as long as neither account has code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The transfer.
    pub transfer: Transfer,
    /// The outcome of the transaction, if nonce and balance are right.
    pub outcome: Outcome,
}

/// The state as one transaction sees it: everything before it in block order, nothing after.
///
/// Every method names the key it touches; an implementation that guards refuses what is not
/// granted. Effects are collected in a [`WriteSet`] and applied at once, so a transaction that is
/// stopped has none.
pub trait StateAccess {
    /// Nonce and balance of an account. Reads its account key.
    fn account(&mut self, address: Address) -> Result<AccountValue, AccessError>;

    /// Code of an account. Reads its code key.
    ///
    /// By reference: all cores read the code of a popular contract, and counting references would make them
    /// wait for each other.
    fn code(&mut self, address: Address) -> Result<&CodeRef, AccessError>;

    /// A storage slot. Reads the slot's key and the account's code key.
    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, AccessError>;

    /// Whether the account had storage before the block that was not cleared since (EIP-7610).
    /// Reads the account's code key.
    fn has_storage(&mut self, address: Address) -> Result<bool, AccessError>;

    /// The hash of an earlier block. Needs no grant: it cannot change while a block is open.
    fn block_hash(&mut self, number: u64) -> Result<B256, AccessError>;

    /// Whether the account had a nonce above zero and no code before the block. Needs no grant: what was before a
    /// block cannot change while it is open. A no is no answer; there are states that never say more.
    fn was_in_use(&mut self, _address: Address) -> bool {
        false
    }

    /// Whether reading an account delays no other transaction and is not noted until the transaction is done;
    /// then it may be read ahead. `false` is always a valid answer.
    fn is_lookup_free(&self) -> bool {
        false
    }

    /// KECCAK256 of the place of a mapping's entry, if it was [kept](crate::SimulatedState::keep_hash) when the
    /// transaction's set was inferred. Needs no grant: it follows from the place alone. A no is no answer; there are
    /// states that never say more.
    fn known_hash(&mut self, _place: &[u8; 64]) -> Option<U256> {
        None
    }

    /// Whether a balance that was not read may be increased by `amount` without reading it. A
    /// yes is an access in credit mode, even if the credit is taken back before the end.
    ///
    /// Where not, the caller looks first: because the sum might overflow, or to be told that it does
    /// not hold the key. A no is no access.
    fn may_credit(&mut self, address: Address, amount: U256) -> bool;

    /// Carries out a transfer in one go, which a state may do faster than its parts one by one; returns whether
    /// it did. If not, nothing has happened, and nothing is said of the transfer: there are states that never
    /// do this.
    fn transfer(&mut self, _transfer: &Transfer) -> bool {
        false
    }

    /// Applies a transaction's effects, all or none of them.
    fn apply(&mut self, writes: &WriteSet) -> Result<(), AccessError>;
}

/// Why a transaction has no outcome. It left no effect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExecutionError<I: Error> {
    /// The transaction may not be in a block at this place.
    #[error(transparent)]
    Invalid(I),
    /// It reached for something it does not hold, or the state failed.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Runs transactions of one kind on states of kind `S`.
///
/// An executor is one worker's: it keeps buffers between transactions, and nothing of what they
/// did. Given the same transaction and the same state it must come to the same outcome.
pub trait Executor<S: StateAccess> {
    /// What it runs: transactions, and whatever else a block does in its order (system calls,
    /// withdrawals, rewards).
    type Transaction: Send + Sync + 'static;
    /// Why a transaction may not be in a block.
    type Invalid: Error + Send + Sync + 'static;

    /// What a transaction is, if it is a payment: then running it on accounts without code, of which the sender has
    /// the nonce and what is needed, is the transfer and comes to this outcome.
    ///
    /// A block that is nothing but payments is run [without locks](crate::Payments). An executor need not
    /// recognise any.
    fn payment(&self, _transaction: &Self::Transaction) -> Option<Payment> {
        None
    }

    /// Runs one transaction and applies its effects to `state`.
    fn execute(
        &mut self,
        transaction: &Self::Transaction,
        state: &mut S,
    ) -> Result<Outcome, ExecutionError<Self::Invalid>>;
}
