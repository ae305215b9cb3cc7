//! From revm's accounts to a transaction's write set.

use super::database::Loaded;
use alloy_primitives::{Address, KECCAK256_EMPTY};
use lockweave_runtime::{AccountValue, Code, CodeRef, Credit, WriteSet};
use revm::{primitives::hardfork::SpecId, state::Account};
use std::sync::Arc;

/// Adds the changes of one account to the write set.
pub(super) fn collect(
    writes: &mut WriteSet,
    spec: SpecId,
    address: Address,
    account: &Account,
    loaded: &Loaded,
) {
    if !account.is_touched() && !account.is_selfdestructed() && !account.is_created() {
        return;
    }
    let Some(before) = loaded.observed else {
        // Debits read the account first, so there are only credits.
        let amount = account.info.balance;
        if !amount.is_zero() || loaded.code_hash == KECCAK256_EMPTY {
            writes.credits.push(Credit { address, amount });
        }
        collect_slots(writes, address, account);
        return;
    };
    if account.is_selfdestructed() {
        let gone = AccountValue::default();
        if before != gone {
            writes.accounts.push((address, gone));
        }
        if loaded.code_hash != KECCAK256_EMPTY {
            writes.codes.push((address, CodeRef::EMPTY));
        }
        writes.cleared.push(address);
        return;
    }
    // EIP-161 removes what was touched and is empty; before it, a touch was enough to exist.
    let clear_empty = spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
    let after = AccountValue {
        balance: account.info.balance,
        nonce: account.info.nonce,
        exists: !(clear_empty && account.info.is_empty()),
    };
    if after != before {
        writes.accounts.push((address, after));
    }
    if account.info.code_hash != loaded.code_hash {
        let code = account.info.code.as_ref().map(|code| {
            let bytes = code.original_bytes();
            CodeRef::new(Arc::new(Code::with_hash(account.info.code_hash, bytes)))
        });
        writes.codes.push((address, code.unwrap_or_default()));
    }
    if account.is_created() {
        writes.cleared.push(address);
    }
    collect_slots(writes, address, account);
}

fn collect_slots(writes: &mut WriteSet, address: Address, account: &Account) {
    let slots = account.changed_storage_slots();
    writes
        .slots
        .extend(slots.map(|(slot, value)| (address, *slot, value.present_value)));
}
