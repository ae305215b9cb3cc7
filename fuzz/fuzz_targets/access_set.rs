//! Accesses in any order, any mode and any number: an access set that is sorted, unique, bounded and
//! allows each of them, or an error.

#![no_main]

use alloy_primitives::{Address, U256};
use libfuzzer_sys::fuzz_target;
use lockweave_runtime::{AccessMode, AccessSetBuilder, AccessSetError, StateKey};

const KEYS_MAX: usize = 24;

fuzz_target!(|bytes: &[u8]| {
    let mut builder = AccessSetBuilder::default();
    let mut inserted = Vec::new();
    for access in bytes.chunks_exact(3) {
        let address = Address::repeat_byte(access[0] % 8);
        let key = match access[1] % 8 {
            0 => StateKey::account(address),
            1 => StateKey::code(address),
            slot => StateKey::slot(address, U256::from(slot)),
        };
        let modes = [AccessMode::Read, AccessMode::Write, AccessMode::Credit];
        let mode = modes[usize::from(access[2]) % modes.len()];
        builder.insert(key, mode);
        inserted.push((key, mode));
    }
    match builder.finish(KEYS_MAX) {
        Ok(set) => {
            let entries = set.entries();
            assert!(entries.len() <= KEYS_MAX);
            assert!(entries.windows(2).all(|pair| pair[0].key < pair[1].key));
            assert!(inserted.iter().all(|(key, mode)| set.allows(key, *mode)));
        }
        Err(AccessSetError::TooManyKeys { keys, limit }) => assert!(keys > limit),
        Err(AccessSetError::CreditWithoutBalance { key }) => {
            assert!(inserted.contains(&(key, AccessMode::Credit)));
        }
    }
    // The builder is empty again.
    let rest = builder.finish(KEYS_MAX);
    assert!(rest.is_ok_and(|set| set.entries().is_empty()));
});
