//! Blocks of known sets, for tests.

use alloy_primitives::Address;
use lockweave_runtime::{
    AccessMode, AccessSet, Declaration, MemoryState, OpenBlock, Sanitized, StateKey, StateRules,
};
use std::sync::Arc;

const RULES: StateRules = StateRules {
    clear_empty_accounts: true,
};

pub(super) fn block_of(sets: &[&[(u8, AccessMode)]]) -> OpenBlock<()> {
    let sanitized = |accesses: &&[(u8, AccessMode)]| Sanitized {
        transaction: (),
        access: AccessSet::build(|set| {
            for (account, mode) in *accesses {
                set.insert(StateKey::account(Address::repeat_byte(*account)), *mode);
            }
        })
        .unwrap(),
        declaration: Declaration::Recorded,
    };
    let transactions = sets.iter().map(sanitized).collect();
    OpenBlock::new(Arc::new(MemoryState::new()), RULES, transactions)
}
