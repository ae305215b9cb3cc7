//! Receipts in Ethereum's form, and the header fields made of them.

use alloy_consensus::{
    Eip658Value, Receipt as ConsensusReceipt, ReceiptWithBloom, Typed2718,
    proofs::calculate_receipt_root,
};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, Bloom};
use alloy_rlp::{BufMut, Encodable};
use lockweave_runtime::Receipt;

/// A receipt of any transaction type (EIP-658, EIP-2718).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedReceipt {
    /// EIP-2718 type.
    pub transaction_type: u8,
    /// Status, cumulative gas, logs and their bloom filter.
    pub receipt: ReceiptWithBloom<ConsensusReceipt>,
}

impl TypedReceipt {
    /// A receipt before Byzantium, with the state root after the transaction in place of a status.
    pub fn with_root(receipt: &Receipt, root: B256) -> Self {
        Self::with_status(receipt, Eip658Value::PostState(root))
    }

    fn with_status(receipt: &Receipt, status: Eip658Value) -> Self {
        Self {
            transaction_type: receipt.transaction_type,
            receipt: ReceiptWithBloom {
                logs_bloom: receipt.bloom(),
                receipt: ConsensusReceipt {
                    status,
                    cumulative_gas_used: receipt.cumulative_gas_used,
                    logs: receipt.logs.clone(),
                },
            },
        }
    }
}

impl From<&Receipt> for TypedReceipt {
    fn from(receipt: &Receipt) -> Self {
        Self::with_status(receipt, Eip658Value::Eip658(receipt.succeeded))
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

/// The root of the receipts' trie, from Byzantium on. Earlier receipts hold state roots, which need a Merkle
/// tree.
pub fn receipts_root(receipts: &[Receipt]) -> B256 {
    let receipts: Vec<_> = receipts.iter().map(TypedReceipt::from).collect();
    calculate_receipt_root(&receipts)
}

/// The bloom filter over the logs of a whole block.
pub fn logs_bloom(receipts: &[Receipt]) -> Bloom {
    receipts.iter().flat_map(|receipt| &receipt.logs).collect()
}
