//! Checks accesses against the declaration that a transaction signed.

use alloy_primitives::Address;
use lockweave_runtime::{AccessMode, AccessSet, AccessSetError, StateKey, UndeclaredAccess};
use std::sync::Arc;

/// The declaration that a transaction signed, and the block's beneficiary.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) declared: Arc<Result<AccessSet, AccessSetError>>,
    pub(crate) beneficiary: Address,
}

impl Limits {
    /// Checks that the declaration allows an access. The fee needs no entry.
    pub(crate) fn check(&self, key: &StateKey, needed: AccessMode) -> Result<(), UndeclaredAccess> {
        let held = match &*self.declared {
            Ok(set) => set.mode(key),
            Err(_) => None,
        };
        let is_fee = needed == AccessMode::Credit && *key == StateKey::account(self.beneficiary);
        if is_fee || held.is_some_and(|held| held.allows(needed)) {
            return Ok(());
        }
        Err(UndeclaredAccess {
            transaction: None,
            key: *key,
            needed,
            held,
        })
    }
}
