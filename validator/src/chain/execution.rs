//! Running a block that is given, one transaction after another: for blocks that came from elsewhere,
//! and for the check of our own.

use super::{
    block::{ChainBlock, Envelope},
    failure::failures,
    genesis::ChainParameters,
    merkle_state::MerkleState,
    requests::requests,
};
use alloy_consensus::{
    Block,
    constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH},
    proofs::{calculate_ommers_root, calculate_transaction_root, calculate_withdrawals_root},
};
use alloy_eips::eip7685::Requests;
use alloy_primitives::B256;
use lockweave_evm_adapter::{
    BlockInput, EvmBlock, EvmBlockError, EvmExecutor, EvmTransaction, InvalidStep, Ommers,
    RecoverError, SpecId, TypedReceipt, logs_bloom, recover_sender,
};
use lockweave_runtime::{
    ExecutionError, Executor, GasOverflow, Outcome, Receipt, SealedBlock, SerialState, StateDelta,
    StateError, StateView,
};
use std::sync::Arc;
use thiserror::Error;

/// Why a block is not one of this chain.
#[derive(Debug, Error)]
pub enum InvalidBlock {
    /// The header is not one of its fork, or the block has something this node cannot run.
    #[error(transparent)]
    Layout(#[from] EvmBlockError),
    /// A signature names no sender.
    #[error("transaction {index}: {source}")]
    Signature {
        /// Its place in the block.
        index: usize,
        /// What is wrong with it.
        source: RecoverError,
    },
    /// A transaction or a step of the protocol may not be where it is.
    #[error("step {index}: {source}")]
    Step {
        /// Its place among the block's steps.
        index: usize,
        /// What is wrong with it.
        source: InvalidStep,
    },
    /// Transactions have gas limits that the block has no room for.
    #[error("transaction {index} has a gas limit of {gas}, but the block has {left} left")]
    GasLimit {
        /// Its place in the block.
        index: usize,
        /// Its gas limit.
        gas: u64,
        /// What is left of the block's.
        left: u64,
    },
    /// The header says something else than what the block comes to.
    #[error("the header's {field} is {stated}, but the block's is {computed}")]
    Header {
        /// The field, as JSON-RPC has it.
        field: &'static str,
        /// What the header says.
        stated: String,
        /// What it should say.
        computed: String,
    },
    /// The gas of the transactions cannot be summed up.
    #[error(transparent)]
    Gas(#[from] GasOverflow),
    /// The state before the block failed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What a block came to.
#[derive(Debug)]
pub struct ExecutedBlock {
    /// The block with its receipts.
    pub block: ChainBlock,
    /// What it changed.
    pub delta: StateDelta,
}

/// Recovers the senders of a block's transactions.
fn with_senders(
    chain: &ChainParameters,
    block: &Block<Envelope>,
) -> Result<Vec<EvmTransaction>, InvalidBlock> {
    let header = &block.header;
    let fork = chain.spec.fork_at(header.number, header.timestamp);
    let homestead = fork.is_enabled_in(SpecId::HOMESTEAD);
    (block.body.transactions.iter().enumerate())
        .map(|(index, envelope)| {
            let sender = recover_sender(envelope, homestead);
            let sender = sender.map_err(|source| InvalidBlock::Signature { index, source })?;
            Ok(EvmTransaction::new(envelope.clone(), sender))
        })
        .collect()
}

/// Runs a block on the state before it, and holds what it comes to against its header; all but the
/// state root, which depends on how the chain commits to its state.
///
/// `merkle` is the state before the block with its trie; blocks from before Byzantium, whose receipts
/// hold roots, need it.
pub fn execute_given(
    chain: &ChainParameters,
    view: &Arc<dyn StateView>,
    block: Block<Envelope>,
    merkle: Option<&MerkleState>,
) -> Result<ExecutedBlock, InvalidBlock> {
    let transactions = with_senders(chain, &block)?;
    let Block { header, body } = block;
    check_body(&header, &body)?;
    let evm = EvmBlock::new(
        &chain.spec,
        BlockInput {
            header: header.clone(),
            transactions: transactions.clone(),
            ommers: Ommers::Headers(body.ommers.clone()),
            withdrawals: body.withdrawals.clone().unwrap_or_default().into_inner(),
        },
    )?;
    let has_status = evm.context().spec().is_enabled_in(SpecId::BYZANTIUM);
    let mut state = SerialState::new(Arc::clone(view), evm.context().rules());
    let mut executor = EvmExecutor::<SerialState>::new(evm.context());
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(evm.steps().len());
    let mut receipt_roots = Vec::new();
    let mut gas_left = header.gas_limit;
    for (index, step) in evm.steps().iter().enumerate() {
        if let (Some(place), Some(transaction)) = (evm.transaction_index(index), step.transaction())
        {
            let gas = transaction.env().gas_limit;
            if gas > gas_left {
                let (index, left) = (place, gas_left);
                return Err(InvalidBlock::GasLimit { index, gas, left });
            }
        }
        let outcome = executor
            .execute(step, &mut state)
            .map_err(|error| match error {
                ExecutionError::Invalid(source) => InvalidBlock::Step { index, source },
                ExecutionError::Access(access) => match access {
                    lockweave_runtime::AccessError::State(error) => InvalidBlock::State(error),
                    lockweave_runtime::AccessError::Undeclared(_) => {
                        unreachable!("a serial state refuses nothing")
                    }
                },
            })?;
        gas_left = gas_left.saturating_sub(outcome.gas_used);
        if !has_status
            && evm.transaction_index(index).is_some()
            && let Some(merkle) = merkle
        {
            let mut after = merkle.clone();
            after.apply(&state.delta()?);
            receipt_roots.push(after.root());
        }
        outcomes.push(outcome);
    }
    let requests = requests(
        &evm,
        &outcomes,
        chain.genesis.config.deposit_contract_address,
    );
    let delta = state.delta()?;
    let failures = failures(&outcomes);
    let sealed = SealedBlock { outcomes, delta };
    let executed = ChainBlock {
        hash: header.hash_slow(),
        header,
        transactions,
        ommers: body.ommers,
        withdrawals: body.withdrawals,
        receipts: sealed.receipts()?,
        receipt_roots,
        access: Vec::new(),
        failures,
    };
    check_result(&executed, &requests)?;
    Ok(ExecutedBlock {
        block: executed,
        delta: sealed.delta,
    })
}

fn expect<T: Copy + PartialEq + std::fmt::Display>(
    field: &'static str,
    stated: T,
    computed: T,
) -> Result<(), InvalidBlock> {
    if stated == computed {
        return Ok(());
    }
    Err(InvalidBlock::Header {
        field,
        stated: stated.to_string(),
        computed: computed.to_string(),
    })
}

/// Holds a body against its header.
fn check_body(
    header: &alloy_consensus::Header,
    body: &alloy_consensus::BlockBody<Envelope>,
) -> Result<(), InvalidBlock> {
    let root = if body.transactions.is_empty() {
        EMPTY_ROOT_HASH
    } else {
        calculate_transaction_root(&body.transactions)
    };
    expect("transactionsRoot", header.transactions_root, root)?;
    let ommers = if body.ommers.is_empty() {
        EMPTY_OMMER_ROOT_HASH
    } else {
        calculate_ommers_root(&body.ommers)
    };
    expect("sha3Uncles", header.ommers_hash, ommers)?;
    let stated = header.withdrawals_root.unwrap_or_default();
    let computed = (body.withdrawals.as_ref())
        .map(|withdrawals| calculate_withdrawals_root(withdrawals))
        .unwrap_or_default();
    expect("withdrawalsRoot", stated, computed)
}

/// Holds what a block came to against its header.
fn check_result(block: &ChainBlock, requests: &Requests) -> Result<(), InvalidBlock> {
    let header = &block.header;
    let gas = (block.receipts.last()).map_or(0, |receipt| receipt.cumulative_gas_used);
    expect("gasUsed", header.gas_used, gas)?;
    let root = receipts_root_of(&block.receipts, &block.receipt_roots);
    expect("receiptsRoot", header.receipts_root, root)?;
    expect("logsBloom", header.logs_bloom, logs_bloom(&block.receipts))?;
    if let Some(stated) = header.requests_hash {
        expect("requestsHash", stated, requests.requests_hash())?;
    }
    let blobs: u64 = (block.transactions.iter())
        .map(|one| one.env().blob_hashes.len() as u64)
        .sum();
    let blob_gas = blobs.saturating_mul(alloy_eips::eip4844::DATA_GAS_PER_BLOB);
    expect(
        "blobGasUsed",
        header.blob_gas_used.unwrap_or_default(),
        blob_gas,
    )
}

/// The root of receipts that hold a status, or a state root where there is one.
pub fn receipts_root_of(receipts: &[Receipt], roots: &[B256]) -> B256 {
    let typed: Vec<_> = (receipts.iter().enumerate())
        .map(|(index, receipt)| match roots.get(index) {
            Some(root) => TypedReceipt::with_root(receipt, *root),
            None => TypedReceipt::from(receipt),
        })
        .collect();
    alloy_consensus::proofs::calculate_receipt_root(&typed)
}
