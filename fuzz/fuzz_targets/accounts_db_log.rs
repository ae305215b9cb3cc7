//! The accounts database with any bytes in `log.0`.
#![no_main]

use libfuzzer_sys::fuzz_target;

include!("accounts_db_open.inc.rs");

fuzz_target!(|data: &[u8]| {
    open("log.0", data.to_vec());
    let mut bytes = data.to_vec();
    seal(&mut bytes, 4096);
    open("log.0", bytes);
});
