//! Receipts in Ethereum's form, and what a header says of them.

use alloy_consensus::{
    Eip658Value, Receipt as ConsensusReceipt, ReceiptEnvelope, ReceiptWithBloom, TxType, Typed2718,
    proofs::calculate_receipt_root,
};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, Bloom};
use alloy_rlp::{BufMut, Encodable};
use lockweave_runtime::Receipt;

/// A receipt as EIP-658 and EIP-2718 have it, of any transaction type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedReceipt {
    /// EIP-2718 type.
    pub transaction_type: u8,
    /// Status, cumulative gas, logs and their bloom filter.
    pub receipt: ReceiptWithBloom<ConsensusReceipt>,
}

impl From<&Receipt> for TypedReceipt {
    fn from(receipt: &Receipt) -> Self {
        Self {
            transaction_type: receipt.transaction_type,
            receipt: ReceiptWithBloom {
                logs_bloom: receipt.bloom(),
                receipt: ConsensusReceipt {
                    status: Eip658Value::Eip658(receipt.succeeded),
                    cumulative_gas_used: receipt.cumulative_gas_used,
                    logs: receipt.logs.clone(),
                },
            },
        }
    }
}

impl Typed2718 for TypedReceipt {
    fn ty(&self) -> u8 {
        self.transaction_type
    }
}

impl Encodable2718 for TypedReceipt {
    fn encode_2718_len(&self) -> usize {
        usize::from(!self.is_legacy()) + self.receipt.length()
    }

    fn encode_2718(&self, out: &mut dyn BufMut) {
        if !self.is_legacy() {
            out.put_u8(self.transaction_type);
        }
        self.receipt.encode(out);
    }
}

/// A receipt in alloy's form. Returns `None` for a transaction type that Ethereum does not have.
pub fn envelope(receipt: &Receipt) -> Option<ReceiptEnvelope> {
    let body = TypedReceipt::from(receipt).receipt;
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
pub fn receipts_root(receipts: &[Receipt]) -> B256 {
    let receipts: Vec<_> = receipts.iter().map(TypedReceipt::from).collect();
    calculate_receipt_root(&receipts)
}

/// The bloom filter over the logs of a whole block.
pub fn logs_bloom(receipts: &[Receipt]) -> Bloom {
    receipts.iter().flat_map(|receipt| &receipt.logs).collect()
}
