//! Encoding vectors and access sets of transactions of type `0x44`.

use super::{LockweaveTxEnvelope, TxDeclared, recover_sender};
use alloy_consensus::SignableTransaction;
use alloy_eips::{
    eip2718::{Decodable2718, Encodable2718},
    eip2930::{AccessList, AccessListItem},
};
use alloy_primitives::{Address, B256, Signature, TxKind, U256, address, b256, hex, keccak256};
use lockweave_runtime::{AccessMode, AccessSet, AccessSetError, SIGNED_KEYS_MAX, StateKey};
use proptest::prelude::*;

/// The private key of the vectors.
const KEY: B256 = B256::repeat_byte(0x46);

fn sign(transaction: TxDeclared) -> LockweaveTxEnvelope {
    let key = secp256k1::SecretKey::from_secret_bytes(KEY.0).expect("a valid key");
    let hash = transaction.signature_hash();
    let message = secp256k1::Message::from_digest(hash.0);
    let signature = secp256k1::ecdsa::RecoverableSignature::sign_ecdsa_recoverable(message, &key);
    let (id, bytes) = signature.serialize_compact();
    let parity = secp256k1::ecdsa::RecoveryId::One == id;
    let signature = Signature::from_bytes_and_parity(&bytes, parity);
    transaction.into_signed(signature).into()
}

fn sample() -> TxDeclared {
    let list = |address, slots: &[u64]| AccessListItem {
        address,
        storage_keys: slots.iter().map(|slot| U256::from(*slot).into()).collect(),
    };
    TxDeclared {
        chain_id: 1337,
        nonce: 7,
        gas_limit: 100_000,
        max_fee_per_gas: 20_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(Address::repeat_byte(0x11)),
        value: U256::from(5),
        access_list: AccessList::default(),
        reads: AccessList(vec![list(Address::repeat_byte(0x22), &[1])]),
        writes: AccessList(vec![
            list(Address::repeat_byte(0x11), &[2, 3]),
            list(Address::repeat_byte(0x33), &[]),
        ]),
        credits: vec![Address::repeat_byte(0x44)],
        input: hex!("a9059cbb").into(),
    }
}

/// The sender of [`KEY`].
const SENDER: Address = address!("0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F");

#[test]
fn vectors_hold() {
    let unsigned = sample();
    let signed = sign(unsigned.clone());
    let bytes = signed.encoded_2718();
    assert_eq!(hex::encode(&bytes), VECTOR);
    assert_eq!(unsigned.signature_hash(), VECTOR_SIGNING_HASH);
    assert_eq!(*signed.tx_hash(), keccak256(&bytes));
    assert_eq!(recover_sender(&signed, true).expect("a signature"), SENDER);
    let decoded = LockweaveTxEnvelope::decode_2718_exact(&bytes).expect("sound bytes");
    assert_eq!(decoded, signed);
}

// Made with an independent RLP and secp256k1 (Python's `rlp` and `eth-keys`).
const VECTOR: &str = "\
    44f9013682053907843b9aca008504a817c800830186a0941111111111111111111111111111111111111111\
    0584a9059cbbc0f838f7942222222222222222222222222222222222222222e1a00000000000000000000000\
    000000000000000000000000000000000000000001f872f85994111111111111111111111111111111111111\
    1111f842a00000000000000000000000000000000000000000000000000000000000000002a0000000000000\
    0000000000000000000000000000000000000000000000000003d69433333333333333333333333333333333\
    33333333c0d594444444444444444444444444444444444444444401a073b030fd54f5d5d5d426fe5991ca95\
    bf1b27ccb00d4de48da49241caaf8c051ba04e135ff67afcea027568d7eb2137f8c2b65ebbfd9b97af0db170\
    ce9d2567652b";
const VECTOR_SIGNING_HASH: B256 =
    b256!("0x4caab8d1eed4256b4e2f4aeeccc5c7ed23425ac133aaa9ab64fc319d33001f41");

#[test]
fn entries_allow_what_the_table_says() {
    use AccessMode::{Credit, Read, Write};
    let set = sample().access_set(SENDER).expect("few keys");
    let [to, read, written, credited] = [0x11, 0x22, 0x33, 0x44].map(Address::repeat_byte);
    let expected = AccessSet::build(|set| {
        set.insert(StateKey::account(SENDER), Write)
            .insert(StateKey::code(SENDER), Read)
            .insert(StateKey::account(to), Credit)
            .insert(StateKey::code(to), Read)
            .insert(StateKey::slot(to, U256::from(2)), Write)
            .insert(StateKey::slot(to, U256::from(3)), Write)
            .insert(StateKey::code(read), Read)
            .insert(StateKey::slot(read, U256::from(1)), Read)
            .insert(StateKey::account(written), Write)
            .insert(StateKey::code(written), Write)
            .insert(StateKey::account(credited), Credit)
            .insert(StateKey::code(credited), Read);
    });
    assert_eq!(set, expected.expect("few keys"));
}

#[test]
fn long_declarations_are_refused() {
    let mut transaction = sample();
    transaction.credits = vec![Address::ZERO; SIGNED_KEYS_MAX + 1];
    assert!(matches!(
        transaction.access_set(SENDER),
        Err(AccessSetError::TooManyKeys {
            limit: SIGNED_KEYS_MAX,
            ..
        })
    ));
    let bytes = sign(transaction).encoded_2718();
    let error = LockweaveTxEnvelope::decode_2718_exact(&bytes).expect_err("too long");
    assert!(error.to_string().contains("4096"), "{error}");
}

#[test]
fn json_and_back() {
    let signed = sign(sample());
    let json = serde_json::to_value(&signed).expect("JSON");
    assert_eq!(json["type"], "0x44");
    assert_eq!(
        json["credits"][0],
        "0x4444444444444444444444444444444444444444"
    );
    let back: LockweaveTxEnvelope = serde_json::from_value(json).expect("JSON");
    assert_eq!(back, signed);
}

fn any_entry() -> impl Strategy<Value = (u8, u8, u8)> {
    (0_u8..6, 0_u8..5, 0_u8..3)
}

proptest! {
    /// A declaration made from a set allows all of the set.
    #[test]
    fn a_declaration_covers_the_set_it_was_made_from(
        entries in prop::collection::vec(any_entry(), 0..30),
        value in 0_u64..2,
        creates in any::<bool>(),
    ) {
        let beneficiary = Address::repeat_byte(5);
        let set = AccessSet::build(|set| {
            for (address, part, mode) in entries {
                let address = if address == 0 { SENDER } else { Address::repeat_byte(address) };
                let mode = [AccessMode::Read, AccessMode::Write, AccessMode::Credit][usize::from(mode)];
                let key = match part {
                    0 => StateKey::account(address),
                    1 => StateKey::code(address),
                    slot => StateKey::slot(address, U256::from(slot)),
                };
                if mode != AccessMode::Credit || part == 0 {
                    set.insert(key, mode);
                }
                // As every state ensures: a slot is accessed only together with its account's code.
                set.insert(StateKey::code(address), AccessMode::Read);
            }
        })
        .expect("few keys");
        let mut transaction = TxDeclared {
            to: if creates { TxKind::Create } else { TxKind::Call(Address::repeat_byte(1)) },
            value: U256::from(value),
            ..TxDeclared::default()
        };
        transaction.declare(&set, SENDER, beneficiary);
        let declared = transaction.access_set(SENDER).expect("few keys");
        for entry in set.entries() {
            let is_fee = entry.key == StateKey::account(beneficiary)
                && entry.mode == AccessMode::Credit;
            prop_assert!(
                is_fee || declared.allows(&entry.key, entry.mode),
                "{entry:?} is not in {transaction:?}"
            );
        }
    }

    /// Garbage is refused, and what is accepted encodes to the same bytes.
    #[test]
    fn decoding_is_the_inverse_of_encoding(
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = sign(sample()).encoded_2718();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        if let Ok(decoded) = LockweaveTxEnvelope::decode_2718_exact(&bytes) {
            prop_assert_eq!(decoded.encoded_2718(), bytes.clone());
        }
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(LockweaveTxEnvelope::decode_2718_exact(&bytes).is_err());
    }
}
