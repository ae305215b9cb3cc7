//! What a block is made of: keys, access sets, accounts, transactions, outcomes, and what a block changed.

mod access;
mod changes;
mod id;
mod key;
mod key_search;
mod outcome;
mod sealed_block;
mod state;
mod state_delta;
mod transaction;
mod write_set;

pub use access::{
    AccessEntry, AccessMode, AccessSet, AccessSetBuilder, AccessSetError, INFERRED_KEYS_MAX,
    KeyAccess, SIGNED_KEYS_MAX,
};
pub(crate) use access::{note_touch, sort_touches};
pub(crate) use changes::{Changes, DeltaContext, DeltaPart};
pub use id::{DenseId, KeyId, TaskId};
pub(crate) use key::{AddressKey, SlotNumber};
pub use key::{KeyPart, StateKey};
pub(crate) use key_search::{FEW_KEYS, position_in, range_of};
pub use outcome::{GasOverflow, Outcome, OutcomeKind, Receipt, Status, receipts};
pub use sealed_block::SealedBlock;
pub(crate) use state::was_in_use;
pub use state::{Account, Code, CodeRef, StateError, StateRules, StateView};
pub use state_delta::StateDelta;
pub use transaction::{Declaration, Sanitized};
pub(crate) use write_set::is_credit_safe;
pub use write_set::{AccountValue, Credit, WriteSet};
