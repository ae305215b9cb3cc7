//! Transactions that sign what they touch: EIP-2718 type `0x44`.
//!
//! ```text
//! 0x44 || rlp([chain_id, nonce, max_priority_fee_per_gas, max_fee_per_gas, gas_limit, to, value, data,
//!              access_list, reads, writes, credits, y_parity, r, s])
//! ```
//!
//! The first nine fields are those of EIP-1559, and mean the same. `reads` and `writes` have the form of
//! an EIP-2930 list, `credits` is a list of addresses. The hash that is signed is Keccak-256 of the type
//! and the fields without the signature, as EIP-2718 transactions have it.
//!
//! What an entry allows:
//!
//! | entry | account (nonce and balance) | code | slots |
//! | --- | --- | --- | --- |
//! | `reads` `[a, [s, …]]` | | read | read |
//! | `reads` `[a, []]` | read | read | |
//! | `writes` `[a, [s, …]]` | | read | written |
//! | `writes` `[a, []]` | written | written, unless `a` stands in `reads` | |
//! | `credits` `a` | credited | read | |
//! | the sender | written | read | |
//! | the recipient | credited, if ether is sent or no data is | read | |
//! | the contract a creation makes | written | written | |
//! | the block's beneficiary | credited | | |
//!
//! The last four need no entry. A contract that pays ether out, say, stands in `reads` and, without
//! slots, in `writes`; one that creates a contract lists the new address in `writes`. Delegations
//! (EIP-7702) are followed, so the delegate's code is to be read.
//!
//! **Undeclared access** fails the transaction: nonce and the whole gas limit are charged as if it had
//! run out of gas, and everything else it did is undone. Since the declaration is part of what was
//! signed, the outcome is the same wherever the transaction runs.
//!
//! **Gas**: every entry is charged and warms what it names as an EIP-2930 entry does; so are those of
//! `credits`, as addresses without slots.

use alloy_consensus::{
    SignableTransaction, Transaction,
    transaction::{RlpEcdsaDecodableTx, RlpEcdsaEncodableTx},
};
use alloy_eips::{
    Typed2718,
    eip2718::IsTyped2718,
    eip2930::{AccessList, AccessListItem},
    eip7702::SignedAuthorization,
};
use alloy_primitives::{Address, B256, Bytes, ChainId, Signature, TxKind, U256};
use alloy_rlp::{BufMut, Decodable, Encodable};
use lockweave_runtime::{
    AccessEntry, AccessMode, AccessSet, AccessSetBuilder, AccessSetError, KeyPart, SIGNED_KEYS_MAX,
    StateKey,
};
use serde::{Deserialize, Serialize};

/// The EIP-2718 type of [`TxDeclared`].
pub const DECLARED_TX_TYPE: u8 = 0x44;

/// A transaction that states what it touches. See the [module](self) for what its fields allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TxDeclared {
    /// EIP-155 chain id.
    #[serde(with = "alloy_serde::quantity")]
    pub chain_id: ChainId,
    /// Transactions the sender has sent before.
    #[serde(with = "alloy_serde::quantity")]
    pub nonce: u64,
    /// The most gas it may use.
    #[serde(with = "alloy_serde::quantity", rename = "gas", alias = "gasLimit")]
    pub gas_limit: u64,
    /// The most wei it pays for a unit of gas, tip included.
    #[serde(with = "alloy_serde::quantity")]
    pub max_fee_per_gas: u128,
    /// The most wei of that that go to the beneficiary.
    #[serde(with = "alloy_serde::quantity")]
    pub max_priority_fee_per_gas: u128,
    /// Whom it calls; nobody, to create a contract.
    #[serde(default)]
    pub to: TxKind,
    /// Ether sent along, in wei.
    pub value: U256,
    /// What is warm from the start (EIP-2930). Allows nothing.
    #[serde(default)]
    pub access_list: AccessList,
    /// What may be looked at.
    pub reads: AccessList,
    /// What may be changed.
    pub writes: AccessList,
    /// Whose balance may be increased.
    pub credits: Vec<Address>,
    /// Data of the call, or the new contract's init code.
    pub input: Bytes,
}

impl TxDeclared {
    /// How many entries the lists of the declaration have: addresses and slots.
    pub fn declared_entries(&self) -> usize {
        let entries = |list: &AccessList| -> usize {
            let slots: usize = list.0.iter().map(|item| item.storage_keys.len()).sum();
            list.0.len() + slots
        };
        entries(&self.reads) + entries(&self.writes) + self.credits.len()
    }

    /// What it may touch when `sender` sends it, but for the block's beneficiary.
    ///
    /// At most [`SIGNED_KEYS_MAX`] keys.
    pub fn access_set(&self, sender: Address) -> Result<AccessSet, AccessSetError> {
        if self.declared_entries() > SIGNED_KEYS_MAX {
            return Err(AccessSetError::TooManyKeys {
                keys: self.declared_entries(),
                limit: SIGNED_KEYS_MAX,
            });
        }
        let mut set = AccessSetBuilder::default();
        for AccessListItem {
            address,
            storage_keys,
        } in &self.reads.0
        {
            set.insert(StateKey::code(*address), AccessMode::Read);
            if storage_keys.is_empty() {
                set.insert(StateKey::account(*address), AccessMode::Read);
            }
            insert_slots(&mut set, *address, storage_keys, AccessMode::Read);
        }
        for AccessListItem {
            address,
            storage_keys,
        } in &self.writes.0
        {
            if storage_keys.is_empty() {
                let called = self.reads.0.iter().any(|read| read.address == *address);
                let code = if called {
                    AccessMode::Read
                } else {
                    AccessMode::Write
                };
                set.insert(StateKey::code(*address), code);
                set.insert(StateKey::account(*address), AccessMode::Write);
            } else {
                set.insert(StateKey::code(*address), AccessMode::Read);
            }
            insert_slots(&mut set, *address, storage_keys, AccessMode::Write);
        }
        for address in &self.credits {
            set.insert(StateKey::account(*address), AccessMode::Credit);
            set.insert(StateKey::code(*address), AccessMode::Read);
        }
        set.insert(StateKey::account(sender), AccessMode::Write);
        set.insert(StateKey::code(sender), AccessMode::Read);
        match self.to {
            TxKind::Call(recipient) => {
                set.insert(StateKey::code(recipient), AccessMode::Read);
                if !self.value.is_zero() || self.input.is_empty() {
                    set.insert(StateKey::account(recipient), AccessMode::Credit);
                }
            }
            TxKind::Create => {
                let created = sender.create(self.nonce);
                set.insert(StateKey::account(created), AccessMode::Write);
                set.insert(StateKey::code(created), AccessMode::Write);
            }
        }
        // The implicit keys are few and do not count.
        set.finish(SIGNED_KEYS_MAX + IMPLICIT_KEYS_MAX + self.declared_entries())
    }

    /// Declares what `set` holds, as shortly as the lists can say it; what needs no entry gets none.
    /// The lists may allow more than the set, never less.
    ///
    /// `set` is what the transaction was seen or is expected to touch when `sender` sends it in a block
    /// that pays `beneficiary`.
    pub fn declare(&mut self, set: &AccessSet, sender: Address, beneficiary: Address) {
        self.reads = AccessList::default();
        self.writes = AccessList::default();
        self.credits.clear();
        let implicit = self
            .access_set(sender)
            .unwrap_or_else(|_| AccessSet::empty());
        let fee = StateKey::account(beneficiary);
        let entries = set.entries();
        for keys in entries.chunk_by(|left, right| left.key.address == right.key.address) {
            let missing: Vec<_> = keys
                .iter()
                .filter(|entry| !implicit.allows(&entry.key, entry.mode))
                .filter(|entry| entry.key != fee || entry.mode != AccessMode::Credit)
                .collect();
            self.declare_account(keys[0].key.address, &missing);
        }
    }

    fn declare_account(&mut self, address: Address, entries: &[&AccessEntry]) {
        let mode = |part| {
            let entry = entries.iter().find(|entry| entry.key.part == part);
            entry.map(|entry| entry.mode)
        };
        let (account, code) = (mode(KeyPart::Account), mode(KeyPart::Code));
        let slots = |mode| -> Vec<B256> {
            let entries = entries.iter().filter(|entry| entry.mode == mode);
            let slots = entries.filter_map(|entry| match entry.key.part {
                KeyPart::Slot(slot) => Some(B256::from(slot)),
                _ => None,
            });
            slots.collect()
        };
        let mut written = slots(AccessMode::Write);
        let mut read = slots(AccessMode::Read);
        let rewrites_code = code == Some(AccessMode::Write);
        if rewrites_code {
            // An account in `reads` could not have its code written.
            written.append(&mut read);
        }
        let item = |storage_keys| AccessListItem {
            address,
            storage_keys,
        };
        let (slots_read, slots_written) = (!read.is_empty(), !written.is_empty());
        if slots_read {
            self.reads.0.push(item(read));
        }
        if slots_written {
            self.writes.0.push(item(written));
        }
        if rewrites_code || account == Some(AccessMode::Write) {
            self.writes.0.push(item(Vec::new()));
        }
        let credited = account == Some(AccessMode::Credit) && !rewrites_code;
        if credited {
            self.credits.push(address);
        }
        // Without an entry in `reads`, a written account may have its code written too.
        let calls_written = !rewrites_code && account == Some(AccessMode::Write) && !slots_read;
        let only_read = account == Some(AccessMode::Read) && !rewrites_code;
        let only_called =
            code == Some(AccessMode::Read) && !slots_read && !slots_written && !credited;
        if calls_written || only_read || only_called {
            self.reads.0.push(item(Vec::new()));
        }
    }

    /// Everything that is warm from the start, and charged for, in one list.
    pub fn warm_list(&self) -> AccessList {
        let credits = self.credits.iter().map(|address| AccessListItem {
            address: *address,
            storage_keys: Vec::new(),
        });
        let lists = [&self.access_list, &self.reads, &self.writes];
        let items = lists.into_iter().flat_map(|list| list.0.iter().cloned());
        AccessList(items.chain(credits).collect())
    }
}

/// Keys that need no entry: sender, recipient or created contract.
const IMPLICIT_KEYS_MAX: usize = 4;

fn insert_slots(set: &mut AccessSetBuilder, address: Address, slots: &[B256], mode: AccessMode) {
    for slot in slots {
        set.insert(StateKey::slot(address, (*slot).into()), mode);
    }
}

impl RlpEcdsaEncodableTx for TxDeclared {
    fn rlp_encoded_fields_length(&self) -> usize {
        self.chain_id.length()
            + self.nonce.length()
            + self.max_priority_fee_per_gas.length()
            + self.max_fee_per_gas.length()
            + self.gas_limit.length()
            + self.to.length()
            + self.value.length()
            + self.input.0.length()
            + self.access_list.length()
            + self.reads.length()
            + self.writes.length()
            + self.credits.length()
    }

    fn rlp_encode_fields(&self, out: &mut dyn BufMut) {
        self.chain_id.encode(out);
        self.nonce.encode(out);
        self.max_priority_fee_per_gas.encode(out);
        self.max_fee_per_gas.encode(out);
        self.gas_limit.encode(out);
        self.to.encode(out);
        self.value.encode(out);
        self.input.0.encode(out);
        self.access_list.encode(out);
        self.reads.encode(out);
        self.writes.encode(out);
        self.credits.encode(out);
    }
}

impl RlpEcdsaDecodableTx for TxDeclared {
    const DEFAULT_TX_TYPE: u8 = DECLARED_TX_TYPE;

    fn rlp_decode_fields(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let transaction = Self {
            chain_id: Decodable::decode(buf)?,
            nonce: Decodable::decode(buf)?,
            max_priority_fee_per_gas: Decodable::decode(buf)?,
            max_fee_per_gas: Decodable::decode(buf)?,
            gas_limit: Decodable::decode(buf)?,
            to: Decodable::decode(buf)?,
            value: Decodable::decode(buf)?,
            input: Decodable::decode(buf)?,
            access_list: Decodable::decode(buf)?,
            reads: Decodable::decode(buf)?,
            writes: Decodable::decode(buf)?,
            credits: Decodable::decode(buf)?,
        };
        if transaction.declared_entries() > SIGNED_KEYS_MAX {
            return Err(alloy_rlp::Error::Custom(
                "the declaration has more than 4096 addresses and slots; declare fewer or split \
                 the transaction",
            ));
        }
        Ok(transaction)
    }
}

impl Transaction for TxDeclared {
    fn chain_id(&self) -> Option<ChainId> {
        Some(self.chain_id)
    }

    fn nonce(&self) -> u64 {
        self.nonce
    }

    fn gas_limit(&self) -> u64 {
        self.gas_limit
    }

    fn gas_price(&self) -> Option<u128> {
        None
    }

    fn max_fee_per_gas(&self) -> u128 {
        self.max_fee_per_gas
    }

    fn max_priority_fee_per_gas(&self) -> Option<u128> {
        Some(self.max_priority_fee_per_gas)
    }

    fn max_fee_per_blob_gas(&self) -> Option<u128> {
        None
    }

    fn priority_fee_or_price(&self) -> u128 {
        self.max_priority_fee_per_gas
    }

    fn effective_gas_price(&self, base_fee: Option<u64>) -> u128 {
        alloy_eips::eip1559::calc_effective_gas_price(
            self.max_fee_per_gas,
            self.max_priority_fee_per_gas,
            base_fee,
        )
    }

    fn is_dynamic_fee(&self) -> bool {
        true
    }

    fn kind(&self) -> TxKind {
        self.to
    }

    fn is_create(&self) -> bool {
        self.to.is_create()
    }

    fn value(&self) -> U256 {
        self.value
    }

    fn input(&self) -> &Bytes {
        &self.input
    }

    fn access_list(&self) -> Option<&AccessList> {
        Some(&self.access_list)
    }

    fn blob_versioned_hashes(&self) -> Option<&[B256]> {
        None
    }

    fn authorization_list(&self) -> Option<&[SignedAuthorization]> {
        None
    }
}

impl Typed2718 for TxDeclared {
    fn ty(&self) -> u8 {
        DECLARED_TX_TYPE
    }
}

impl IsTyped2718 for TxDeclared {
    fn is_type(type_id: u8) -> bool {
        type_id == DECLARED_TX_TYPE
    }
}

impl SignableTransaction<Signature> for TxDeclared {
    fn set_chain_id(&mut self, chain_id: ChainId) {
        self.chain_id = chain_id;
    }

    fn encode_for_signing(&self, out: &mut dyn BufMut) {
        out.put_u8(DECLARED_TX_TYPE);
        self.encode(out);
    }

    fn payload_len_for_signature(&self) -> usize {
        self.length() + 1
    }
}

impl Encodable for TxDeclared {
    fn encode(&self, out: &mut dyn BufMut) {
        self.rlp_encode(out);
    }

    fn length(&self) -> usize {
        self.rlp_encoded_length()
    }
}

impl Decodable for TxDeclared {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        Self::rlp_decode(buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::{LockweaveTxEnvelope, recover_sender};
    use alloy_eips::eip2718::{Decodable2718, Encodable2718};
    use alloy_primitives::{address, b256, hex, keccak256};
    use proptest::prelude::*;

    /// The private key of the vectors.
    const KEY: B256 = B256::repeat_byte(0x46);

    fn sign(transaction: TxDeclared) -> LockweaveTxEnvelope {
        let key = secp256k1::SecretKey::from_secret_bytes(KEY.0).expect("a valid key");
        let hash = transaction.signature_hash();
        let message = secp256k1::Message::from_digest(hash.0);
        let signature =
            secp256k1::ecdsa::RecoverableSignature::sign_ecdsa_recoverable(message, &key);
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
                    // As every state sees to: who holds a slot holds the code.
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
}
