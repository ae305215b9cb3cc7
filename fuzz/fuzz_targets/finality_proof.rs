//! JSON of finality proofs: none makes parsing or checking panic, and none is accepted but the one that the validators signed.
//!
//! The corpus has that proof, so the fuzzer changes it.

#![no_main]

use alloy_primitives::{B256, hex};
use libfuzzer_sys::{Corpus, fuzz_target};
use lockweave_finality::{FinalityProof, Network, ValidatorSet};
use std::sync::LazyLock;

/// The validators of the proof in the corpus.
static VALIDATORS: LazyLock<ValidatorSet> = LazyLock::new(|| {
    let keys = [
        hex!("478b8e507e0bb2b18c0f9e0824769e8562d10df9abe2e774896f82b4b4405266"),
        hex!("5925ba86e2189444a6c3b437b25d2ef35daecd1abf82c5fb36060f9fc0af428c"),
        hex!("ec8924090e507c2d8371d2fb0bf965d553e6e5756aeec6c274df3801cf2b49b9"),
        hex!("edd0f6de342a1e6a7236d6244f23d83eedfcecd059a386c85055701498e77033"),
    ];
    let network = Network {
        id: B256::repeat_byte(0x11),
        epoch_blocks: 10_000.try_into().expect("not zero"),
    };
    ValidatorSet::new(network, keys).expect("four keys")
});
/// The proof that they signed.
static SIGNED: LazyLock<FinalityProof> = LazyLock::new(|| {
    let json = include_str!("../../finality/tests/proof.json");
    serde_json::from_str(json).expect("a proof")
});

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(proof) = serde_json::from_slice::<FinalityProof>(data) else {
        return Corpus::Keep;
    };
    if proof.verify(&VALIDATORS).is_ok() {
        // A proof without its first headers proves a later block.
        assert_eq!(proof.certificate, SIGNED.certificate);
        assert!(SIGNED.headers.ends_with(&proof.headers));
    }
    let text = serde_json::to_vec(&proof).expect("a proof is JSON");
    let again: FinalityProof = serde_json::from_slice(&text).expect("its own JSON");
    assert_eq!(again, proof);
    Corpus::Keep
});
