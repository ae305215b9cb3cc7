//! Running a block that is given, one transaction after another: for blocks that came from elsewhere,
//! and for the check of our own.

use super::{
    block::{ChainBlock, Envelope, RootMismatch, check_roots},
    failure::failures,
    genesis::ChainParameters,
    ommers::InvalidOmmer,
    receipts::ReceiptsSummary,
    requests::{InvalidDeposit, requests},
};
use alloy_consensus::{Block, Header, Transaction as _};
use alloy_eips::{
    eip4844::DATA_GAS_PER_BLOB, eip4895::Withdrawals, eip7685::Requests, eip7928::BlockAccessList,
};
use alloy_primitives::{Address, B256};
use alloy_rlp::Encodable as _;
use lockweave_engine::{InvalidAccessList, SerialRun, check_access_list};
use lockweave_evm_adapter::{
    BlockInput, ChainSpec, EvmBlock, EvmBlockError, EvmTransaction, InvalidStep, Ommers,
    RecoverError, SpecId, recover_senders,
};
use lockweave_runtime::{
    AccessError, ExecutionError, GasOverflow, Outcome, OutcomeKind, SealedBlock, StateDelta,
    StateError, StateView,
};
use std::sync::Arc;
use thiserror::Error;

/// Why a block is not one of this chain.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum InvalidBlock {
    #[error(transparent)]
    Layout(#[from] EvmBlockError),
    #[error("transaction {index}: {source}")]
    Signature { index: usize, source: RecoverError },
    #[error("step {index}: {source}")]
    Step { index: usize, source: InvalidStep },
    #[error("transaction {index} has a gas limit of {gas}, but the block has {left} left")]
    GasLimit { index: usize, gas: u64, left: u64 },
    #[error("the header's {field} is {stated}, but the block's is {computed}")]
    Header {
        /// The field, as JSON-RPC has it.
        field: &'static str,
        stated: String,
        computed: String,
    },
    #[error("the header has a withdrawalsRoot, but the block has no withdrawals")]
    NoWithdrawals,
    /// The block's encoding is too long (EIP-7934).
    #[error("the block has {bytes} bytes, more than {BLOCK_BYTES_MAX}")]
    Size { bytes: usize },
    /// The transactions have more blobs than a block may have (EIP-4844).
    #[error(
        "the block's transactions have {blobs} blobs up to transaction {index}, more than {max}"
    )]
    Blobs { index: usize, blobs: u64, max: u64 },
    /// A transaction comes with its blobs, which are no part of a block (EIP-4844).
    #[error("transaction {index} comes with its blobs, which are no part of a block")]
    Sidecar { index: usize },
    /// The block's access list is not the one its header commits to, or too large (EIP-7928).
    #[error(transparent)]
    AccessList(#[from] InvalidAccessList),
    #[error(transparent)]
    Ommers(#[from] InvalidOmmer),
    #[error(transparent)]
    Deposit(#[from] InvalidDeposit),
    #[error(transparent)]
    Gas(#[from] GasOverflow),
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

/// What the steps of a block came to.
#[derive(Clone, Debug)]
pub struct BlockRun {
    /// Outcomes and changes.
    pub sealed: SealedBlock,
    /// The state roots after each transaction before Byzantium; else empty.
    pub receipt_roots: Vec<B256>,
    /// The block's access list, where its header commits to one; else empty.
    pub access_list: BlockAccessList,
}

/// The longest encoding of a block from Osaka on: 10 MiB, and 2 MiB less for what the consensus layer
/// adds (EIP-7934).
pub const BLOCK_BYTES_MAX: usize = 8 << 20;

/// A block whose body is the one its header commits to, laid out in steps and not yet run.
#[derive(Clone, Debug)]
pub struct PreparedBlock {
    evm: EvmBlock,
    transactions: Vec<EvmTransaction>,
    ommers: Vec<Header>,
    withdrawals: Option<Withdrawals>,
}

impl PreparedBlock {
    /// Holds a body against its header, recovers senders and lays the block out.
    pub fn new(spec: &ChainSpec, block: Block<Envelope>) -> Result<Self, InvalidBlock> {
        Self::with_known_senders(spec, block, |_| None)
    }

    /// The same, where the senders of some transactions are known by the transactions' hashes.
    pub fn with_known_senders(
        spec: &ChainSpec,
        block: Block<Envelope>,
        known: impl Fn(B256) -> Option<Address>,
    ) -> Result<Self, InvalidBlock> {
        check_body(spec, &block)?;
        let transactions = with_senders(spec, &block, known)?;
        let Block { header, body } = block;
        let input = BlockInput {
            header,
            transactions: transactions.clone(),
            ommers: Ommers::Headers(body.ommers.clone()),
            withdrawals: body.withdrawals.clone().unwrap_or_default().into_inner(),
        };
        Ok(Self {
            evm: EvmBlock::new(spec, input)?,
            transactions,
            ommers: body.ommers,
            withdrawals: body.withdrawals,
        })
    }

    /// The block's steps and their environment.
    pub const fn evm(&self) -> &EvmBlock {
        &self.evm
    }

    /// Holds what the steps came to against the header; all but the state root, which depends on how
    /// the chain commits to its state.
    pub fn finish(
        self,
        run: BlockRun,
        deposit_contract: Option<Address>,
    ) -> Result<ExecutedBlock, InvalidBlock> {
        let BlockRun {
            sealed,
            receipt_roots,
            access_list,
        } = run;
        let Self {
            evm,
            transactions,
            ommers,
            withdrawals,
        } = self;
        let header = evm.header().clone();
        if evm.has_access_list() {
            check_access_list(&header, transactions.len(), &access_list)?;
        }
        let mut gas_left = header.gas_limit;
        for (index, outcome) in sealed.outcomes.iter().enumerate() {
            check_gas(&evm, index, gas_left)?;
            gas_left = gas_after(gas_left, outcome);
        }
        // Before Prague a log of the deposit contract is a log like others.
        let requests = match header.requests_hash {
            Some(_) => requests(&evm, &sealed.outcomes, deposit_contract)?,
            None => Requests::default(),
        };
        let block = ChainBlock {
            hash: header.hash_slow(),
            header,
            transactions,
            ommers,
            withdrawals,
            receipts: sealed.receipts()?,
            receipt_roots,
            access: Vec::new(),
            failures: failures(&sealed.outcomes),
        };
        check_result(&block, &requests)?;
        Ok(ExecutedBlock {
            block,
            delta: sealed.delta,
        })
    }
}

/// Recovers the senders of a block's transactions, as far as they are not known.
fn with_senders(
    spec: &ChainSpec,
    block: &Block<Envelope>,
    known: impl Fn(B256) -> Option<Address>,
) -> Result<Vec<EvmTransaction>, InvalidBlock> {
    let header = &block.header;
    let fork = spec.fork_at(header.number, header.timestamp);
    let homestead = fork.is_enabled_in(SpecId::HOMESTEAD);
    let transactions = &block.body.transactions;
    let known: Vec<Option<Address>> = (transactions.iter())
        .map(|envelope| known(*envelope.tx_hash()))
        .collect();
    let unknown: Vec<Envelope> = (transactions.iter().zip(&known))
        .filter(|(_, known)| known.is_none())
        .map(|(envelope, _)| envelope.clone())
        .collect();
    let mut recovered = recover_senders(&unknown, homestead).into_iter();
    (transactions.iter().zip(known).enumerate())
        .map(|(index, (envelope, known))| {
            let sender = match known {
                Some(sender) => sender,
                None => (recovered.next().expect("one for each unknown sender"))
                    .map_err(|source| InvalidBlock::Signature { index, source })?,
            };
            Ok(EvmTransaction::new(envelope.clone(), sender))
        })
        .collect()
}

/// Refuses a transaction with a higher limit than the gas that is left.
fn check_gas(evm: &EvmBlock, step: usize, left: u64) -> Result<(), InvalidBlock> {
    let transaction = evm.steps()[step].transaction();
    match (evm.transaction_index(step), transaction) {
        (Some(index), Some(transaction)) if transaction.env().gas_limit > left => {
            let gas = transaction.env().gas_limit;
            Err(InvalidBlock::GasLimit { index, gas, left })
        }
        _ => Ok(()),
    }
}

/// What is left of the block's gas after a step. The protocol's own steps take none.
fn gas_after(left: u64, outcome: &Outcome) -> u64 {
    match outcome.kind {
        OutcomeKind::Transaction(_) => left.saturating_sub(outcome.gas_used),
        OutcomeKind::System => left,
    }
}

/// The state root after some changes of the state before a block.
pub type RootAfter<'r> = &'r dyn Fn(&StateDelta) -> Result<B256, StateError>;

/// Runs a block on the state before it, and holds what it comes to against its header; all but the
/// state root, which depends on how the chain commits to its state.
///
/// `roots` gives the state root after some changes of the state before the block; blocks from before
/// Byzantium, whose receipts hold roots, need it.
pub fn execute_given(
    chain: &ChainParameters,
    view: &Arc<dyn StateView>,
    block: Block<Envelope>,
    roots: RootAfter<'_>,
) -> Result<ExecutedBlock, InvalidBlock> {
    let prepared = PreparedBlock::new(&chain.spec, block)?;
    let deposit_contract = chain.genesis.config.deposit_contract_address;
    execute_prepared(prepared, view, roots, deposit_contract)
}

/// Runs a block that was held against its body, as [`execute_given`] does.
pub fn execute_prepared(
    prepared: PreparedBlock,
    view: &Arc<dyn StateView>,
    roots: RootAfter<'_>,
    deposit_contract: Option<Address>,
) -> Result<ExecutedBlock, InvalidBlock> {
    let evm = prepared.evm();
    let has_status = evm.context().spec().is_enabled_in(SpecId::BYZANTIUM);
    let mut run = SerialRun::new(evm.context(), view);
    if evm.has_access_list() {
        run = run.with_effects();
    }
    let mut receipt_roots = Vec::new();
    let mut gas_left = evm.header().gas_limit;
    for (index, step) in evm.steps().iter().enumerate() {
        // Checked before execution, so that a block cannot make the node execute more than its limit.
        check_gas(evm, index, gas_left)?;
        let outcome = run.step(step).map_err(|error| match error {
            ExecutionError::Invalid(source) => InvalidBlock::Step { index, source },
            ExecutionError::Access(error) => serial_error(error),
        })?;
        gas_left = gas_after(gas_left, outcome);
        if !has_status && evm.transaction_index(index).is_some() {
            receipt_roots.push(roots(&run.changes()?)?);
        }
    }
    let access_list = if evm.has_access_list() {
        run.access_list(evm, view).map_err(serial_error)?
    } else {
        Vec::new()
    };
    let run = BlockRun {
        sealed: run.finish()?.sealed,
        receipt_roots,
        access_list,
    };
    prepared.finish(run, deposit_contract)
}

/// What can be wrong with a state that guards nothing.
fn serial_error(error: AccessError) -> InvalidBlock {
    match error {
        AccessError::State(error) => InvalidBlock::State(error),
        AccessError::Undeclared(_) => unreachable!("a serial state refuses nothing"),
    }
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
fn check_body(spec: &ChainSpec, block: &Block<Envelope>) -> Result<(), InvalidBlock> {
    let Block { header, body } = block;
    let fork = spec.fork_at(header.number, header.timestamp);
    if fork.is_enabled_in(SpecId::OSAKA) {
        let bytes = block.length();
        if bytes > BLOCK_BYTES_MAX {
            return Err(InvalidBlock::Size { bytes });
        }
    }
    check_blobs(spec, block)?;
    check_roots(block).map_err(|mismatch| {
        let RootMismatch {
            field,
            stated,
            computed,
        } = mismatch;
        let lacks_withdrawals = header.withdrawals_root.is_some() && body.withdrawals.is_none();
        if field == "withdrawalsRoot" && lacks_withdrawals {
            return InvalidBlock::NoWithdrawals;
        }
        InvalidBlock::Header {
            field,
            stated: stated.to_string(),
            computed: computed.to_string(),
        }
    })
}

/// Counts the blobs of a block's transactions.
fn check_blobs(spec: &ChainSpec, block: &Block<Envelope>) -> Result<(), InvalidBlock> {
    let Block { header, body } = block;
    // Before Cancun such transactions are refused where they are run.
    let Some(params) = spec.blob_params_at(header.number, header.timestamp) else {
        return Ok(());
    };
    let mut blobs = 0_u64;
    for (index, envelope) in body.transactions.iter().enumerate() {
        let ethereum = envelope.as_ethereum().and_then(|one| one.as_eip4844());
        if ethereum.is_some_and(|signed| signed.tx().sidecar().is_some()) {
            return Err(InvalidBlock::Sidecar { index });
        }
        blobs += envelope.blob_count().unwrap_or_default();
        if blobs > params.max_blob_count {
            let max = params.max_blob_count;
            return Err(InvalidBlock::Blobs { index, blobs, max });
        }
    }
    let blob_gas = blobs.saturating_mul(DATA_GAS_PER_BLOB);
    let stated = header.blob_gas_used.unwrap_or_default();
    expect("blobGasUsed", stated, blob_gas)
}

/// Holds what a block came to against its header.
fn check_result(block: &ChainBlock, requests: &Requests) -> Result<(), InvalidBlock> {
    let header = &block.header;
    let gas = (block.receipts.last()).map_or(0, |receipt| receipt.cumulative_gas_used);
    expect("gasUsed", header.gas_used, gas)?;
    let receipts = ReceiptsSummary::of(&block.receipts, &block.receipt_roots);
    expect("receiptsRoot", header.receipts_root, receipts.root)?;
    expect("logsBloom", header.logs_bloom, receipts.bloom)?;
    if let Some(stated) = header.requests_hash {
        expect("requestsHash", stated, requests.requests_hash())?;
    }
    Ok(())
}
