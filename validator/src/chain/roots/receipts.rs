//! The header fields of a block's receipts: the root of their trie, and the bloom filter over their logs.

use ahash::AHashMap;
use alloy_consensus::{Eip658Value, Header, proofs::calculate_transaction_root};
use alloy_eips::Typed2718;
use alloy_primitives::{Address, B256, Bloom, BloomInput, Log, keccak256};
use alloy_rlp::{Encodable, RlpEncodable};
use alloy_trie::root::ordered_trie_root_with_encoder;
use lockweave_evm_adapter::EvmTransaction;
use lockweave_runtime::Receipt;

/// The header fields of a block's receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptsSummary {
    /// The root of the receipts' trie.
    pub root: B256,
    /// The bloom filter over all their logs.
    pub bloom: Bloom,
}

impl ReceiptsSummary {
    /// Of receipts that hold a status, or a state root (from before Byzantium) where there is one.
    pub fn of(receipts: &[Receipt], roots: &[B256]) -> Self {
        let mut hashes = BloomHashes::default();
        let mut bloom = Bloom::ZERO;
        let typed: Vec<_> = (receipts.iter().enumerate())
            .map(|(index, receipt)| {
                let logs_bloom = hashes.bloom(&receipt.logs);
                bloom |= logs_bloom;
                Typed {
                    transaction_type: receipt.transaction_type,
                    fields: Fields {
                        status: match roots.get(index) {
                            Some(root) => Eip658Value::PostState(*root),
                            None => Eip658Value::Eip658(receipt.succeeded),
                        },
                        cumulative_gas_used: receipt.cumulative_gas_used,
                        logs_bloom,
                        logs: &receipt.logs,
                    },
                }
            })
            .collect();
        Self {
            root: ordered_trie_root_with_encoder(&typed, Typed::encode),
            bloom,
        }
    }
}

/// Sets the header fields that follow from a block's transactions and their receipts.
pub fn seal_body(header: &mut Header, transactions: &[EvmTransaction], receipts: &[Receipt]) {
    let envelopes: Vec<_> = transactions.iter().map(EvmTransaction::envelope).collect();
    header.transactions_root = calculate_transaction_root(&envelopes);
    let summary = ReceiptsSummary::of(receipts, &[]);
    header.receipts_root = summary.root;
    header.logs_bloom = summary.bloom;
    header.gas_used = (receipts.last()).map_or(0, |receipt| receipt.cumulative_gas_used);
}

/// The hashes that bloom filters are made of. The logs of a block share many addresses and topics, such as
/// tokens, events and senders. Each is hashed once.
#[derive(Default)]
struct BloomHashes {
    addresses: AHashMap<Address, B256>,
    topics: AHashMap<B256, B256>,
}

impl BloomHashes {
    /// The filter over some logs.
    fn bloom(&mut self, logs: &[Log]) -> Bloom {
        let mut bloom = Bloom::ZERO;
        for log in logs {
            let hash = self.addresses.entry(log.address);
            let hash = hash.or_insert_with_key(|address| keccak256(address));
            bloom.accrue(BloomInput::Hash(*hash));
            for topic in log.topics() {
                let hash = self.topics.entry(*topic);
                let hash = hash.or_insert_with_key(|topic| keccak256(topic));
                bloom.accrue(BloomInput::Hash(*hash));
            }
        }
        bloom
    }
}

/// A receipt in the encoding of EIP-2718 and EIP-658, with borrowed logs.
struct Typed<'r> {
    transaction_type: u8,
    fields: Fields<'r>,
}

#[derive(RlpEncodable)]
struct Fields<'r> {
    status: Eip658Value,
    cumulative_gas_used: u64,
    logs_bloom: Bloom,
    logs: &'r Vec<Log>,
}

impl Typed2718 for Typed<'_> {
    fn ty(&self) -> u8 {
        self.transaction_type
    }
}

impl Typed<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        if !self.is_legacy() {
            out.push(self.transaction_type);
        }
        self.fields.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::proofs::calculate_receipt_root;
    use alloy_primitives::LogData;
    use lockweave_evm_adapter::{TypedReceipt, logs_bloom};
    use proptest::prelude::*;

    prop_compose! {
        fn log()(address in 0_u8..3, topics in prop::collection::vec(0_u8..4, 0..4), data: Vec<u8>) -> Log {
            let topics = topics.into_iter().map(B256::repeat_byte).collect();
            Log {
                address: Address::repeat_byte(address),
                data: LogData::new_unchecked(topics, data.into()),
            }
        }
    }

    prop_compose! {
        fn receipt()(
            transaction_type in 0_u8..5,
            succeeded: bool,
            cumulative_gas_used: u64,
            logs in prop::collection::vec(log(), 0..4),
        ) -> Receipt {
            Receipt {
                transaction_type,
                succeeded,
                gas_used: 1,
                cumulative_gas_used,
                first_log_index: 0,
                logs,
                created: None,
            }
        }
    }

    proptest! {
        /// Shared hashes and borrowed logs change nothing.
        #[test]
        fn it_is_what_each_receipt_for_itself_comes_to(
            receipts in prop::collection::vec(receipt(), 0..20),
            rooted in 0_usize..20,
        ) {
            let roots = vec![B256::repeat_byte(7); rooted];
            let typed: Vec<_> = (receipts.iter().enumerate())
                .map(|(index, receipt)| match roots.get(index) {
                    Some(root) => TypedReceipt::with_root(receipt, *root),
                    None => TypedReceipt::from(receipt),
                })
                .collect();
            let summary = ReceiptsSummary::of(&receipts, &roots);
            prop_assert_eq!(summary.root, calculate_receipt_root(&typed));
            prop_assert_eq!(summary.bloom, logs_bloom(&receipts));
        }
    }
}
