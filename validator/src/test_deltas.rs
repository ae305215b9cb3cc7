//! Random changes of a small state, for tests.

use alloy_primitives::{Address, U256};
use lockweave_runtime::{Account, StateDelta};
use proptest::prelude::*;

/// Changes of accounts with repeated bytes below 6, and of their slots below 4.
pub(crate) fn delta() -> impl Strategy<Value = StateDelta> {
    let accounts = prop::collection::btree_map(0_u8..6, prop::option::of(1_u64..100), 0..5);
    let slots = prop::collection::btree_map((0_u8..6, 0_u64..4), 0_u64..3, 0..9);
    let cleared = prop::collection::btree_set(0_u8..6, 0..2);
    (accounts, slots, cleared).prop_map(|(accounts, slots, cleared)| StateDelta {
        accounts: (accounts.into_iter())
            .map(|(byte, balance)| {
                let account = balance.map(|balance| Account {
                    balance: U256::from(balance),
                    ..Account::default()
                });
                (Address::repeat_byte(byte), account)
            })
            .collect(),
        cleared: cleared.into_iter().map(Address::repeat_byte).collect(),
        slots: (slots.into_iter())
            .map(|((byte, slot), value)| {
                let address = Address::repeat_byte(byte);
                (address, U256::from(slot), U256::from(value))
            })
            .collect(),
        codes: Vec::new(),
    })
}
