//! Makes a block of candidates: plan, execute under locks, seal.

use super::{
    lenient::{LenientExecutor, Skip, Skipped},
    planner::{AccessPlanner, Plan, PlanRequest},
};
use crate::{
    chain::{
        ChainParameters, Failure,
        failure::failures,
        requests::{InvalidDeposit, check_deposits, requests},
    },
    pool::PooledTransaction,
};
use ahash::AHashMap;
use alloy_consensus::{Header, proofs::calculate_transaction_root};
use alloy_eips::eip7685::Requests;
use alloy_primitives::{Address, B256};
use lockweave_banking_stage::{BankingStage, RunStats, StageError, execute_block, seal_block};
use lockweave_evm_adapter::{
    BlockInput, ChainSpec, EvmBlock, EvmBlockError, EvmTransaction, InvalidStep, Ommers, Step,
    logs_bloom, receipts_root,
};
use lockweave_runtime::{
    AccessSet, Declaration, ExecutionError, INFERRED_KEYS_MAX, OpenBlock, Outcome, OutcomeKind,
    Receipt, Sanitized, SealError, SealedBlock, StateCells, StateDelta, StateView,
};
use revm::context::result::InvalidTransaction;
use std::{sync::Arc, time::Instant};
use thiserror::Error;
use tracing::{debug, warn};

/// A transaction whose plan was wrong this often runs alone.
const TRIES_MAX: u32 = 3;
/// Wrong plans remembered at most; beyond that everybody starts anew.
const RETRIES_REMEMBERED_MAX: usize = 65_536;

/// Why no block can be made.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The header is not one of its fork.
    #[error(transparent)]
    Header(#[from] EvmBlockError),
    /// A step of the protocol, or the state, failed.
    #[error("the block cannot be executed: {0}")]
    Execution(#[from] StageError<ExecutionError<InvalidStep>>),
    /// The block's changes cannot be gathered.
    #[error(transparent)]
    Seal(#[from] SealError),
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

/// A block that was executed, whose header lacks the state commitment.
#[derive(Debug)]
pub struct BuiltBlock {
    /// The header, but for `state_root`.
    pub header: Header,
    /// Transactions in block order.
    pub transactions: Vec<EvmTransaction>,
    /// Their receipts.
    pub receipts: Vec<Receipt>,
    /// The sets they were scheduled with.
    pub access: Vec<AccessSet>,
    /// Why transactions of type 0x44 were stopped.
    pub failures: Vec<Failure>,
    /// What the block changed.
    pub delta: StateDelta,
    /// Candidates that are not in it.
    pub left_out: Vec<(B256, LeftOut)>,
    /// How the run went.
    pub stats: RunStats,
    /// Transactions that left their sets.
    pub violations: usize,
}

/// A plan that was wrong.
#[derive(Debug)]
struct Retry {
    tries: u32,
    access: AccessSet,
}

/// Makes blocks, on threads that are kept between them.
pub struct BlockBuilder {
    chain: Arc<ChainSpec>,
    stage: BankingStage,
    planner: Box<dyn AccessPlanner>,
    deposit_contract: Option<Address>,
    retries: AHashMap<B256, Retry>,
    /// The last block's cells, for their memory.
    spare: Option<StateCells>,
}

/// A candidate that was chosen, with its plan.
struct Planned {
    transaction: EvmTransaction,
    gas_limit: u64,
    plan: Plan,
}

impl BlockBuilder {
    /// Makes blocks of a chain on these worker threads.
    pub fn new(
        parameters: &ChainParameters,
        stage: BankingStage,
        planner: Box<dyn AccessPlanner>,
    ) -> Self {
        Self {
            chain: Arc::clone(&parameters.spec),
            deposit_contract: parameters.genesis.config.deposit_contract_address,
            stage,
            planner,
            retries: AHashMap::new(),
            spare: None,
        }
    }

    /// Makes a block on the state before it. `header` says what was decided before execution.
    ///
    /// The order of the candidates is the order in the block; some may be left out.
    pub fn build(
        &mut self,
        view: &Arc<dyn StateView>,
        header: Header,
        candidates: &[Arc<PooledTransaction>],
    ) -> Result<BuiltBlock, BuildError> {
        let mut left_out = Vec::new();
        let mut chosen = self.choose(view, &header, candidates, &mut left_out)?;
        loop {
            let run = self.execute(view, &header, &chosen)?;
            if let Some(fitting) = first_over_limit(&chosen, &run) {
                // Somebody used more than was thought, so the last ones have no room. The prefix
                // comes to the same again.
                let too_many = chosen.split_off(fitting);
                let later = too_many.iter();
                left_out.extend(later.map(|one| (one.transaction.hash(), LeftOut::Later)));
            } else if let Some((index, invalid)) = self.first_invalid_deposit(&header, &run) {
                // No block may have this transaction. What is behind it ran after it, and waits; the
                // prefix comes to the same again, so this is done once.
                let later = chosen.split_off(index);
                let mut later = later.iter().map(|one| one.transaction.hash());
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

    /// The first transaction whose logs announce a deposit that cannot be read (EIP-6110), by its
    /// place among those that were chosen.
    fn first_invalid_deposit(&self, header: &Header, run: &Run) -> Option<(usize, InvalidDeposit)> {
        // Before Prague a log of the deposit contract is a log like others.
        header.requests_hash?;
        let outcomes = run.sealed.outcomes.iter().enumerate();
        let mut transactions = outcomes
            .filter_map(|(step, outcome)| Some((run.block.transaction_index(step)?, outcome)));
        transactions.find_map(|(index, outcome)| {
            let invalid = check_deposits(outcome, self.deposit_contract).err()?;
            Some((index, invalid))
        })
    }

    /// Plans the candidates and takes as many as seem to fit.
    fn choose(
        &mut self,
        view: &Arc<dyn StateView>,
        header: &Header,
        candidates: &[Arc<PooledTransaction>],
        left_out: &mut Vec<(B256, LeftOut)>,
    ) -> Result<Vec<Planned>, BuildError> {
        let context = EvmBlock::new(&self.chain, input(header, Vec::new()))?
            .context()
            .clone();
        let requests: Vec<_> = candidates
            .iter()
            .map(|candidate| PlanRequest {
                transaction: candidate.transaction.clone(),
                is_retry: self.retries.contains_key(&candidate.hash),
            })
            .collect();
        let started = Instant::now();
        let plans = self.planner.plan(view, &context, &requests);
        metrics::histogram!("lockweave_block_plan_seconds").record(started.elapsed().as_secs_f64());
        let mut gas_left = header.gas_limit;
        let mut chosen = Vec::with_capacity(candidates.len());
        for (candidate, plan) in candidates.iter().zip(plans) {
            if candidate.gas_limit > gas_left {
                left_out.push((candidate.hash, LeftOut::Later));
                continue;
            }
            gas_left = gas_left.saturating_sub(plan.gas_estimate);
            chosen.push(Planned {
                transaction: candidate.transaction.clone(),
                gas_limit: candidate.gas_limit,
                plan: self.widen(candidate.hash, plan),
            });
        }
        Ok(chosen)
    }

    /// Adds to a plan what earlier tries taught.
    fn widen(&self, hash: B256, mut plan: Plan) -> Plan {
        if let Some(retry) = self.retries.get(&hash) {
            let union = if retry.tries >= TRIES_MAX {
                Ok(AccessSet::Everything)
            } else {
                plan.access.union(&retry.access, INFERRED_KEYS_MAX)
            };
            plan.access = union.unwrap_or(AccessSet::Everything);
        }
        plan
    }

    fn execute(
        &mut self,
        view: &Arc<dyn StateView>,
        header: &Header,
        chosen: &[Planned],
    ) -> Result<Run, BuildError> {
        let transactions = chosen.iter().map(|one| one.transaction.clone()).collect();
        let block = EvmBlock::new(&self.chain, input(header, transactions))?;
        let steps = (block.steps().iter().enumerate())
            .map(|(index, step)| match block.transaction_index(index) {
                Some(index) => {
                    let plan = &chosen[index].plan;
                    Sanitized {
                        transaction: step.clone().with_gas_estimate(plan.gas_estimate),
                        access: plan.access.clone(),
                        declaration: plan.declaration,
                    }
                }
                // The few steps of the protocol run alone.
                None => Sanitized {
                    transaction: step.clone(),
                    access: AccessSet::Everything,
                    declaration: Declaration::Inferred,
                },
            })
            .collect();
        let rules = block.context().rules();
        let cells = match self.spare.take() {
            Some(mut cells) => {
                cells.reset(Arc::clone(view), rules);
                cells
            }
            None => StateCells::new(Arc::clone(view), rules),
        };
        let skipped = Skipped::default();
        let make = {
            let (context, skipped) = (block.context().clone(), Arc::clone(&skipped));
            move |last| LenientExecutor::turn_to(last, &context, &skipped)
        };
        let open = OpenBlock::with_cells(cells, steps);
        let (open, result) = execute_block(&self.stage, open, make, Step::gas_hint);
        let stats = result?;
        let (sealed, spent) = seal_block(&self.stage, open)?;
        self.spare = Some(spent.cells);
        let skipped = std::mem::take(&mut *skipped.lock());
        Ok(Run {
            block,
            sealed,
            stats,
            skipped: skipped.into_iter().collect(),
        })
    }

    fn finish(
        &mut self,
        mut header: Header,
        chosen: Vec<Planned>,
        run: Run,
        mut left_out: Vec<(B256, LeftOut)>,
    ) -> Result<BuiltBlock, BuildError> {
        let requests = match header.requests_hash {
            Some(_) => requests(&run.block, &run.sealed.outcomes, self.deposit_contract)?,
            None => Requests::default(),
        };
        let mut transactions = Vec::with_capacity(chosen.len());
        let mut access = Vec::with_capacity(chosen.len());
        let mut violations = 0;
        for planned in chosen {
            let hash = planned.transaction.hash();
            match run.skipped.get(&hash) {
                None => {
                    self.retries.remove(&hash);
                    transactions.push(planned.transaction);
                    access.push(planned.plan.access);
                }
                Some(Skip::Undeclared(access)) => {
                    violations += 1;
                    debug!(target: "producer", %hash, %access, "left its access set");
                    let reached = AccessSet::build(|set| {
                        set.insert(access.key, access.needed);
                    });
                    let widened = reached
                        .and_then(|reached| planned.plan.access.union(&reached, INFERRED_KEYS_MAX));
                    self.note_retry(hash, widened.unwrap_or(AccessSet::Everything));
                    left_out.push((hash, LeftOut::Later));
                }
                Some(Skip::Invalid(invalid)) => {
                    // Where somebody was left out, those behind him may only have to wait.
                    let waits = violations > 0 && depends_on_others(invalid);
                    let too_early = matches!(
                        **invalid,
                        InvalidStep::Transaction(InvalidTransaction::NonceTooHigh { .. })
                    );
                    let why = if waits || too_early {
                        LeftOut::Later
                    } else {
                        LeftOut::Invalid(invalid.to_string())
                    };
                    left_out.push((hash, why));
                }
            }
        }
        let receipts = run.sealed.receipts();
        let receipts = receipts.map_err(|error| BuildError::Receipts(error.to_string()))?;
        let envelopes: Vec<_> = transactions.iter().map(EvmTransaction::envelope).collect();
        header.transactions_root = calculate_transaction_root(&envelopes);
        header.receipts_root = receipts_root(&receipts);
        header.logs_bloom = logs_bloom(&receipts);
        header.gas_used = (receipts.last()).map_or(0, |receipt| receipt.cumulative_gas_used);
        if header.requests_hash.is_some() {
            header.requests_hash = Some(requests.requests_hash());
        }
        Ok(BuiltBlock {
            header,
            transactions,
            receipts,
            access,
            failures: failures(&run.sealed.outcomes),
            delta: run.sealed.delta,
            left_out,
            stats: run.stats,
            violations,
        })
    }

    fn note_retry(&mut self, hash: B256, access: AccessSet) {
        if self.retries.len() >= RETRIES_REMEMBERED_MAX {
            self.retries.clear();
        }
        let tries = self.retries.get(&hash).map_or(0, |retry| retry.tries) + 1;
        self.retries.insert(hash, Retry { tries, access });
    }
}

/// One run of a block.
struct Run {
    block: EvmBlock,
    sealed: SealedBlock,
    stats: RunStats,
    skipped: AHashMap<B256, Skip>,
}

/// Whether a refusal may go away when a transaction in front runs after all.
const fn depends_on_others(invalid: &InvalidStep) -> bool {
    matches!(
        invalid,
        InvalidStep::Transaction(
            InvalidTransaction::LackOfFundForMaxFee { .. }
                | InvalidTransaction::OverflowPaymentInTransaction
        )
    )
}

/// The place of the first transaction that there was no room for.
fn first_over_limit(chosen: &[Planned], run: &Run) -> Option<usize> {
    let mut gas_left = run.block.header().gas_limit;
    for (step, outcome) in run.sealed.outcomes.iter().enumerate() {
        let Some(index) = run.block.transaction_index(step) else {
            continue;
        };
        if is_transaction(outcome) && chosen[index].gas_limit > gas_left {
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
