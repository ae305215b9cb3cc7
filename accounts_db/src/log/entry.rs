//! Entries, of which a record consists.
//!
//! An entry begins with 12 bytes: CRC-32C of the rest of the entry (4), kind (1), zero (1),
//! location of the key's previous version (6). Numbers are little-endian; balances, slots and slot
//! values are big-endian words, as in the EVM. The length of an entry is a multiple of 16.

use super::{
    key::{Key, KeyHasher},
    location::{LOCATION_BITS, Location},
};
use alloy_primitives::{Address, B256, U256};
use lockweave_runtime::Account;
use std::ops::Range;

/// Bytes before an entry's body.
pub(crate) const HEAD_BYTES: usize = 12;
/// The longest entry without a blob.
pub(crate) const FIXED_BYTES_MAX: usize = 192;
/// Bytes before an entry's blob.
pub(crate) const BLOB_HEAD_BYTES: usize = 48;
/// The longest blob.
pub(crate) const BLOB_BYTES_MAX: u64 = 1 << 30;

/// Bytes of an account record: nonce 8, balance 32, code hash 32, flags and slot count 8.
pub(crate) const ACCOUNT_BYTES: usize = 80;
/// Bytes of a slot's value.
pub(crate) const WORD_BYTES: usize = 32;
const ADDRESS_BYTES: usize = 20;
const SLOT_KEY_BYTES: usize = ADDRESS_BYTES + WORD_BYTES;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A slot's value: of a new key, or (with a previous location) moved by compaction.
    SlotPut = 1,
    /// A slot's value and the one before it.
    SlotUpdate = 2,
    /// An account's record: of a new key, or moved by compaction.
    AccountPut = 3,
    /// An account's record and the one before it.
    AccountUpdate = 4,
    /// The index forgets a tombstone; the body is its key's hash.
    Drop = 5,
    /// Code: new, or moved.
    Code = 6,
    /// A block's payload: new, or moved by compaction.
    Payload = 7,
    /// The hash of a block before the database's first.
    Ancestor = 8,
}

impl Kind {
    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::SlotPut,
            2 => Self::SlotUpdate,
            3 => Self::AccountPut,
            4 => Self::AccountUpdate,
            5 => Self::Drop,
            6 => Self::Code,
            7 => Self::Payload,
            8 => Self::Ancestor,
            _ => return None,
        })
    }

    /// Bytes of an entry of this kind, without its blob.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::SlotPut => 96,
            Self::SlotUpdate => 128,
            Self::AccountPut => 112,
            Self::AccountUpdate => FIXED_BYTES_MAX,
            Self::Drop => 32,
            Self::Code | Self::Payload => BLOB_HEAD_BYTES,
            Self::Ancestor => 64,
        }
    }

    pub(crate) const fn has_blob(self) -> bool {
        matches!(self, Self::Code | Self::Payload)
    }
}

const _: () = assert!(HEAD_BYTES + SLOT_KEY_BYTES + WORD_BYTES == Kind::SlotPut.bytes());
const _: () = assert!(HEAD_BYTES + SLOT_KEY_BYTES + 2 * WORD_BYTES == Kind::SlotUpdate.bytes());
const _: () = assert!(HEAD_BYTES + ADDRESS_BYTES + ACCOUNT_BYTES == Kind::AccountPut.bytes());
const _: () =
    assert!(HEAD_BYTES + ADDRESS_BYTES + 2 * ACCOUNT_BYTES == Kind::AccountUpdate.bytes());

/// An account as the database stores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountRecord {
    /// The account, if it exists.
    pub(crate) account: Option<Account>,
    /// Number of its nonzero slots.
    pub(crate) slots: u64,
}

impl AccountRecord {
    /// Whether there is nothing to store.
    pub(crate) const fn is_tombstone(&self) -> bool {
        self.account.is_none() && self.slots == 0
    }

    fn to_bytes(self) -> [u8; ACCOUNT_BYTES] {
        let mut bytes = [0; ACCOUNT_BYTES];
        if let Some(account) = &self.account {
            bytes[..8].copy_from_slice(&account.nonce.to_le_bytes());
            bytes[8..40].copy_from_slice(&account.balance.to_be_bytes::<32>());
            bytes[40..72].copy_from_slice(account.code_hash.as_slice());
        }
        let flags = (self.slots << 1) | u64::from(self.account.is_some());
        bytes[72..].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let flags = u64::from_le_bytes(array(&bytes[72..80]));
        let account = (flags & 1 == 1).then(|| Account {
            nonce: u64::from_le_bytes(array(&bytes[..8])),
            balance: U256::from_be_slice(&bytes[8..40]),
            code_hash: B256::from_slice(&bytes[40..72]),
        });
        Self {
            account,
            slots: flags >> 1,
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

/// The value of an account or a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Account(AccountRecord),
    Slot(U256),
}

impl Value {
    /// The word of a slot; zero if it was never written.
    pub(crate) const fn word(value: Option<Self>) -> U256 {
        match value {
            Some(Self::Slot(word)) => word,
            _ => U256::ZERO,
        }
    }

    /// The record of an account; empty if it was never written.
    pub(crate) fn record(value: Option<Self>) -> AccountRecord {
        match value {
            Some(Self::Account(record)) => record,
            _ => AccountRecord::default(),
        }
    }

    /// Whether the key reads as if it was never written.
    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            Self::Account(record) => record.is_tombstone(),
            Self::Slot(value) => value.is_zero(),
        }
    }

    /// Bytes that compaction writes to move it while it is the newest version; 0 for a tombstone,
    /// which is dropped.
    pub(crate) fn live_bytes(&self) -> u64 {
        if self.is_tombstone() {
            0
        } else {
            self.move_bytes()
        }
    }

    /// Bytes that compaction writes to move it.
    pub(crate) const fn move_bytes(&self) -> u64 {
        match self {
            Self::Account(_) => Kind::AccountPut.bytes() as u64,
            Self::Slot(_) => Kind::SlotPut.bytes() as u64,
        }
    }
}

/// The parsed body of an entry, without its blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A key's value, and its previous value unless the entry is new or moved.
    Value {
        key: Key,
        value: Value,
        before: Option<Value>,
    },
    Drop {
        hash: u64,
    },
    Code {
        hash: B256,
        bytes: u64,
    },
    Payload {
        number: u64,
        bytes: u64,
    },
    Ancestor {
        number: u64,
        hash: B256,
    },
}

/// A parsed entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) previous: Location,
    pub(crate) body: Body,
    /// Its length, blob and padding included.
    pub(crate) bytes: u64,
}

/// Length of a blob entry.
pub(crate) const fn blob_entry_bytes(blob: u64) -> u64 {
    (BLOB_HEAD_BYTES as u64 + blob).next_multiple_of(16)
}

/// Begins an entry in `out`; [`finish`] completes it.
fn start(out: &mut Vec<u8>, kind: Kind, previous: Location) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind as u8);
    out.push(0);
    out.extend_from_slice(&previous.units().to_le_bytes()[..6]);
    at
}

fn finish(out: &mut [u8], at: usize) {
    let sum = crc32c::crc32c(&out[at + 4..]);
    out[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Appends a key's value: an update with `before`; without it, a new or moved value.
pub(crate) fn write_value(
    out: &mut Vec<u8>,
    previous: Location,
    key: &Key,
    value: &Value,
    before: Option<&Value>,
) {
    let kind = match (key, before.is_some()) {
        (Key::Slot(..), false) => Kind::SlotPut,
        (Key::Slot(..), true) => Kind::SlotUpdate,
        (_, false) => Kind::AccountPut,
        (_, true) => Kind::AccountUpdate,
    };
    let at = start(out, kind, previous);
    match key {
        Key::Account(address) => out.extend_from_slice(address.as_slice()),
        Key::Slot(address, slot) => {
            out.extend_from_slice(address.as_slice());
            out.extend_from_slice(slot.as_slice());
        }
        Key::Code(_) => unreachable!("code has no versions"),
    }
    for value in [Some(value), before].into_iter().flatten() {
        match value {
            Value::Account(record) => out.extend_from_slice(&record.to_bytes()),
            Value::Slot(word) => out.extend_from_slice(&word.to_be_bytes::<32>()),
        }
    }
    debug_assert_eq!(out.len() - at, kind.bytes(), "key and value go together");
    finish(out, at);
}

/// Appends an entry that drops a tombstone.
pub(crate) fn write_drop(out: &mut Vec<u8>, previous: Location, hash: u64) {
    let at = start(out, Kind::Drop, previous);
    out.extend_from_slice(&hash.to_le_bytes());
    out.resize(at + Kind::Drop.bytes(), 0);
    finish(out, at);
}

/// Appends code.
pub(crate) fn write_code(out: &mut Vec<u8>, previous: Location, hash: B256, code: &[u8]) {
    let at = start(out, Kind::Code, previous);
    out.extend_from_slice(&u32_len(code).to_le_bytes());
    out.extend_from_slice(hash.as_slice());
    write_blob(out, at, code);
}

/// Appends a block's payload.
pub(crate) fn write_payload(out: &mut Vec<u8>, previous: Location, number: u64, payload: &[u8]) {
    let at = start(out, Kind::Payload, previous);
    out.extend_from_slice(&u32_len(payload).to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.resize(at + BLOB_HEAD_BYTES, 0);
    write_blob(out, at, payload);
}

fn u32_len(blob: &[u8]) -> u32 {
    u32::try_from(blob.len()).expect("blobs are bounded by BLOB_BYTES_MAX")
}

fn write_blob(out: &mut Vec<u8>, at: usize, blob: &[u8]) {
    out.extend_from_slice(blob);
    out.resize(at + (out.len() - at).next_multiple_of(16), 0);
    finish(out, at);
}

/// Appends the hash of an earlier block.
pub(crate) fn write_ancestor(out: &mut Vec<u8>, number: u64, hash: B256) {
    let at = start(out, Kind::Ancestor, Location::NONE);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(hash.as_slice());
    out.resize(at + Kind::Ancestor.bytes(), 0);
    finish(out, at);
}

/// The kind of the first entry in `bytes`.
pub(crate) fn kind(bytes: &[u8]) -> Result<Kind, &'static str> {
    match bytes.get(4..6) {
        Some([kind, 0]) => Kind::from_byte(*kind).ok_or("an entry has an unknown kind"),
        Some(_) => Err("an entry's reserved byte is not zero"),
        None => Err("an entry is cut short"),
    }
}

/// Length of the first entry in `bytes`, which must contain its head.
pub(crate) fn length(bytes: &[u8]) -> Result<u64, &'static str> {
    let kind = kind(bytes)?;
    if !kind.has_blob() {
        return Ok(kind.bytes() as u64);
    }
    let length = bytes
        .get(HEAD_BYTES..HEAD_BYTES + 4)
        .ok_or("an entry is cut short")?;
    let blob = u64::from(u32::from_le_bytes(array(length)));
    if blob > BLOB_BYTES_MAX {
        return Err("a blob is longer than any");
    }
    Ok(blob_entry_bytes(blob))
}

/// Checks the checksum of the entry that `bytes` contains exactly.
pub(crate) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let expected = u32::from_le_bytes(array(bytes.get(..4).ok_or("an entry is cut short")?));
    if crc32c::crc32c(&bytes[4..]) == expected {
        Ok(())
    } else {
        Err("an entry has the wrong checksum")
    }
}

/// Takes the entry at the front of `bytes` apart and checks it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Entry, &'static str> {
    let kind = kind(bytes)?;
    let length = length(bytes)?;
    let end = usize::try_from(length).map_err(|_| "an entry is longer than memory")?;
    let entry = bytes.get(..end).ok_or("an entry is cut short")?;
    check(entry)?;
    parse_checked(kind, entry, length)
}

/// Parses an entry whose checksum was checked.
fn parse_checked(kind: Kind, entry: &[u8], length: u64) -> Result<Entry, &'static str> {
    let body = parse_body(kind, &entry[HEAD_BYTES..]);
    let previous = previous(entry);
    if previous.units() >> LOCATION_BITS != 0 {
        return Err("an entry has a location out of range");
    }
    Ok(Entry {
        previous,
        body,
        bytes: length,
    })
}

/// Parses an entry without its blob. The caller has checked the checksum.
pub(crate) fn parse_fixed(bytes: &[u8]) -> Result<Entry, &'static str> {
    let kind = kind(bytes)?;
    if bytes.len() < kind.bytes() {
        return Err("an entry is cut short");
    }
    parse_checked(kind, bytes, length(bytes)?)
}

/// The value of the entry in `bytes`, if the entry has this kind, is a version of this key, and its
/// checksum is right.
#[inline]
pub(crate) fn value_of(kind: Kind, bytes: &[u8], key: &Key) -> Option<Value> {
    let body = bytes.get(HEAD_BYTES..kind.bytes())?;
    let value = match (kind, key) {
        (Kind::SlotPut | Kind::SlotUpdate, Key::Slot(address, slot)) => {
            let is_version_of = body[..ADDRESS_BYTES] == address[..]
                && body[ADDRESS_BYTES..SLOT_KEY_BYTES] == slot[..];
            let word = array::<WORD_BYTES>(&body[SLOT_KEY_BYTES..SLOT_KEY_BYTES + WORD_BYTES]);
            is_version_of.then(|| Value::Slot(U256::from_be_bytes(word)))?
        }
        (Kind::AccountPut | Kind::AccountUpdate, Key::Account(address)) => {
            let record = &body[ADDRESS_BYTES..ADDRESS_BYTES + ACCOUNT_BYTES];
            (body[..ADDRESS_BYTES] == address[..])
                .then(|| Value::Account(AccountRecord::from_bytes(record)))?
        }
        _ => return None,
    };
    check(bytes).is_ok().then_some(value)
}

/// The location of the previous version; `entry` must contain the head.
pub(crate) fn previous(entry: &[u8]) -> Location {
    let mut units = [0; 8];
    units[..6].copy_from_slice(&entry[6..HEAD_BYTES]);
    Location::from_units(u64::from_le_bytes(units))
}

fn parse_body(kind: Kind, body: &[u8]) -> Body {
    match kind {
        Kind::SlotPut | Kind::SlotUpdate => {
            let key = Key::Slot(
                Address::from_slice(&body[..ADDRESS_BYTES]),
                B256::from_slice(&body[ADDRESS_BYTES..SLOT_KEY_BYTES]),
            );
            let word = |at: usize| Value::Slot(U256::from_be_slice(&body[at..at + WORD_BYTES]));
            Body::Value {
                key,
                value: word(SLOT_KEY_BYTES),
                before: (kind == Kind::SlotUpdate).then(|| word(SLOT_KEY_BYTES + WORD_BYTES)),
            }
        }
        Kind::AccountPut | Kind::AccountUpdate => {
            let key = Key::Account(Address::from_slice(&body[..ADDRESS_BYTES]));
            let record = |at: usize| {
                Value::Account(AccountRecord::from_bytes(&body[at..at + ACCOUNT_BYTES]))
            };
            Body::Value {
                key,
                value: record(ADDRESS_BYTES),
                before: (kind == Kind::AccountUpdate)
                    .then(|| record(ADDRESS_BYTES + ACCOUNT_BYTES)),
            }
        }
        Kind::Drop => Body::Drop {
            hash: u64::from_le_bytes(array(&body[..8])),
        },
        Kind::Code => Body::Code {
            hash: B256::from_slice(&body[4..36]),
            bytes: u64::from(u32::from_le_bytes(array(&body[..4]))),
        },
        Kind::Payload => Body::Payload {
            number: u64::from_le_bytes(array(&body[4..12])),
            bytes: u64::from(u32::from_le_bytes(array(&body[..4]))),
        },
        Kind::Ancestor => Body::Ancestor {
            number: u64::from_le_bytes(array(&body[..8])),
            hash: B256::from_slice(&body[8..40]),
        },
    }
}

/// The range of the blob in its entry.
pub(crate) fn blob_range(body: &Body) -> Range<usize> {
    let bytes = match body {
        Body::Code { bytes, .. } | Body::Payload { bytes, .. } => *bytes,
        Body::Value { .. } | Body::Drop { .. } | Body::Ancestor { .. } => 0,
    };
    let end = BLOB_HEAD_BYTES + usize::try_from(bytes).unwrap_or(usize::MAX);
    BLOB_HEAD_BYTES..end
}

/// The hash under which the index has an entry; `None` if the index does not have it.
pub(crate) fn index_hash(hasher: &KeyHasher, body: &Body) -> Option<u64> {
    match body {
        Body::Value { key, .. } => Some(hasher.hash(key)),
        Body::Drop { hash } => Some(*hash),
        Body::Code { hash, .. } => Some(hasher.hash(&Key::Code(*hash))),
        Body::Payload { .. } | Body::Ancestor { .. } => None,
    }
}

/// Checks an entry and returns its [`index_hash`], without parsing it.
pub(crate) fn checked_hash(hasher: &KeyHasher, bytes: &[u8]) -> Result<Option<u64>, &'static str> {
    let kind = kind(bytes)?;
    if bytes.len() < kind.bytes() {
        return Err("an entry is cut short");
    }
    check(bytes)?;
    let body = &bytes[HEAD_BYTES..];
    Ok(match kind {
        Kind::SlotPut | Kind::SlotUpdate => {
            Some(hasher.slot(&body[..ADDRESS_BYTES], &body[ADDRESS_BYTES..SLOT_KEY_BYTES]))
        }
        Kind::AccountPut | Kind::AccountUpdate => Some(hasher.account(&body[..ADDRESS_BYTES])),
        Kind::Drop | Kind::Code => index_hash(hasher, &parse_body(kind, body)),
        Kind::Payload | Kind::Ancestor => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were_written() {
        let address = Address::repeat_byte(7);
        let record = AccountRecord {
            account: Some(Account {
                nonce: 3,
                balance: U256::from(5),
                code_hash: B256::repeat_byte(9),
            }),
            slots: 77,
        };
        let values = [
            (Key::Account(address), Value::Account(record), None),
            (
                Key::Account(address),
                Value::Account(record),
                Some(Value::Account(AccountRecord::default())),
            ),
            (
                Key::slot(address, U256::from(1)),
                Value::Slot(U256::MAX),
                None,
            ),
            (
                Key::slot(address, U256::MAX),
                Value::Slot(U256::ZERO),
                Some(Value::Slot(U256::from(2))),
            ),
        ];
        for (key, value, before) in values {
            let mut out = Vec::new();
            let previous = Location::from_units((1 << LOCATION_BITS) - 1);
            write_value(&mut out, previous, &key, &value, before.as_ref());
            let entry = parse(&out).expect("a sound entry");
            assert_eq!(entry.previous, previous);
            assert_eq!(entry.bytes, out.len() as u64);
            assert_eq!(entry.body, Body::Value { key, value, before });
            let hasher = KeyHasher::new([3; 16]);
            let hash = index_hash(&hasher, &entry.body);
            assert_eq!(checked_hash(&hasher, &out), Ok(hash));
            for bit in 0..out.len() * 8 {
                let mut flipped = out.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(parse(&flipped).is_err(), "bit {bit} flipped unseen");
                assert!(checked_hash(&hasher, &flipped).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn blobs_are_padded_and_checked() {
        for bytes in [0, 1, 15, 16, 17, 1000] {
            let mut out = Vec::new();
            let code = vec![0xfe; bytes];
            write_code(&mut out, Location::NONE, B256::repeat_byte(1), &code);
            assert_eq!(out.len() % 16, 0);
            let entry = parse(&out).expect("a sound entry");
            assert_eq!(entry.bytes, out.len() as u64);
            let mut flipped = out.clone();
            *flipped.last_mut().expect("not empty") ^= 1;
            assert!(parse(&flipped).is_err());
        }
    }
}
