//! Receipts in Ethereum's form, and what a header says of them.

use alloy_consensus::{
    Eip658Value, Receipt as ConsensusReceipt, ReceiptEnvelope, ReceiptWithBloom, TxType,
    proofs::calculate_receipt_root,
};
use alloy_primitives::{B256, Bloom};
use lockweave_runtime::Receipt;

/// A receipt as EIP-658 and EIP-2718 have it.
///
/// Returns `None` for a transaction type that Ethereum does not have.
pub fn envelope(receipt: &Receipt) -> Option<ReceiptEnvelope> {
    envelope_with(receipt, Eip658Value::Eip658(receipt.succeeded))
}

/// A receipt as it was before Byzantium: with the state's root after the transaction in place of a
/// status.
///
/// Returns `None` for a transaction type that Ethereum does not have.
pub fn envelope_with_root(receipt: &Receipt, root: B256) -> Option<ReceiptEnvelope> {
    envelope_with(receipt, Eip658Value::PostState(root))
}

fn envelope_with(receipt: &Receipt, status: Eip658Value) -> Option<ReceiptEnvelope> {
    let body = ReceiptWithBloom {
        logs_bloom: receipt.bloom(),
        receipt: ConsensusReceipt {
            status,
            cumulative_gas_used: receipt.cumulative_gas_used,
            logs: receipt.logs.clone(),
        },
    };
    Some(match TxType::try_from(receipt.transaction_type).ok()? {
        TxType::Legacy => ReceiptEnvelope::Legacy(body),
        TxType::Eip2930 => ReceiptEnvelope::Eip2930(body),
        TxType::Eip1559 => ReceiptEnvelope::Eip1559(body),
        TxType::Eip4844 => ReceiptEnvelope::Eip4844(body),
        TxType::Eip7702 => ReceiptEnvelope::Eip7702(body),
    })
}

/// The root of the receipts' trie, from Byzantium on. Before it receipts held state roots, which
/// only a state with a Merkle tree can tell.
///
/// Returns `None` if a transaction type is not Ethereum's.
pub fn receipts_root(receipts: &[Receipt]) -> Option<B256> {
    let envelopes: Option<Vec<_>> = receipts.iter().map(envelope).collect();
    Some(calculate_receipt_root(&envelopes?))
}

/// The bloom filter over the logs of a whole block.
pub fn logs_bloom(receipts: &[Receipt]) -> Bloom {
    receipts.iter().flat_map(|receipt| &receipt.logs).collect()
}
