//! What a declared-access transaction is, and what executing a block means.
//!
//! A transaction comes with an [`AccessSet`]: the [`StateKey`]s it will touch, each in an
//! [`AccessMode`]. A block is an order of such transactions over a state ([`StateView`]). An
//! [`Executor`] gives one transaction its meaning, through [`StateAccess`]: on a [`SerialState`],
//! one after another ([`execute_serially`]: the oracle), or on a [`GrantedState`], on as many
//! threads as hold grants, through the cells of an [`OpenBlock`], whose keys a [`Numbering`] gave dense
//! ids. Both end in a [`SealedBlock`], and both must be the same.
//!
//! **Architecture invariant:** this crate touches memory and nothing else. It starts no threads,
//! reads no clocks, opens no files, and does not know revm. Who may run when is the banking stage's
//! business; what a block's bytes look like on disk is the accounts database's.

pub mod access;
mod apart;
pub mod cells;
mod credit_buffer;
pub mod delta;
mod drafts;
pub mod executor;
mod extension;
mod followed;
pub mod granted;
mod granted_transfer;
mod held;
pub mod id;
pub mod interner;
pub mod key;
pub mod key_table;
pub mod memory_state;
pub mod numbering;
pub mod open_block;
pub mod outcome;
mod outcomes;
pub mod payments;
mod place_map;
pub mod prefetch;
pub mod recording;
pub mod sequential_state;
pub mod serial;
mod shared_list;
pub mod simulation;
pub mod state;
pub mod state_cells;
pub mod suspended_credits;
pub mod transaction;
pub mod undo;
pub mod write_set;

pub use access::{
    AccessEntry, AccessMode, AccessSet, AccessSetBuilder, AccessSetError, INFERRED_KEYS_MAX,
    KeyAccess, SIGNED_KEYS_MAX,
};
pub use cells::Cells;
pub use delta::StateDelta;
pub use executor::{
    AccessError, ExecutionError, Executor, Payment, StateAccess, Transfer, UndeclaredAccess,
};
pub use granted::GrantedState;
pub use id::{DenseId, KeyId, TaskId};
pub use interner::{Interner, RecentKeys};
pub use key::{KeyPart, StateKey};
pub use key_table::{KeyTable, KeyUse};
pub use memory_state::MemoryState;
pub use numbering::{Numbering, Round, SameHash};
pub use open_block::{ExecutedBlock, OpenBlock, RecycledBlock, SealError, SealedBlock};
pub use outcome::{GasOverflow, Outcome, OutcomeKind, Receipt, Status, receipts};
pub use payments::{PaymentRound, Payments};
pub use recording::Recording;
pub use sequential_state::SequentialState;
pub use serial::{BlockError, SerialState, execute_serially};
pub use simulation::{Assumption, Contention, Infer, Inference, Next, SimulatedState};
pub use state::{Account, Code, CodeRef, StateError, StateView};
pub use state_cells::{StateCells, StateRules};
pub use suspended_credits::SuspendedCredits;
pub use transaction::{Declaration, Sanitized};
pub use undo::UndoRecord;
pub use write_set::{AccountValue, Credit, WriteSet};
