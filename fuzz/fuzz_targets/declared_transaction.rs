//! Bytes as a transaction of type 0x44: they are refused, or the decoded transaction encodes to the same bytes and
//! has a valid access set.

#![no_main]

use alloy_consensus::transaction::SignerRecoverable;
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::Address;
use libfuzzer_sys::fuzz_target;
use lockweave_evm_adapter::{LockweaveTxEnvelope, TxDeclared};
use lockweave_runtime::{AccessMode, StateKey};

fuzz_target!(|bytes: &[u8]| {
    let Ok(envelope) = LockweaveTxEnvelope::decode_2718_exact(bytes) else {
        return;
    };
    assert_eq!(envelope.encoded_2718(), bytes);
    let _ = envelope.recover_signer();
    let Some(signed) = envelope.as_declared() else {
        return;
    };
    let sender = Address::repeat_byte(1);
    let set = signed
        .tx()
        .access_set(sender)
        .expect("decoding bounds the declaration");
    assert!(set.allows(&StateKey::account(sender), AccessMode::Write));
    // A declaration made from the set allows all of it again.
    let mut again = TxDeclared {
        nonce: signed.tx().nonce,
        to: signed.tx().to,
        value: signed.tx().value,
        input: signed.tx().input.clone(),
        ..TxDeclared::default()
    };
    again.declare(&set, sender, Address::repeat_byte(2));
    if let Ok(covered) = again.access_set(sender) {
        let fee = StateKey::account(Address::repeat_byte(2));
        for entry in set.entries() {
            let is_fee = entry.key == fee && entry.mode == AccessMode::Credit;
            assert!(
                is_fee || covered.allows(&entry.key, entry.mode),
                "{entry:?}"
            );
        }
    }
});
