//! revm's context over a guarded state.

use super::{
    database::JournalDb, journal::GuardedJournal, preimages::Preimages, slot_hashes::SlotHashes,
};
use revm::{
    Context,
    context::{BlockEnv, CfgEnv, TxEnv},
};
use std::sync::Arc;

/// revm's context, with a journal over a state of type `S`: what an
/// [`Inspector`](revm::inspector::Inspector) is given.
pub type EvmContext<S> =
    Context<BlockEnv, Arc<TxEnv>, CfgEnv, JournalDb<S>, GuardedJournal<S>, Hashes>;

/// The hashes that an executor keeps.
#[derive(Debug, Default)]
pub struct Hashes {
    pub(crate) slots: SlotHashes,
    /// Records what a transaction hashes, if set.
    pub(crate) preimages: Option<Preimages>,
}
