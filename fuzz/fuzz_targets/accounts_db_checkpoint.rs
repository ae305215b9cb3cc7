//! The accounts database with any bytes in `index.checkpoint`.
#![no_main]

use libfuzzer_sys::fuzz_target;

include!("accounts_db_open.inc.rs");

fuzz_target!(|data: &[u8]| {
    open("index.checkpoint", data.to_vec());
    let mut bytes = data.to_vec();
    seal(&mut bytes, 0);
    open("index.checkpoint", bytes);
});
