//! What a declared-access transaction is, and what executing a block means.
//!
//! A transaction comes with an [`AccessSet`]: the [`StateKey`]s it will touch, each in an
//! [`AccessMode`]. A block is an order of such transactions over a state ([`StateView`]). An
//! [`Executor`] gives one transaction its meaning, through [`StateAccess`]: on a [`SerialState`],
//! one after another ([`execute_serially`]: the oracle), or on a [`GrantedState`], on as many
//! threads as hold grants, through the cells of an [`OpenBlock`], whose keys a [`Numbering`] gave dense
//! ids. Both end in a [`SealedBlock`], and both must be the same.
//!
//! The folders are layers. Each uses only earlier ones, through their `mod.rs`: `memory`, `model`,
//! `executor`, `serial`, `keys`, `sequential`, `cells`, `account_history`, `speculation`, `block`, `grant`,
//! `payments`.
//!
//! **Architecture invariant:** this crate touches memory and nothing else. It starts no threads,
//! reads no clocks, opens no files, and does not know revm. Who may run when is the banking stage's
//! business; what a block's bytes look like on disk is the accounts database's.

mod account_history;
mod block;
mod cells;
mod executor;
mod grant;
mod keys;
mod memory;
mod model;
mod payments;
mod sequential;
mod serial;
mod speculation;
#[cfg(test)]
mod test_support;

pub use block::{ExecutedBlock, OpenBlock, RecycledBlock, SealError, StateCells, SuspendedCredits};
pub use cells::Cells;
pub use executor::{
    AccessError, ExecutionError, Executor, Payment, StateAccess, Transfer, UndeclaredAccess,
};
pub use grant::GrantedState;
pub use keys::{Interner, KeyTable, Numbering, RecentKeys, Round, SameHash};
pub use memory::prefetch;
pub use model::{
    AccessEntry, AccessMode, AccessSet, AccessSetBuilder, AccessSetError, Account, AccountValue,
    Code, CodeRef, Credit, Declaration, DenseId, GasOverflow, INFERRED_KEYS_MAX, KeyAccess, KeyId,
    KeyPart, Outcome, OutcomeKind, Receipt, SIGNED_KEYS_MAX, Sanitized, SealedBlock, StateDelta,
    StateError, StateKey, StateRules, StateView, Status, TaskId, WriteSet, receipts,
};
pub use payments::{PaymentRound, Payments};
pub use sequential::SequentialState;
pub use serial::{BlockError, MemoryState, Recording, SerialState, execute_serially};
pub use speculation::{Assumption, Contention, Infer, Inference, Next, SimulatedState, UndoRecord};
