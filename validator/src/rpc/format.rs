//! Blocks, transactions, receipts and logs as JSON.

use crate::{
    chain::{ChainBlock, Envelope, fees},
    node::Node,
    pool::PooledTransaction,
};
use alloy_consensus::{Transaction as _, Typed2718, transaction::Recovered};
use alloy_primitives::{Address, B256, Bloom, U64, U128, U256};
use alloy_rlp::Encodable;
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Log, Transaction};
use lockweave_evm_adapter::EvmTransaction;
use lockweave_runtime::Receipt;
use serde::Serialize;

/// A transaction in JSON-RPC.
pub(crate) type RpcTransaction = Transaction<Envelope>;

pub(crate) fn transaction(block: &ChainBlock, index: usize) -> RpcTransaction {
    let transaction = &block.transactions[index];
    let envelope = transaction.envelope().clone();
    Transaction {
        effective_gas_price: Some(block.effective_gas_price(index)),
        inner: Recovered::new_unchecked(envelope, transaction.sender()),
        block_hash: Some(block.hash),
        block_number: Some(block.number()),
        transaction_index: Some(index as u64),
        block_timestamp: Some(block.header.timestamp),
    }
}

pub(crate) fn pending_transaction(pooled: &PooledTransaction) -> RpcTransaction {
    let envelope = pooled.transaction.envelope().clone();
    Transaction {
        inner: Recovered::new_unchecked(envelope, pooled.sender),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        // The maximum: the price it will pay is not known yet.
        effective_gas_price: Some(pooled.max_fee),
        block_timestamp: None,
    }
}

/// A block, with its transactions or their hashes.
pub(crate) fn block(block: &ChainBlock, full: bool) -> Block<RpcTransaction> {
    let transactions = if full {
        let all = (0..block.transactions.len()).map(|index| transaction(block, index));
        BlockTransactions::Full(all.collect())
    } else {
        let hashes = block.transactions.iter().map(EvmTransaction::hash);
        BlockTransactions::Hashes(hashes.collect())
    };
    let size = block.to_consensus().length();
    Block {
        header: Header {
            size: Some(U256::from(size)),
            ..header(block)
        },
        uncles: block
            .ommers
            .iter()
            .map(alloy_consensus::Header::hash_slow)
            .collect(),
        transactions,
        withdrawals: block.withdrawals.clone(),
    }
}

/// A header, as in notifications.
pub(crate) fn header(block: &ChainBlock) -> Header {
    Header {
        hash: block.hash,
        inner: block.header.clone(),
        total_difficulty: None,
        size: None,
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReceiptJson {
    block_hash: B256,
    block_number: U64,
    contract_address: Option<Address>,
    cumulative_gas_used: U64,
    effective_gas_price: U128,
    from: Address,
    gas_used: U64,
    logs: Vec<Log>,
    logs_bloom: Bloom,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<B256>,
    to: Option<Address>,
    transaction_hash: B256,
    transaction_index: U64,
    r#type: U64,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_gas_used: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_gas_price: Option<U128>,
    /// Why a transaction of type 0x44 was stopped; an extension of Lockweave.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<String>,
}

/// The receipt of a transaction.
pub(crate) fn receipt(node: &Node, block: &ChainBlock, index: usize) -> ReceiptJson {
    let receipt = &block.receipts[index];
    let transaction = &block.transactions[index];
    let envelope = transaction.envelope();
    let root = block.receipt_roots.get(index).copied();
    // Present even if the creation failed, as in geth.
    let contract_address =
        (envelope.is_create()).then(|| transaction.sender().create(envelope.nonce()));
    let blob_gas_used = envelope.blob_gas_used();
    let blob_gas_price =
        blob_gas_used.and_then(|_| fees::blob_base_fee(node.chain(), &block.header));
    ReceiptJson {
        block_hash: block.hash,
        block_number: U64::from(block.number()),
        contract_address,
        cumulative_gas_used: U64::from(receipt.cumulative_gas_used),
        effective_gas_price: U128::from(block.effective_gas_price(index)),
        from: transaction.sender(),
        gas_used: U64::from(receipt.gas_used),
        logs: logs(block, index, receipt).collect(),
        logs_bloom: receipt.bloom(),
        status: root.is_none().then(|| U64::from(receipt.succeeded)),
        root,
        to: envelope.to(),
        transaction_hash: transaction.hash(),
        transaction_index: U64::from(index),
        r#type: U64::from(envelope.ty()),
        blob_gas_used: blob_gas_used.map(U64::from),
        blob_gas_price: blob_gas_price.map(U128::from),
        failure_reason: block.failure(index).map(str::to_owned),
    }
}

/// The logs of a transaction.
pub(crate) fn logs<'b>(
    block: &'b ChainBlock,
    index: usize,
    receipt: &'b Receipt,
) -> impl Iterator<Item = Log> + 'b {
    let hash = block.transactions[index].hash();
    receipt
        .logs
        .iter()
        .enumerate()
        .map(move |(place, log)| Log {
            inner: log.clone(),
            block_hash: Some(block.hash),
            block_number: Some(block.number()),
            block_timestamp: Some(block.header.timestamp),
            transaction_hash: Some(hash),
            transaction_index: Some(index as u64),
            log_index: Some((receipt.first_log_index + place) as u64),
            removed: false,
        })
}
