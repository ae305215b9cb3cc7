//! What a block is made of, and what it changes. No threads, no cells.
//!
//! * `changes`: the changes of a block while they are gathered, key by key;
//! * `state_delta`: what a block changed, and a block that ran;
//! * `outcome`: what a transaction resulted in, and receipts;
//! * `transaction`: a sanitized transaction with its access set;
//! * `write_set`: the effects of one transaction;
//! * `key_search`: lookup in a sorted access set;
//! * `access`: access modes and access sets;
//! * `state`: accounts, code, and the state before a block;
//! * `key`, `id`: state keys, and the dense ids that stand for them.

mod access;
mod changes;
mod id;
mod key;
mod key_search;
mod outcome;
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
pub use state::{Account, Code, CodeRef, StateError, StateRules, StateView};
pub(crate) use state::{known_block_hash, was_in_use};
pub use state_delta::SealedBlock;
pub use state_delta::StateDelta;
pub use transaction::{Declaration, Sanitized};
pub(crate) use write_set::is_credit_safe;
pub use write_set::{AccountValue, Credit, WriteSet};
