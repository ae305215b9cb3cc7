//! What a simulation changed, for the state roots of its blocks.

use crate::rpc::scratch::Scene;
use alloy_primitives::Address;
use lockweave_runtime::{Account, StateDelta};
use revm::{
    database::{AccountState, DbAccount},
    primitives::hardfork::SpecId,
};

/// Everything that the simulation changed or read, with its current value.
pub(crate) fn changes(scene: &Scene) -> StateDelta {
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
