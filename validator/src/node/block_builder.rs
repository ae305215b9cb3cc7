//! Makes a block of candidates: chooses them, has the engine execute them, and fills in the header.

use super::gas_history::GasHistory;
use crate::{
    chain::{
        ChainBlock, ChainParameters, Failure,
        failure::failures,
        receipts::seal_body,
        requests::{InvalidDeposit, check_deposits, requests},
    },
    pool::PooledTransaction,
};
use alloy_consensus::Header;
use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4895::Withdrawals, eip7685::Requests,
    eip7928::BlockAccessList,
};
use alloy_primitives::{Address, B256};
use lockweave_banking_stage::InferredStats;
use lockweave_engine::{Engine, EngineError, Executed, SkippedTransactions};
use lockweave_evm_adapter::{
    BlockInput, ChainSpec, EvmBlock, EvmBlockError, EvmTransaction, InvalidStep, Ommers,
    parent_hash_slot,
};
use lockweave_runtime::{
    AccessSet, Outcome, OutcomeKind, Receipt, SealedBlock, StateDelta, StateView, receipts,
};
use revm::context::result::InvalidTransaction;
use std::{mem, sync::Arc};
use thiserror::Error;
use tracing::warn;

/// Why no block can be made.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The header is not one of its fork.
    #[error(transparent)]
    Header(#[from] EvmBlockError),
    /// A system transaction, or the state, failed.
    #[error("the block cannot be executed: {0}")]
    Execution(#[from] EngineError),
    /// The deposit contract logged what cannot be read.
    #[error(transparent)]
    Deposit(#[from] InvalidDeposit),
    /// The block's receipts cannot be made.
    #[error("the block's receipts cannot be made: {0}")]
    Receipts(String),
}

/// Why a candidate is not in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// It stays in the pool for another block.
    Later,
    /// It cannot be in any block as things are.
    Invalid(String),
}

/// When a block learns the hash of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentHash {
    /// The header has it.
    Known,
    /// After its execution: [`BuiltBlock::set_parent_hash`]. The state has it already where the block would
    /// store it (EIP-2935).
    Late,
}

/// A block that was executed, whose header lacks the state root.
#[derive(Debug)]
pub struct BuiltBlock {
    /// The header, but for `state_root`, and for `parent_hash` where that is [late](ParentHash::Late).
    pub header: Header,
    /// Transactions in block order.
    pub transactions: Vec<EvmTransaction>,
    /// Their receipts.
    pub receipts: Vec<Receipt>,
    /// The sets they ran with.
    pub access: Vec<AccessSet>,
    /// The block's access list, if the builder [makes lists](BlockBuilder::with_lists).
    pub access_list: Option<BlockAccessList>,
    /// Why transactions of type 0x44 were stopped.
    pub failures: Vec<Failure>,
    /// What the block changed.
    pub delta: StateDelta,
    /// Candidates that are not in it.
    pub left_out: Vec<(B256, LeftOut)>,
    /// How the run went.
    pub stats: InferredStats,
}

impl BuiltBlock {
    /// Adds the hash of the parent, which was [late](ParentHash::Late), to the header and to the changes.
    pub fn set_parent_hash(&mut self, hash: B256) {
        self.header.parent_hash = hash;
        let key = (
            HISTORY_STORAGE_ADDRESS,
            parent_hash_slot(self.header.number),
        );
        let slots = &mut self.delta.slots;
        // They are sorted, and no transaction can write this one.
        let at = slots.partition_point(|(address, slot, _)| (*address, *slot) < key);
        slots.insert(at, (key.0, key.1, hash.into()));
    }

    /// The block, when its header is complete.
    pub fn into_block(self) -> ChainBlock {
        ChainBlock {
            hash: self.header.hash_slow(),
            withdrawals: (self.header.withdrawals_root).map(|_| Withdrawals::default()),
            header: self.header,
            transactions: self.transactions,
            receipts: self.receipts,
            access: self.access,
            failures: self.failures,
            ..ChainBlock::default()
        }
    }
}

/// Makes blocks.
pub struct BlockBuilder {
    chain: Arc<ChainSpec>,
    engine: Engine,
    deposit_contract: Option<Address>,
    history: GasHistory,
    builds_list: bool,
}

impl BlockBuilder {
    /// Makes blocks of a chain with this engine.
    pub fn new(parameters: &ChainParameters, engine: Engine) -> Self {
        Self {
            chain: Arc::clone(&parameters.spec),
            deposit_contract: parameters.genesis.config.deposit_contract_address,
            engine,
            history: GasHistory::default(),
            builds_list: false,
        }
    }

    /// Makes the access list (EIP-7928) of each block.
    #[must_use]
    pub const fn with_lists(mut self) -> Self {
        self.builds_list = true;
        self
    }

    /// The engine that executes the blocks.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Makes a block on the state before it. `header` says what was decided before execution.
    ///
    /// The order of the candidates is the order in the block; some may be left out.
    pub fn build(
        &mut self,
        view: &Arc<dyn StateView>,
        header: Header,
        parent_hash: ParentHash,
        candidates: &[Arc<PooledTransaction>],
    ) -> Result<BuiltBlock, BuildError> {
        let mut left_out = Vec::new();
        let mut chosen = self.choose(&header, candidates, &mut left_out);
        loop {
            let run = self.execute(view, &header, parent_hash, &chosen)?;
            if let Some(fitting) = first_over_limit(&run) {
                // Somebody used more than was thought, so the last ones have no room. The prefix
                // comes to the same again.
                let too_many = chosen.split_off(fitting);
                let later = too_many.iter();
                left_out.extend(later.map(|one| (one.hash(), LeftOut::Later)));
            } else if let Some((index, invalid)) = self.first_invalid_deposit(&header, &run) {
                // No block may have this transaction. What is behind it ran after it, and waits; the
                // prefix comes to the same again, so this is done once.
                let later = chosen.split_off(index);
                let mut later = later.iter().map(EvmTransaction::hash);
                if let Some(hash) = later.next() {
                    warn!(target: "producer", %hash, "{invalid}; the transaction is left out");
                    left_out.push((hash, LeftOut::Invalid(invalid.to_string())));
                }
                left_out.extend(later.map(|hash| (hash, LeftOut::Later)));
            } else {
                return self.finish(header, chosen, run, left_out);
            }
        }
    }

    /// Takes as many candidates as are thought to fit.
    fn choose(
        &self,
        header: &Header,
        candidates: &[Arc<PooledTransaction>],
        left_out: &mut Vec<(B256, LeftOut)>,
    ) -> Vec<EvmTransaction> {
        let mut gas_left = header.gas_limit;
        let mut chosen = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            if candidate.gas_limit > gas_left {
                left_out.push((candidate.hash, LeftOut::Later));
                continue;
            }
            gas_left = gas_left.saturating_sub(self.history.estimate(&candidate.transaction));
            chosen.push(candidate.transaction.clone());
        }
        chosen
    }

    /// The first transaction whose logs announce a deposit that cannot be read (EIP-6110), by its
    /// place among those that were chosen.
    fn first_invalid_deposit(&self, header: &Header, run: &Run) -> Option<(usize, InvalidDeposit)> {
        // Before Prague a log of the deposit contract is a log like others.
        header.requests_hash?;
        run.transactions().find_map(|(index, outcome)| {
            let invalid = check_deposits(outcome, self.deposit_contract).err()?;
            Some((index, invalid))
        })
    }

    fn execute(
        &self,
        view: &Arc<dyn StateView>,
        header: &Header,
        parent_hash: ParentHash,
        chosen: &[EvmTransaction],
    ) -> Result<Run, BuildError> {
        let estimated = chosen.iter().map(|transaction| {
            let estimate = self.history.estimate(transaction);
            transaction.clone().with_gas_estimate(estimate)
        });
        let mut block = EvmBlock::new(&self.chain, input(header, estimated.collect()))?;
        if parent_hash == ParentHash::Late {
            block = block.without_parent_hash_call();
        }
        let mut run = self.engine.run(&block).skip_invalid().keep_access();
        if self.builds_list {
            run = run.build_access_list();
        }
        let Executed {
            sealed,
            access,
            access_list,
            skipped,
            statistics,
            ..
        } = run.execute(view)?;
        let access = (access.into_iter().enumerate())
            .filter(|(step, _)| block.transaction_index(*step).is_some())
            .map(|(_, set)| set)
            .collect();
        Ok(Run {
            block,
            sealed,
            stats: statistics.inference,
            access,
            access_list,
            skipped,
        })
    }

    fn finish(
        &mut self,
        mut header: Header,
        chosen: Vec<EvmTransaction>,
        mut run: Run,
        mut left_out: Vec<(B256, LeftOut)>,
    ) -> Result<BuiltBlock, BuildError> {
        let requests = match header.requests_hash {
            Some(_) => requests(&run.block, &run.sealed.outcomes, self.deposit_contract)?,
            None => Requests::default(),
        };
        let mut transactions = Vec::with_capacity(chosen.len());
        let mut access = Vec::with_capacity(chosen.len());
        let sets = mem::take(&mut run.access);
        let outcomes = run.transactions().map(|(_, outcome)| outcome);
        for ((transaction, outcome), set) in chosen.into_iter().zip(outcomes).zip(sets) {
            if is_transaction(outcome) {
                self.history.note(&transaction, outcome.gas_used);
                transactions.push(transaction);
                access.push(set);
                continue;
            }
            let hash = transaction.hash();
            let why = match run.skipped.get(&hash) {
                // An earlier transaction of its sender was left out.
                Some(invalid) if is_too_early(invalid) => LeftOut::Later,
                Some(invalid) => LeftOut::Invalid(invalid.to_string()),
                None => LeftOut::Later,
            };
            left_out.push((hash, why));
        }
        let failures = failures(&run.sealed.outcomes);
        let receipts = receipts(run.sealed.outcomes);
        let receipts = receipts.map_err(|error| BuildError::Receipts(error.to_string()))?;
        seal_body(&mut header, &transactions, &receipts);
        if header.requests_hash.is_some() {
            header.requests_hash = Some(requests.requests_hash());
        }
        Ok(BuiltBlock {
            header,
            transactions,
            receipts,
            access,
            access_list: run.access_list,
            failures,
            delta: run.sealed.delta,
            left_out,
            stats: run.stats,
        })
    }
}

struct Run {
    block: EvmBlock,
    sealed: SealedBlock,
    stats: InferredStats,
    /// The sets of the transactions.
    access: Vec<AccessSet>,
    access_list: Option<BlockAccessList>,
    skipped: SkippedTransactions,
}

impl Run {
    /// What became of the transactions, with their places among those that were chosen.
    fn transactions(&self) -> impl Iterator<Item = (usize, &Outcome)> {
        let outcomes = self.sealed.outcomes.iter().enumerate();
        outcomes.filter_map(|(step, outcome)| Some((self.block.transaction_index(step)?, outcome)))
    }
}

const fn is_too_early(invalid: &InvalidStep) -> bool {
    matches!(
        invalid,
        InvalidStep::Transaction(InvalidTransaction::NonceTooHigh { .. })
    )
}

/// The place of the first transaction that there was no room for.
fn first_over_limit(run: &Run) -> Option<usize> {
    let mut gas_left = run.block.header().gas_limit;
    let steps = run.block.steps();
    for (step, outcome) in run.sealed.outcomes.iter().enumerate() {
        let (Some(index), Some(transaction)) =
            (run.block.transaction_index(step), steps[step].transaction())
        else {
            continue;
        };
        if is_transaction(outcome) && transaction.env().gas_limit > gas_left {
            return Some(index);
        }
        gas_left = gas_left.saturating_sub(outcome.gas_used);
    }
    None
}

const fn is_transaction(outcome: &Outcome) -> bool {
    matches!(outcome.kind, OutcomeKind::Transaction(_))
}

fn input(header: &Header, transactions: Vec<EvmTransaction>) -> BlockInput {
    BlockInput {
        header: header.clone(),
        transactions,
        ommers: Ommers::Headers(Vec::new()),
        withdrawals: Vec::new(),
    }
}
