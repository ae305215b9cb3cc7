//! The state root of a simulated block.

use crate::{
    chain::{ChainBlock, merkle_state::MerkleState},
    rpc::{context::RpcContext, message::RpcError, scratch::Scene},
    store::{ChainStore, StoreError},
};
use alloy_primitives::{Address, B256, U256};
use lockweave_accounts_db::lattice::{Lattice, LatticeChange};
use lockweave_runtime::{Account, MemoryState, StateDelta};
use revm::{
    database::{AccountState, DbAccount},
    primitives::hardfork::SpecId,
};

/// Computes the state root in the form that the chain's headers use: a trie root, or this node's own commitment.
pub(crate) enum SimulatedRoot<'c> {
    /// Another client made the chain.
    Merkle(MerkleState),
    /// This node made the chain.
    Own(OwnCommitment<'c>),
    /// The state is too large to iterate over. Roots are zero.
    Unknown,
}

impl<'c> SimulatedRoot<'c> {
    /// Starts after the block that the simulation is based on.
    pub(crate) fn after(context: &'c RpcContext, base: &ChainBlock) -> Result<Self, RpcError> {
        let store = context.node.store();
        let (head, genesis) = (store.head(), &context.node.parameters().genesis);
        // A genesis has a trie root; the blocks that this node makes after it do not.
        let is_new = head.number() == genesis.number.unwrap_or_default();
        if is_new || head.header.state_root == store.commitment() {
            return Ok(Self::Own(OwnCommitment {
                store,
                base: base.number(),
                summed: None,
            }));
        }
        let Some(state) = whole_state(store, base.number())? else {
            return Ok(Self::Unknown);
        };
        let merkle = MerkleState::of(state);
        Ok(if merkle.root() == base.header.state_root {
            Self::Merkle(merkle)
        } else {
            Self::Unknown
        })
    }

    /// The root of the current state of the simulation.
    pub(crate) fn root(&mut self, scene: &Scene) -> Result<B256, RpcError> {
        // Changes of earlier simulated blocks are included again, with their current values.
        match self {
            Self::Merkle(merkle) => {
                merkle.apply(&changes(scene));
                Ok(merkle.root())
            }
            Self::Own(own) => own.commitment(&changes(scene)),
            Self::Unknown => Ok(B256::ZERO),
        }
    }
}

/// This node's commitment to a simulated state.
pub(crate) struct OwnCommitment<'c> {
    store: &'c dyn ChainStore,
    /// Number of the block that the simulation is based on.
    base: u64,
    /// The whole simulated state, if the store cannot compute the commitment.
    summed: Option<MemoryState>,
}

impl OwnCommitment<'_> {
    /// The commitment with all changes since the base.
    fn commitment(&mut self, delta: &StateDelta) -> Result<B256, RpcError> {
        if self.summed.is_none() {
            // On the newest block the store computes it without reading the rest of the state. A prepared
            // commit that is dropped has no effect.
            match self.store.prepare(self.base + 1, delta.clone()) {
                Ok(prepared) => return Ok(prepared.commitment()),
                Err(StoreError::NotNext { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            self.summed = whole_state(self.store, self.base)?;
        }
        let Some(state) = &mut self.summed else {
            return Ok(B256::ZERO);
        };
        state.apply(delta);
        let mut sum = LatticeChange::default();
        for (address, account) in state.accounts() {
            sum.account(address, None, Some(account));
            for (slot, value) in state.slots(address) {
                sum.slot(address, slot.into(), U256::ZERO, value);
            }
        }
        let mut lattice = Lattice::default();
        lattice.apply(&sum);
        Ok(lattice.commitment())
    }
}

/// The state after a block; `None` if it is too large.
fn whole_state(store: &dyn ChainStore, number: u64) -> Result<Option<MemoryState>, RpcError> {
    match store.whole_state_at(number) {
        Ok(state) => Ok(Some(state)),
        Err(StoreError::StateTooLarge { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Everything that the simulation changed or read, with its current value.
fn changes(scene: &Scene) -> StateDelta {
    let clears_empty = scene.config.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
    let mut delta = StateDelta::default();
    for (address, account) in &scene.scratch.cache.accounts {
        let live = live_account(account, clears_empty);
        delta.accounts.push((*address, live));
        add_storage(&mut delta, *address, account);
    }
    delta
}

/// The account; `None` if there is none or it is empty (EIP-161).
fn live_account(account: &DbAccount, clears_empty: bool) -> Option<Account> {
    let info = account.info()?;
    if clears_empty && info.is_empty() {
        return None;
    }
    Some(Account {
        nonce: info.nonce,
        balance: info.balance,
        code_hash: info.code_hash,
    })
}

fn add_storage(delta: &mut StateDelta, address: Address, account: &DbAccount) {
    if matches!(
        account.account_state,
        AccountState::StorageCleared | AccountState::NotExisting
    ) {
        delta.cleared.push(address);
    }
    if account.account_state != AccountState::NotExisting {
        let slots = account.storage.iter();
        (delta.slots).extend(slots.map(|(slot, value)| (address, *slot, *value)));
    }
}
