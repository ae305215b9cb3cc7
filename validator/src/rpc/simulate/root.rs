//! The state root of a simulated block.

use crate::{
    chain::{ChainBlock, merkle_state::MerkleState},
    rpc::{context::RpcContext, error::RpcError, evm::Scene},
    store::StoreError,
};
use alloy_primitives::{Address, B256};
use lockweave_runtime::{Account, StateDelta};
use revm::{
    database::{AccountState, DbAccount},
    primitives::hardfork::SpecId,
};

/// Follows the trie of a simulation's state, where the chain's headers commit to one.
///
/// On a chain whose headers hold this node's own commitment, a simulated header's `stateRoot` is
/// zero: nothing of the simulation is kept that one could hold it against.
pub(super) struct SimulatedRoot(Option<MerkleState>);

impl SimulatedRoot {
    /// The trie after the block that the simulation starts from.
    pub(super) fn after(context: &RpcContext, base: &ChainBlock) -> Result<Self, RpcError> {
        let store = context.node.store();
        if store.head().header.state_root == store.commitment() {
            return Ok(Self(None));
        }
        let state = match store.whole_state_at(base.number()) {
            Ok(state) => state,
            Err(StoreError::StateTooLarge { .. }) => return Ok(Self(None)),
            Err(error) => return Err(error.into()),
        };
        let merkle = MerkleState::of(state);
        Ok(Self(
            (merkle.root() == base.header.state_root).then_some(merkle),
        ))
    }

    /// The root of the simulation's state as it is now.
    pub(super) fn root(&mut self, scene: &Scene) -> B256 {
        let Some(merkle) = &mut self.0 else {
            return B256::ZERO;
        };
        // What was changed in earlier blocks of the simulation is in here again, as it is now.
        merkle.apply(&changes(scene));
        merkle.root()
    }
}

/// Everything a simulation has changed or looked at, as it is now.
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

/// The account in the state's form; `None` where there is none, or an empty one (EIP-161).
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
        delta.wiped.push(address);
    }
    if account.account_state != AccountState::NotExisting {
        let slots = account.storage.iter();
        (delta.slots).extend(slots.map(|(slot, value)| (address, *slot, *value)));
    }
}
