//! The system contract that holds the validators: where it is, and its storage.
//!
//! Its source is `validator/contracts/src/Validators.sol`. The layout is fixed: nodes and light clients read the
//! storage, no code.

use alloy_primitives::{Address, B256, U256, address, keccak256};

/// The contract's address in every network.
pub const ADDRESS: Address = address!("4c6f636b77656176650000000000000000000001");

/// The slot of the account that may change the validators.
pub const OWNER: B256 = slot(0);
/// The slot of the number of changes so far.
pub const CHANGES: B256 = slot(2);
/// The slot of the network's id.
pub const NETWORK: B256 = slot(3);
/// The slot of the number of validators.
pub const KEY_COUNT: B256 = slot(4);
/// The slot number of the map from keys to members.
const MEMBERS: B256 = slot(5);

const fn slot(number: u8) -> B256 {
    let mut bytes = [0; 32];
    bytes[31] = number;
    B256::new(bytes)
}

/// The slot of a validator's key.
pub fn key_slot(index: u64) -> B256 {
    let first = U256::from_be_bytes(keccak256(KEY_COUNT).0);
    first.wrapping_add(U256::from(index)).into()
}

/// The first of the two slots of a validator: from the low end its account (20 bytes), its port (2) and its position
/// among the keys, counted from 1 (4). The second one has its IP address as 16 bytes at the low end.
pub fn member_slot(key: &[u8; 32]) -> B256 {
    keccak256([*key, MEMBERS.0].concat())
}

/// The slot after another one.
pub fn next_slot(slot: B256) -> B256 {
    U256::from_be_bytes(slot.0).wrapping_add(U256::ONE).into()
}
