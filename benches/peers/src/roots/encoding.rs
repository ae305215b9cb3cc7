//! Keys and values of the stores that take bytes. Hashing the keys is part of a block's work, so it is spread over
//! the threads.

use alloy_consensus::{EMPTY_ROOT_HASH, TrieAccount};
use alloy_primitives::{B256, U256, keccak256};
use lockweave_runtime::Account;
use std::{num::NonZeroUsize, thread};

/// An account as Ethereum's trie has it, with an empty storage root.
pub(super) fn account_value(account: &Account) -> Vec<u8> {
    alloy_rlp::encode(TrieAccount {
        nonce: account.nonce,
        balance: account.balance,
        storage_root: EMPTY_ROOT_HASH,
        code_hash: account.code_hash,
    })
}

/// A slot's value as Ethereum's trie has it.
pub(super) fn slot_value(value: U256) -> Vec<u8> {
    alloy_rlp::encode(value)
}

/// The hash of a slot's number.
pub(super) fn slot_hash(slot: U256) -> B256 {
    keccak256(slot.to_be_bytes::<32>())
}

/// What `convert` makes of each part of the items, on this many threads, in the order of the items.
pub(super) fn in_parallel<T: Sync, R: Send>(
    threads: NonZeroUsize,
    items: &[T],
    convert: impl Fn(&[T]) -> Vec<R> + Sync,
) -> Vec<R> {
    let part = items.len().div_ceil(threads.get()).max(1);
    thread::scope(|scope| {
        let mut parts = items.chunks(part);
        let first = parts.next().unwrap_or(&[]);
        let running: Vec<_> = parts.map(|part| scope.spawn(|| convert(part))).collect();
        let mut converted = convert(first);
        for part in running {
            converted.extend(part.join().expect("encoding does not panic"));
        }
        converted
    })
}
