//! States that blocks are executed on.

use alloy_genesis::Genesis;
use lockweave_runtime::{Account, Code, MemoryState, StateDelta, StateError, StateView};
use parking_lot::RwLock;
use std::sync::Arc;

/// Something that has a state to execute a block on: any shared [`StateView`], or [`SharedState`].
pub trait StateSource {
    /// The newest state.
    fn newest(&self) -> Result<Arc<dyn StateView>, StateError>;
}

impl StateSource for Arc<dyn StateView> {
    fn newest(&self) -> Result<Arc<dyn StateView>, StateError> {
        Ok(Self::clone(self))
    }
}

impl<S: StateView + 'static> StateSource for Arc<S> {
    fn newest(&self) -> Result<Arc<dyn StateView>, StateError> {
        Ok(Self::clone(self) as Arc<dyn StateView>)
    }
}

/// A state in memory that blocks are executed on and committed to.
///
/// ```
/// use lockweave_engine::{SharedState, StateSource};
/// use lockweave_runtime::{MemoryState, StateDelta};
///
/// let state = SharedState::new(MemoryState::new());
/// let before = state.newest()?;
/// state.commit(&StateDelta::default());
/// assert!(before.account(Default::default())?.is_none());
/// # Ok::<(), lockweave_runtime::StateError>(())
/// ```
#[derive(Debug, Default)]
pub struct SharedState(RwLock<Arc<MemoryState>>);

impl SharedState {
    /// Begins with this state.
    pub fn new(state: MemoryState) -> Self {
        Self(RwLock::new(Arc::new(state)))
    }

    /// Begins with the accounts of a genesis file.
    pub fn from_genesis(genesis: &Genesis) -> Self {
        let mut state = MemoryState::new();
        for (address, allocated) in &genesis.alloc {
            let code = Arc::new(Code::new(allocated.code.clone().unwrap_or_default()));
            let account = Account {
                nonce: allocated.nonce.unwrap_or_default(),
                balance: allocated.balance,
                code_hash: code.hash(),
            };
            state.insert_account(*address, account).insert_code(code);
            for (slot, value) in allocated.storage.iter().flatten() {
                state.insert_slot(*address, (*slot).into(), (*value).into());
            }
        }
        Self::new(state)
    }

    /// Applies a block's changes. Readers of the state before keep it: then it is copied.
    pub fn commit(&self, changes: &StateDelta) {
        Arc::make_mut(&mut self.0.write()).apply(changes);
    }
}

impl StateSource for SharedState {
    fn newest(&self) -> Result<Arc<dyn StateView>, StateError> {
        Ok(Arc::clone(&*self.0.read()) as Arc<dyn StateView>)
    }
}
