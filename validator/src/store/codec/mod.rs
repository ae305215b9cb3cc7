//! The encoding of a block with its receipts, as stored beside the state.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version: 3 |
//! | 4 | number of transactions, little-endian |
//! | 32 for each | the transactions' hashes, so that a chain can be opened without hashing all of them |
//! | rest | RLP list: header, transactions, uncles, withdrawals (none or one list), senders, receipts, receipt roots, access sets, failures |
//!
//! Derived values (the block's hash, cumulative gas, log indexes) are computed when a block is read. Versions
//! 1 and 2 had no hashes, version 1 no failures.

mod parts;

use super::index::IndexedBlock;
use crate::chain::{ChainBlock, Envelope, Failure};
use alloy_consensus::{Header, Typed2718};
use alloy_eips::eip4895::{Withdrawal, Withdrawals};
use alloy_primitives::{Address, B256, Bytes, Log, U256};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use lockweave_evm_adapter::EvmTransaction;
use lockweave_runtime::{
    AccessMode, AccessSet, AccessSetBuilder, INFERRED_KEYS_MAX, KeyPart, Receipt, StateKey,
};
use parts::{Parts, VERSION, hash_transactions};
use thiserror::Error;

/// Why stored bytes are not a block.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// Empty, or of a version that this program does not support.
    #[error(
        "stored block of unknown version {0:?}; it was written by another version of the program"
    )]
    Version(Option<u8>),
    /// Not the RLP of a block.
    #[error("stored block is damaged: {0}")]
    Rlp(#[from] alloy_rlp::Error),
    /// Its parts are inconsistent.
    #[error("stored block is damaged: {0}")]
    Inconsistent(&'static str),
}

#[derive(RlpEncodable)]
struct BlockRef<'b> {
    header: &'b Header,
    transactions: Vec<&'b Envelope>,
    ommers: &'b Vec<Header>,
    withdrawals: Vec<&'b Vec<Withdrawal>>,
    senders: Vec<Address>,
    receipts: Vec<ReceiptRef<'b>>,
    receipt_roots: &'b Vec<B256>,
    access: Vec<StoredSet>,
    failures: Vec<StoredFailure>,
}

#[derive(RlpEncodable)]
struct ReceiptRef<'b> {
    succeeded: bool,
    gas_used: u64,
    logs: &'b Vec<Log>,
    created: Bytes,
}

#[derive(RlpDecodable)]
#[rlp(trailing)]
struct StoredBlock {
    header: Header,
    transactions: Vec<Envelope>,
    ommers: Vec<Header>,
    withdrawals: Vec<Vec<Withdrawal>>,
    senders: Vec<Address>,
    receipts: Vec<StoredReceipt>,
    receipt_roots: Vec<B256>,
    access: Vec<StoredSet>,
    failures: Option<Vec<StoredFailure>>,
}

/// Why a transaction of type 0x44 was stopped.
#[derive(RlpEncodable, RlpDecodable)]
struct StoredFailure {
    index: u64,
    reason: String,
}

#[derive(RlpDecodable)]
struct StoredReceipt {
    succeeded: bool,
    gas_used: u64,
    logs: Vec<Log>,
    created: Bytes,
}

/// An access set: everything, or keys by account.
#[derive(RlpEncodable, RlpDecodable)]
struct StoredSet {
    everything: bool,
    accounts: Vec<StoredAccess>,
}

#[derive(RlpEncodable, RlpDecodable)]
struct StoredAccess {
    address: Address,
    /// Modes of nonce and balance, and of code; zero if not in the set.
    account: u8,
    code: u8,
    slots: Vec<StoredSlot>,
}

#[derive(RlpEncodable, RlpDecodable)]
struct StoredSlot {
    slot: U256,
    mode: u8,
}

const fn mode_number(mode: AccessMode) -> u8 {
    match mode {
        AccessMode::Read => 1,
        AccessMode::Credit => 2,
        AccessMode::Write => 3,
    }
}

const fn mode_of(number: u8) -> Result<AccessMode, CodecError> {
    match number {
        1 => Ok(AccessMode::Read),
        2 => Ok(AccessMode::Credit),
        3 => Ok(AccessMode::Write),
        _ => Err(CodecError::Inconsistent("an access mode that there is not")),
    }
}

fn store_set(set: &AccessSet) -> StoredSet {
    let mut accounts: Vec<StoredAccess> = Vec::new();
    for entry in set.entries() {
        let address = entry.key.address;
        if accounts.last().is_none_or(|last| last.address != address) {
            accounts.push(StoredAccess {
                address,
                account: 0,
                code: 0,
                slots: Vec::new(),
            });
        }
        let last = accounts.last_mut().expect("one was pushed");
        let mode = mode_number(entry.mode);
        match entry.key.part {
            KeyPart::Account => last.account = mode,
            KeyPart::Code => last.code = mode,
            KeyPart::Slot(slot) => last.slots.push(StoredSlot { slot, mode }),
        }
    }
    StoredSet {
        everything: matches!(set, AccessSet::Everything),
        accounts,
    }
}

fn load_set(stored: StoredSet) -> Result<AccessSet, CodecError> {
    if stored.everything {
        return Ok(AccessSet::Everything);
    }
    let mut set = AccessSetBuilder::default();
    for access in stored.accounts {
        let address = access.address;
        if access.account != 0 {
            set.insert(StateKey::account(address), mode_of(access.account)?);
        }
        if access.code != 0 {
            set.insert(StateKey::code(address), mode_of(access.code)?);
        }
        for slot in access.slots {
            set.insert(StateKey::slot(address, slot.slot), mode_of(slot.mode)?);
        }
    }
    set.finish(INFERRED_KEYS_MAX)
        .map_err(|_| CodecError::Inconsistent("an access set that cannot be"))
}

pub(crate) fn encode(block: &ChainBlock) -> Vec<u8> {
    let receipts = block.receipts.iter().map(|receipt| ReceiptRef {
        succeeded: receipt.succeeded,
        gas_used: receipt.gas_used,
        logs: &receipt.logs,
        created: receipt
            .created
            .map(|address| address.to_vec().into())
            .unwrap_or_default(),
    });
    let stored = BlockRef {
        header: &block.header,
        transactions: block
            .transactions
            .iter()
            .map(EvmTransaction::envelope)
            .collect(),
        ommers: &block.ommers,
        withdrawals: block
            .withdrawals
            .iter()
            .map(|withdrawals| &withdrawals.0)
            .collect(),
        senders: block
            .transactions
            .iter()
            .map(EvmTransaction::sender)
            .collect(),
        receipts: receipts.collect(),
        receipt_roots: &block.receipt_roots,
        access: block.access.iter().map(store_set).collect(),
        failures: (block.failures.iter())
            .map(|failure| StoredFailure {
                index: failure.index as u64,
                reason: failure.reason.clone(),
            })
            .collect(),
    };
    let count = block.transactions.len();
    let mut bytes = Vec::with_capacity(5 + 32 * count + stored.length());
    bytes.push(VERSION);
    let count = u32::try_from(count).expect("a block has fewer than 2^32 transactions");
    bytes.extend_from_slice(&count.to_le_bytes());
    for transaction in &block.transactions {
        bytes.extend_from_slice(transaction.hash().as_slice());
    }
    stored.encode(&mut bytes);
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Result<ChainBlock, CodecError> {
    let parts = Parts::of(bytes)?;
    let mut rest = parts.list;
    let stored = StoredBlock::decode(&mut rest)?;
    if !rest.is_empty() {
        return Err(CodecError::Inconsistent("bytes behind its end"));
    }
    let hashes = parts.hashes.map(<[_]>::len);
    if hashes.is_some_and(|hashes| hashes != stored.transactions.len()) {
        return Err(CodecError::Inconsistent("hashes do not match transactions"));
    }
    let counts = [stored.senders.len(), stored.receipts.len()];
    if counts != [stored.transactions.len(); 2] {
        return Err(CodecError::Inconsistent(
            "senders and receipts do not match transactions",
        ));
    }
    let mut withdrawals = stored.withdrawals.into_iter();
    let mut cumulative_gas_used = 0_u64;
    let mut first_log_index = 0;
    let mut receipts = Vec::with_capacity(stored.receipts.len());
    for (receipt, transaction) in stored.receipts.into_iter().zip(&stored.transactions) {
        cumulative_gas_used = cumulative_gas_used
            .checked_add(receipt.gas_used)
            .ok_or(CodecError::Inconsistent("gas beyond 64 bits"))?;
        let logs_count = receipt.logs.len();
        receipts.push(Receipt {
            transaction_type: transaction.ty(),
            succeeded: receipt.succeeded,
            gas_used: receipt.gas_used,
            cumulative_gas_used,
            first_log_index,
            logs: receipt.logs,
            created: Address::try_from(&receipt.created[..]).ok(),
        });
        first_log_index += logs_count;
    }
    Ok(ChainBlock {
        hash: stored.header.hash_slow(),
        header: stored.header,
        transactions: (stored.transactions.into_iter().zip(stored.senders))
            .map(|(envelope, sender)| EvmTransaction::new(envelope, sender))
            .collect(),
        ommers: stored.ommers,
        withdrawals: withdrawals.next().map(Withdrawals),
        receipts,
        receipt_roots: stored.receipt_roots,
        access: stored
            .access
            .into_iter()
            .map(load_set)
            .collect::<Result<_, _>>()?,
        failures: (stored.failures.into_iter().flatten())
            .map(load_failure)
            .collect::<Result<_, _>>()?,
    })
}

/// The index entry of an encoded block, and the hash of its parent. Decodes only the header and the
/// transaction hashes, because opening a chain reads all its blocks.
pub(super) fn decode_index(bytes: &[u8]) -> Result<(IndexedBlock, B256), CodecError> {
    let Parts { hashes, mut list } = Parts::of(bytes)?;
    let mut fields = alloy_rlp::Header::decode_bytes(&mut list, true)?;
    let header = Header::decode(&mut fields)?;
    let transactions = match hashes {
        Some(hashes) => hashes.iter().copied().map(B256::from).collect(),
        None => hash_transactions(&mut fields)?,
    };
    let indexed = IndexedBlock {
        number: header.number,
        hash: header.hash_slow(),
        bloom: header.logs_bloom,
        transactions,
    };
    Ok((indexed, header.parent_hash))
}

fn load_failure(stored: StoredFailure) -> Result<Failure, CodecError> {
    let beyond = |_| CodecError::Inconsistent("a failure of a transaction that there is not");
    Ok(Failure {
        index: usize::try_from(stored.index).map_err(beyond)?,
        reason: stored.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::{SignableTransaction, TxEip1559, TxLegacy};
    use alloy_primitives::{LogData, Signature};
    use lockweave_runtime::INFERRED_KEYS_MAX;

    fn block() -> ChainBlock {
        let unsigned = TxEip1559 {
            chain_id: 9,
            gas_limit: 50_000,
            input: vec![1, 2, 3].into(),
            ..TxEip1559::default()
        };
        let signature = Signature::new(U256::from(1), U256::from(2), true);
        let envelope = Envelope::from(unsigned.into_signed(signature));
        let sender = Address::repeat_byte(3);
        let mut set = AccessSetBuilder::default();
        set.insert(StateKey::account(sender), AccessMode::Write)
            .insert(StateKey::account(Address::ZERO), AccessMode::Credit)
            .read_slot(Address::repeat_byte(8), U256::MAX);
        let header = Header {
            number: 5,
            base_fee_per_gas: Some(7),
            withdrawals_root: Some(B256::ZERO),
            ..Header::default()
        };
        ChainBlock {
            hash: header.hash_slow(),
            header,
            transactions: vec![
                EvmTransaction::new(envelope.clone(), sender),
                EvmTransaction::new(envelope, sender),
            ],
            ommers: vec![Header::default()],
            withdrawals: Some(Withdrawals(vec![Withdrawal::default()])),
            receipts: vec![
                Receipt {
                    transaction_type: 2,
                    succeeded: true,
                    gas_used: 21_000,
                    cumulative_gas_used: 21_000,
                    first_log_index: 0,
                    logs: vec![Log {
                        address: sender,
                        data: LogData::new_unchecked(vec![B256::ZERO], vec![5; 40].into()),
                    }],
                    created: Some(Address::repeat_byte(4)),
                },
                Receipt {
                    transaction_type: 2,
                    succeeded: false,
                    gas_used: 1,
                    cumulative_gas_used: 21_001,
                    first_log_index: 1,
                    logs: Vec::new(),
                    created: None,
                },
            ],
            receipt_roots: Vec::new(),
            access: vec![
                set.finish(INFERRED_KEYS_MAX).unwrap(),
                AccessSet::Everything,
            ],
            failures: vec![Failure {
                index: 1,
                reason: "needs a key".to_owned(),
            }],
        }
    }

    /// The block in a version without hashes.
    fn encode_without_hashes(block: &ChainBlock) -> Vec<u8> {
        let bytes = encode(block);
        let list = Parts::of(&bytes).unwrap().list;
        [&[2], list].concat()
    }

    #[test]
    fn the_second_version_is_still_read() {
        let block = block();
        let older = encode_without_hashes(&block);
        let read = decode(&older).unwrap();
        assert_eq!(read.hash, block.hash);
        assert_eq!(read.failures, block.failures);
        let (indexed, _) = decode_index(&older).unwrap();
        assert_eq!(indexed, IndexedBlock::from(&block));
    }

    #[test]
    fn hashes_that_are_too_few_are_damage() {
        let mut block = block();
        let one = encode(&ChainBlock {
            transactions: vec![block.transactions.remove(0)],
            ..block.clone()
        });
        let mut bytes = one[..5 + 32].to_vec();
        bytes.extend_from_slice(Parts::of(&encode(&self::block())).unwrap().list);
        assert!(matches!(decode(&bytes), Err(CodecError::Inconsistent(_))));
    }

    #[test]
    fn the_first_version_is_still_read() {
        let block = block();
        let bytes = encode_without_hashes(&block);
        // The same list, without its last item.
        let mut body = &bytes[1..];
        let header = alloy_rlp::Header::decode(&mut body).unwrap();
        let last = alloy_rlp::encode(vec![StoredFailure {
            index: 1,
            reason: block.failures[0].reason.clone(),
        }]);
        let kept = &body[..header.payload_length - last.len()];
        let mut older = vec![1];
        let payload_length = kept.len();
        alloy_rlp::Header {
            list: true,
            payload_length,
        }
        .encode(&mut older);
        older.extend_from_slice(kept);
        let read = decode(&older).unwrap();
        assert_eq!(read.access, block.access);
        assert!(read.failures.is_empty());
    }

    #[test]
    fn what_is_stored_is_what_is_read() {
        let block = block();
        let read = decode(&encode(&block)).unwrap();
        assert_eq!(read.hash, block.hash);
        assert_eq!(read.header, block.header);
        assert_eq!(read.receipts, block.receipts);
        assert_eq!(read.access, block.access);
        assert_eq!(read.failures, block.failures);
        assert_eq!(read.withdrawals, block.withdrawals);
        assert_eq!(read.ommers, block.ommers);
        assert_eq!(
            read.transactions[1].envelope(),
            block.transactions[1].envelope()
        );
        assert_eq!(
            read.transactions[1].sender(),
            block.transactions[1].sender()
        );
    }

    #[test]
    fn the_index_is_that_of_the_whole_block() {
        let mut block = block();
        let legacy =
            TxLegacy::default().into_signed(Signature::new(U256::from(1), U256::from(2), false));
        let legacy = EvmTransaction::new(Envelope::from(legacy), Address::ZERO);
        let receipt = block.receipts[1].clone();
        block.transactions.push(legacy);
        block.receipts.push(receipt);
        for bytes in [encode(&block), encode_without_hashes(&block)] {
            let (indexed, parent) = decode_index(&bytes).unwrap();
            assert_eq!(indexed, IndexedBlock::from(&block));
            assert_eq!(parent, block.header.parent_hash);
        }
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = encode(&block());
        assert_eq!(decode(&[]).unwrap_err(), CodecError::Version(None));
        assert_eq!(
            decode(&[9, 0xc0]).unwrap_err(),
            CodecError::Version(Some(9))
        );
        for cut in 1..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
