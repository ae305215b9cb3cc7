//! A block of the chain with its results.

use super::failure::Failure;
use alloy_consensus::{Block, BlockBody, Header, Transaction as _};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{Address, B256, U256};
use lockweave_evm_adapter::{
    BlockInput, ChainSpec, EvmBlock, EvmBlockError, EvmTransaction, Ommers, TxDeclared,
};
use lockweave_runtime::{AccessSet, Receipt};

/// The signed transaction as the node handles it everywhere: Ethereum's types and 0x44.
pub type Envelope = lockweave_evm_adapter::LockweaveTxEnvelope;

/// A block that was executed: header, body, senders and receipts.
#[derive(Clone, Debug, Default)]
pub struct ChainBlock {
    /// The header.
    pub header: Header,
    /// Keccak-256 of the header's RLP.
    pub hash: B256,
    /// Transactions with their senders.
    pub transactions: Vec<EvmTransaction>,
    /// Headers of uncles; only on chains from before the merge.
    pub ommers: Vec<Header>,
    /// Withdrawals, from Shanghai on.
    pub withdrawals: Option<Withdrawals>,
    /// Receipts, one for each transaction.
    pub receipts: Vec<Receipt>,
    /// The state root after each transaction: what a receipt held instead of a status before
    /// Byzantium. Empty from Byzantium on.
    pub receipt_roots: Vec<B256>,
    /// The access sets that the transactions were scheduled with; empty if unknown.
    pub access: Vec<AccessSet>,
    /// Why transactions of type 0x44 were stopped, in block order.
    pub failures: Vec<Failure>,
}

impl ChainBlock {
    /// Block number.
    pub const fn number(&self) -> u64 {
        self.header.number
    }

    /// The price per gas a transaction paid, in wei.
    pub fn effective_gas_price(&self, index: usize) -> u128 {
        let envelope = self.transactions[index].envelope();
        envelope.effective_gas_price(self.header.base_fee_per_gas)
    }

    /// The block in its consensus form, for RLP.
    pub fn to_consensus(&self) -> Block<Envelope> {
        Block {
            header: self.header.clone(),
            body: BlockBody {
                transactions: (self.transactions.iter())
                    .map(|transaction| transaction.envelope().clone())
                    .collect(),
                ommers: self.ommers.clone(),
                withdrawals: self.withdrawals.clone(),
            },
        }
    }

    /// The steps of the block, with these transactions.
    pub fn layout(
        &self,
        chain: &ChainSpec,
        transactions: Vec<EvmTransaction>,
    ) -> Result<EvmBlock, EvmBlockError> {
        let input = BlockInput {
            header: self.header.clone(),
            transactions,
            ommers: Ommers::Headers(self.ommers.clone()),
            withdrawals: self.withdrawals.clone().unwrap_or_default().into_inner(),
        };
        EvmBlock::new(chain, input)
    }

    /// What the beneficiary earned with a transaction, in wei.
    pub fn tip_paid(&self, index: usize) -> U256 {
        let base_fee = u128::from(self.header.base_fee_per_gas.unwrap_or_default());
        let tip = self.effective_gas_price(index).saturating_sub(base_fee);
        U256::from(tip).saturating_mul(U256::from(self.receipts[index].gas_used))
    }

    /// Why a transaction that signed its accesses was stopped, if it was.
    pub fn failure(&self, index: usize) -> Option<&str> {
        let place = self.failures.binary_search_by_key(&index, |one| one.index);
        place.ok().map(|place| self.failures[place].reason.as_str())
    }

    /// How many logs the block has.
    pub fn logs(&self) -> usize {
        self.receipts.iter().map(|receipt| receipt.logs.len()).sum()
    }
}

/// A transaction as an unsigned one of type 0x44 that declares `set`.
pub fn declaring(
    chain: &ChainSpec,
    transaction: &EvmTransaction,
    set: &AccessSet,
    beneficiary: Address,
) -> TxDeclared {
    let envelope = transaction.envelope();
    let max_fee_per_gas = envelope.max_fee_per_gas();
    let mut declared = TxDeclared {
        chain_id: envelope.chain_id().unwrap_or(chain.chain_id),
        nonce: envelope.nonce(),
        gas_limit: envelope.gas_limit(),
        max_fee_per_gas,
        max_priority_fee_per_gas: envelope.priority_fee_or_price().min(max_fee_per_gas),
        to: envelope.kind(),
        value: envelope.value(),
        access_list: envelope.access_list().cloned().unwrap_or_default(),
        input: envelope.input().clone(),
        ..TxDeclared::default()
    };
    declared.declare(set, transaction.sender(), beneficiary);
    declared
}
