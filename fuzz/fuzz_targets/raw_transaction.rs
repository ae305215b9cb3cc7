//! Any bytes as a raw transaction sent to a node.
//!
//! `fuzz/run 60 raw_transaction`

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockweave_evm_adapter::{ChainSpec, SpecId};
use lockweave_validator::pool::{Admission, PoolConfig, validate};
use std::sync::{Arc, LazyLock};

static ADMISSION: LazyLock<Admission> = LazyLock::new(|| {
    let chain = Arc::new(ChainSpec::single_fork(1337, SpecId::PRAGUE));
    Admission::new(chain, 1, 0, 1_000_000_000)
});

fuzz_target!(|bytes: &[u8]| {
    let validated = validate(&ADMISSION, &PoolConfig::default(), &[bytes]);
    assert_eq!(validated.len(), 1);
    for transaction in validated.into_iter().flatten() {
        assert!(transaction.size <= bytes.len());
        assert!(transaction.cost >= transaction.transaction.env().value);
    }
});
