//! Parts of an encoded block, found without decoding all of it.

use super::CodecError;
use alloy_primitives::{B256, keccak256};

/// The version that is written.
pub(super) const VERSION: u8 = 3;
/// The oldest version that is read.
const OLDEST_VERSION: u8 = 1;
/// The first version with hashes.
const HASHES_VERSION: u8 = 3;

/// The hashes before the list, if the version has them, and the list.
pub(super) struct Parts<'b> {
    pub(super) hashes: Option<&'b [[u8; 32]]>,
    pub(super) list: &'b [u8],
}

impl<'b> Parts<'b> {
    pub(super) fn of(bytes: &'b [u8]) -> Result<Self, CodecError> {
        let Some((&version @ OLDEST_VERSION..=VERSION, rest)) = bytes.split_first() else {
            return Err(CodecError::Version(bytes.first().copied()));
        };
        if version < HASHES_VERSION {
            return Ok(Self {
                hashes: None,
                list: rest,
            });
        }
        let cut = || CodecError::Inconsistent("it ends within the hashes");
        let (count, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u64::from(u32::from_le_bytes(*count)) * 32;
        let length = usize::try_from(length).map_err(|_| cut())?;
        let (hashes, list) = rest.split_at_checked(length).ok_or_else(cut)?;
        Ok(Self {
            hashes: Some(hashes.as_chunks().0),
            list,
        })
    }
}

/// Computes the hashes of a list of transactions, and skips the list.
pub(super) fn hash_transactions(fields: &mut &[u8]) -> Result<Vec<B256>, CodecError> {
    let mut encoded = alloy_rlp::Header::decode_bytes(fields, true)?;
    let mut hashes = Vec::new();
    while !encoded.is_empty() {
        hashes.push(transaction_hash(&mut encoded)?);
    }
    Ok(hashes)
}

/// Computes the hash of the next transaction of a list, and skips it.
fn transaction_hash(encoded: &mut &[u8]) -> Result<B256, CodecError> {
    let begin = *encoded;
    let header = alloy_rlp::Header::decode(encoded)?;
    let (payload, rest) = encoded
        .split_at_checked(header.payload_length)
        .ok_or(alloy_rlp::Error::InputTooShort)?;
    *encoded = rest;
    // A typed transaction is a string of bytes; a legacy one is a list, and hashed as one (EIP-2718).
    let hashed = if header.list {
        &begin[..begin.len() - rest.len()]
    } else {
        payload
    };
    Ok(keccak256(hashed))
}
