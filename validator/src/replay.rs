//! Replay: recorded blocks, executed serially and in parallel, and held against their headers.

use crate::{
    chain::access_list::{ListError, can_be_listed, execute_listed, list_serially},
    recorded::{RecordedBlock, RecordedError},
    report::{BlockReport, InferenceReport, ListReport},
    senders::recover_senders,
};
use alloy_consensus::{Header, TxEnvelope};
use alloy_eips::eip7928::AccountChanges;
use lockweave_banking_stage::{
    BankingStage, InferredStats, StageConfig, StageError, StartError, execute_block,
    execute_inferred_block, seal_block,
};
use lockweave_evm_adapter::{
    BlockInput, ChainSpec, EvmBlock, EvmBlockError, EvmExecutor, EvmInferrer, EvmTransaction,
    InvalidStep, Ommers, RecoverError, SpecId, Step, TemplateCache, TemplateScope, logs_bloom,
    receipts_root,
};
use lockweave_runtime::{
    AccessError, AccessSet, BlockError, Declaration, DenseId, ExecutionError, Executor,
    GrantedState, INFERRED_KEYS_MAX, KeyTable, OpenBlock, Receipt, Recording, Sanitized, SealError,
    SealedBlock, SerialState, StateCells, StateError, StateView, UndeclaredAccess,
    execute_serially,
};
use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;

/// Where the access sets of the parallel run come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AccessSource {
    /// No parallel run: the serial run is made twice and compared with itself.
    Serial,
    /// From a serial pass that records what every transaction touches.
    Recorded,
    /// From nothing but the transactions: inferred on the state before the block, as part of the
    /// parallel run. Transactions that leave their sets are run again, and what depends on them.
    Inferred,
    /// From the block's access list (EIP-7928): all transactions run at once, on values from the list
    /// and without locks, and what they did is held against the list. Recordings have no lists, so a
    /// serial pass builds one before; that pass is no part of the parallel time, but stated apart
    /// (`list_ms`). Blocks from before Cancun, of which a list cannot say everything, run under
    /// recorded sets.
    Bal,
}

/// How to replay.
#[derive(Clone, Copy, Debug)]
pub struct ReplayOptions {
    /// Worker threads, the calling thread included.
    pub threads: NonZeroUsize,
    /// Where access sets come from.
    pub access: AccessSource,
    /// How often each block is run serially and in parallel; medians are reported.
    pub repeat: NonZeroUsize,
    /// Whether inferred sets may come from templates, which are learned from one block to the next.
    pub templates: TemplateUse,
}

/// Whether inference goes by templates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TemplateUse {
    /// Calls whose like were seen before are not simulated.
    On,
    /// Every call of a contract is simulated: faster on mainnet's blocks, which have few calls of a kind.
    #[default]
    Off,
}

/// Why a block cannot be replayed: something is wrong with the input or with this program, not with
/// the block's result.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The recording is damaged or incomplete.
    #[error(transparent)]
    Recorded(#[from] RecordedError),
    /// The block is of a fork that is not known, or not of the fork its place says.
    #[error("{file}: {source}")]
    Block {
        /// The block's file.
        file: String,
        /// What is wrong with it.
        source: EvmBlockError,
    },
    /// A signature names no sender.
    #[error("{file}: transactions[{index}]: {source}")]
    Signature {
        /// The block's file.
        file: String,
        /// The transaction's place in the block.
        index: usize,
        /// What is wrong with it.
        source: RecoverError,
    },
    /// A transaction is recorded as somebody else's.
    #[error("{file}: transactions[{index}] was signed by {recovered}, but `from` is {claimed}")]
    Sender {
        /// The block's file.
        file: String,
        /// The transaction's place in the block.
        index: usize,
        /// Who signed it.
        recovered: alloy_primitives::Address,
        /// Who is recorded as its sender.
        claimed: alloy_primitives::Address,
    },
    /// A step of the block cannot be executed.
    #[error("block {number}, step {step}: {problem}")]
    Step {
        /// The block's number.
        number: u64,
        /// The step's place in the block.
        step: usize,
        /// Why.
        problem: String,
    },
    /// The recorded state could not answer.
    #[error("block {number}: {source}; the recording is incomplete")]
    State {
        /// The block's number.
        number: u64,
        /// What it was asked.
        source: StateError,
    },
    /// The worker threads could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Replays blocks one after another, on threads that are kept between them.
#[derive(Debug)]
pub struct Replayer {
    options: ReplayOptions,
    chain: ChainSpec,
    stage: BankingStage,
    serial: Option<EvmExecutor<SerialState>>,
    recording: Option<EvmExecutor<Recording<SerialState>>>,
    /// Kept between blocks for its memory.
    serial_state: SerialState,
    /// The last block's cells, for their memory.
    spare: Option<StateCells>,
    /// What was learned from the blocks so far.
    templates: Arc<TemplateCache>,
}

type Granted = EvmExecutor<GrantedState<Step>>;

impl Replayer {
    /// Starts the worker threads.
    pub fn new(options: ReplayOptions, chain: ChainSpec) -> Result<Self, ReplayError> {
        let threads = match options.access {
            AccessSource::Serial => NonZeroUsize::MIN,
            AccessSource::Recorded | AccessSource::Inferred | AccessSource::Bal => options.threads,
        };
        Ok(Self {
            stage: BankingStage::new(StageConfig::with_threads(threads))?,
            options,
            chain,
            serial: None,
            recording: None,
            serial_state: SerialState::default(),
            spare: None,
            templates: Arc::new(TemplateCache::new()),
        })
    }

    /// Runs one block and says whether the result is right.
    pub fn replay(&mut self, recorded: RecordedBlock) -> Result<BlockReport, ReplayError> {
        let number = recorded.header.number;
        let (block, view) = prepare_block(&self.chain, recorded, self.options.threads)?;
        let mut report = BlockReport::new(&block);
        let (sealed, steps) = match self.record(&block, &view)? {
            Ok(recorded) => recorded,
            Err(problem) => {
                report.fail(problem);
                return Ok(report);
            }
        };
        verify_header(&mut report, block.header(), &sealed);
        let list = match self.options.access {
            AccessSource::Bal if can_be_listed(block.context().spec()) => {
                let start = Instant::now();
                let list = list_serially(&block, &view);
                let list = list.map_err(|error| unlisted(&error, number))?;
                report.listing = Some(ListReport {
                    list_ms: start.elapsed().as_secs_f64() * 1e3,
                });
                Some(list)
            }
            _ => None,
        };
        report.by_list = (self.options.access == AccessSource::Bal).then_some(list.is_some());
        let mut serial_times = Vec::new();
        let mut parallel_times = Vec::new();
        let mut inference = None;
        let mut inference_times = Vec::new();
        let threads = u32::try_from(self.options.threads.get()).unwrap_or(u32::MAX);
        let templates = Arc::clone(&self.templates);
        for _ in 0..self.options.repeat.get() {
            // Every run begins with what the blocks before this one have taught.
            self.templates = Arc::new(TemplateCache::clone(&templates));
            let run = self.run_serially(&block, &view, number)?;
            compare(
                &mut report,
                &sealed,
                run,
                "the serial run",
                &mut serial_times,
            );
            if let Some(list) = &list {
                let run = self.run_listed(&block, &view, list);
                let name = "the run by the list";
                compare(&mut report, &sealed, run, name, &mut parallel_times);
                continue;
            }
            let (run, name) = match self.options.access {
                AccessSource::Serial => (
                    self.run_serially(&block, &view, number)?,
                    "the second serial run",
                ),
                AccessSource::Recorded | AccessSource::Bal => (
                    self.run_in_parallel(&block, &view, &steps)?,
                    "the parallel run",
                ),
                AccessSource::Inferred => {
                    let (run, stats) = self.run_inferred(&block, &view)?;
                    inference_times.push(stats.inference / threads);
                    inference = Some(stats);
                    (run, "the parallel run")
                }
            };
            compare(&mut report, &sealed, run, name, &mut parallel_times);
        }
        report.serial_ms = median_ms(&mut serial_times);
        report.parallel_ms = median_ms(&mut parallel_times);
        report.inference = inference.map(|stats| InferenceReport {
            inference_ms: median_ms(&mut inference_times),
            ..stats.into()
        });
        Ok(report)
    }

    /// The serial pass that records what every step touches.
    fn record(
        &mut self,
        block: &EvmBlock,
        view: &Arc<dyn StateView>,
    ) -> Result<Result<(SealedBlock, Vec<RecordedStep>), String>, ReplayError> {
        let number = block.header().number;
        let executor = reuse(&mut self.recording, block);
        let rules = block.context().rules();
        let mut state = Recording::new(SerialState::new(Arc::clone(view), rules));
        let mut outcomes = Vec::with_capacity(block.steps().len());
        let mut steps = Vec::with_capacity(block.steps().len());
        for (index, step) in block.steps().iter().enumerate() {
            match executor.execute(step, &mut state) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => return explain(error, block, index).map(Err),
            }
            let set = state.take_access(INFERRED_KEYS_MAX);
            steps.push(RecordedStep {
                // More than a set can name is everything.
                access: set.unwrap_or(AccessSet::Everything),
                gas_used: outcomes.last().map_or(0, |outcome| outcome.gas_used),
            });
        }
        let delta = state
            .state()
            .delta()
            .map_err(|source| ReplayError::State { number, source })?;
        Ok(Ok((SealedBlock { outcomes, delta }, steps)))
    }

    fn run_serially(
        &mut self,
        block: &EvmBlock,
        view: &Arc<dyn StateView>,
        number: u64,
    ) -> Result<Run, ReplayError> {
        let executor = reuse(&mut self.serial, block);
        // Both runs start on memory that was cleared off the clock.
        let state = &mut self.serial_state;
        state.reset(Arc::clone(view), block.context().rules());
        let start = Instant::now();
        let sealed = execute_serially(executor, state, block.steps());
        let time = start.elapsed();
        match sealed {
            Ok(sealed) => Ok(Run::Done(sealed, time)),
            Err(BlockError::State(source)) => Err(ReplayError::State { number, source }),
            Err(BlockError::Transaction {
                transaction,
                source,
            }) => explain(source, block, transaction.index()).map(Run::Failed),
        }
    }

    fn run_in_parallel(
        &mut self,
        block: &EvmBlock,
        view: &Arc<dyn StateView>,
        steps: &[RecordedStep],
    ) -> Result<Run, ReplayError> {
        let number = block.header().number;
        let transactions: Vec<_> = (block.steps().iter().zip(steps))
            .map(|(step, recorded)| Sanitized {
                transaction: step.clone().with_gas_estimate(recorded.gas_used),
                access: recorded.access.clone(),
                declaration: Declaration::Recorded,
            })
            .collect();
        let make = make_granted(block);
        let cells = self.fresh_cells(block, view);
        // Numbering is part of recording the sets.
        let table = KeyTable::number(steps.iter().map(|step| &step.access));
        let start = Instant::now();
        let open = OpenBlock::with_table(cells, transactions, Arc::new(table));
        let (open, result) = execute_block(&self.stage, open, make, Step::gas_hint);
        if let Some(failed) = failed_run(result.map(drop), block)? {
            return Ok(failed);
        }
        self.seal(open, start, number)
    }

    /// Runs the block by its access list.
    fn run_listed(
        &self,
        block: &EvmBlock,
        view: &Arc<dyn StateView>,
        list: &[AccountChanges],
    ) -> Run {
        let start = Instant::now();
        match execute_listed(&self.stage, block, view, list) {
            Ok(sealed) => Run::Done(sealed, start.elapsed()),
            Err(error) => Run::Failed(error.to_string()),
        }
    }

    /// Runs the block from its transactions alone.
    fn run_inferred(
        &mut self,
        block: &EvmBlock,
        view: &Arc<dyn StateView>,
    ) -> Result<(Run, InferredStats), ReplayError> {
        let number = block.header().number;
        let transactions: Vec<_> = (block.steps().iter())
            .map(|step| Sanitized {
                transaction: step.clone(),
                access: step.listed_access(),
                declaration: Declaration::Inferred,
            })
            .collect();
        let granted = make_granted(block);
        let context = block.context().clone();
        let templates = match self.options.templates {
            TemplateUse::On => Some(Arc::clone(&self.templates)),
            TemplateUse::Off => None,
        };
        let make = move |last: Option<(Granted, EvmInferrer)>| {
            let (executor, inferrer) = last.unzip();
            let mut inferrer = inferrer.unwrap_or_else(|| EvmInferrer::new(&context));
            inferrer.set_block(&context);
            inferrer.set_templates(templates.clone(), TemplateScope::Every);
            (granted(executor), inferrer)
        };
        let cells = self.fresh_cells(block, view);
        let start = Instant::now();
        let open = OpenBlock::to_infer(cells, transactions);
        let (open, result) = execute_inferred_block(&self.stage, open, make, Step::gas_hint);
        let stats = result
            .as_ref()
            .map_or_else(|_| InferredStats::default(), InferredStats::clone);
        if let Some(failed) = failed_run(result.map(drop), block)? {
            return Ok((failed, stats));
        }
        Ok((self.seal(open, start, number)?, stats))
    }

    /// The cells of the last block, cleared, or new ones.
    fn fresh_cells(&mut self, block: &EvmBlock, view: &Arc<dyn StateView>) -> StateCells {
        let (view, rules) = (Arc::clone(view), block.context().rules());
        match self.spare.take() {
            Some(mut cells) => {
                cells.reset(view, rules);
                cells
            }
            None => StateCells::new(view, rules),
        }
    }

    fn seal(
        &mut self,
        open: OpenBlock<Step>,
        start: Instant,
        number: u64,
    ) -> Result<Run, ReplayError> {
        let sealed = seal_block(&self.stage, open);
        let time = start.elapsed();
        match sealed {
            Ok((sealed, spent)) => {
                self.spare = Some(spent.into_cells());
                Ok(Run::Done(sealed, time))
            }
            Err(SealError::State(source)) => Err(ReplayError::State { number, source }),
            Err(error) => Ok(Run::Failed(error.to_string())),
        }
    }
}

/// A block that ran, but not when its list was built.
fn unlisted(error: &ListError, number: u64) -> ReplayError {
    let step = match error {
        ListError::Step { index, .. } => *index,
        _ => 0,
    };
    ReplayError::Step {
        number,
        step,
        problem: error.to_string(),
    }
}

/// Gives workers their executors, turned to this block.
fn make_granted(block: &EvmBlock) -> impl Fn(Option<Granted>) -> Granted + Send + Sync + 'static {
    let context = block.context().clone();
    move |last| match last {
        Some(mut executor) => {
            executor.set_block(&context);
            executor
        }
        None => Granted::new(&context).with_shortcuts(),
    }
}

/// Why a run has no result, if it has none.
fn failed_run(
    result: Result<(), StageError<ExecutionError<InvalidStep>>>,
    block: &EvmBlock,
) -> Result<Option<Run>, ReplayError> {
    match result {
        Ok(()) => Ok(None),
        Err(StageError::Task { task, source }) => {
            explain(source, block, task.index()).map(|problem| Some(Run::Failed(problem)))
        }
        Err(error) => Ok(Some(Run::Failed(error.to_string()))),
    }
}

impl From<InferredStats> for InferenceReport {
    fn from(stats: InferredStats) -> Self {
        Self {
            extended: stats.late_grants,
            violations: stats.violations,
            rolled_back: stats.rolled_back,
            inference_ms: stats.inference.as_secs_f64() * 1e3,
            inferred_known: stats.known,
            inferred_by_template: stats.by_template,
            inferred_by_simulation: stats.by_simulation,
            simulations_taken: stats.simulations_taken,
            ran_alone: stats.executed_alone,
            payments_without_locks: stats.payments,
        }
    }
}

/// Recovers senders, on `threads` threads, and lays the block out in steps.
pub fn prepare_block(
    chain: &ChainSpec,
    recorded: RecordedBlock,
    threads: NonZeroUsize,
) -> Result<(EvmBlock, Arc<dyn StateView>), ReplayError> {
    let RecordedBlock {
        file,
        header,
        transactions,
        ommers,
        withdrawals,
        state,
    } = recorded;
    let fork = chain.fork_at(header.number, header.timestamp);
    let envelopes: Vec<&TxEnvelope> = transactions.iter().map(|(tx, _)| tx).collect();
    let homestead = fork.is_enabled_in(SpecId::HOMESTEAD);
    let senders = recover_senders(&envelopes, homestead, threads);
    let senders = senders.map_err(|(index, source)| ReplayError::Signature {
        file: file.clone(),
        index,
        source,
    })?;
    let claims = transactions.iter().map(|(_, claimed)| *claimed);
    if let Some((index, (recovered, claimed))) = (senders.iter().copied())
        .zip(claims)
        .enumerate()
        .find(|(_, (recovered, claimed))| recovered != claimed)
    {
        return Err(ReplayError::Sender {
            file,
            index,
            recovered,
            claimed,
        });
    }
    let transactions = (transactions.into_iter().zip(senders))
        .map(|((envelope, _), sender)| EvmTransaction::new(envelope, sender))
        .collect();
    let input = BlockInput {
        header,
        transactions,
        ommers: Ommers::Count(ommers),
        withdrawals,
    };
    let block =
        EvmBlock::new(chain, input).map_err(|source| ReplayError::Block { file, source })?;
    Ok((block, Arc::new(state)))
}

/// What the recording pass learnt of a step.
struct RecordedStep {
    access: AccessSet,
    gas_used: u64,
}

/// What became of one run of a block.
enum Run {
    Done(SealedBlock, Duration),
    Failed(String),
}

/// The executor kept from the last block, or a new one.
fn reuse<'e, S>(kept: &'e mut Option<EvmExecutor<S>>, block: &EvmBlock) -> &'e mut EvmExecutor<S>
where
    S: lockweave_runtime::StateAccess + Default,
{
    match kept {
        Some(executor) => {
            executor.set_block(block.context());
            executor
        }
        None => kept.insert(EvmExecutor::new(block.context())),
    }
}

/// Tells a wrong block (a text) from a recording that cannot be executed (an error).
fn explain(
    error: ExecutionError<InvalidStep>,
    block: &EvmBlock,
    step: usize,
) -> Result<String, ReplayError> {
    let number = block.header().number;
    let place = block.transaction_index(step).map_or_else(
        || format!("step {step}"),
        |index| format!("transaction {index}"),
    );
    match error {
        ExecutionError::Access(AccessError::State(source)) => {
            Err(ReplayError::State { number, source })
        }
        // Steps and transactions are counted apart; `place` has the number people know.
        ExecutionError::Access(AccessError::Undeclared(access)) => {
            let transaction = None;
            let access = UndeclaredAccess {
                transaction,
                ..access
            };
            Ok(format!("{place}: {access}"))
        }
        ExecutionError::Invalid(error) => Ok(format!("{place}: {error}")),
    }
}

/// Holds what the block came to against its header.
fn verify_header(report: &mut BlockReport, header: &Header, sealed: &SealedBlock) {
    let receipts = match sealed.receipts() {
        Ok(receipts) => receipts,
        Err(error) => return report.fail(error.to_string()),
    };
    let gas_used = receipts
        .last()
        .map_or(0, |receipt| receipt.cumulative_gas_used);
    report.gas = gas_used;
    report.gas_ok = gas_used == header.gas_used;
    if !report.gas_ok {
        let expected = header.gas_used;
        report.fail(format!(
            "gas used is {gas_used}, the header says {expected}"
        ));
    }
    if report.has_status_receipts {
        report.receipts_ok = Some(verify_receipts(report, header, &receipts));
    }
}

fn verify_receipts(report: &mut BlockReport, header: &Header, receipts: &[Receipt]) -> bool {
    let root = receipts_root(receipts);
    let root_ok = root == header.receipts_root;
    if !root_ok {
        let expected = header.receipts_root;
        report.fail(format!(
            "the receipts' root is {root}, the header says {expected}"
        ));
    }
    let bloom_ok = logs_bloom(receipts) == header.logs_bloom;
    if !bloom_ok {
        report.fail("the logs' bloom filter is not the header's".to_owned());
    }
    root_ok && bloom_ok
}

/// Holds a run against the recording pass, and keeps its time.
fn compare(
    report: &mut BlockReport,
    expected: &SealedBlock,
    run: Run,
    name: &str,
    times: &mut Vec<Duration>,
) {
    match run {
        Run::Done(sealed, time) => {
            times.push(time);
            if let Some(difference) = difference(expected, &sealed) {
                report.differ(format!("{name} differs from the oracle: {difference}"));
            }
        }
        Run::Failed(problem) => report.differ(format!("{name} failed: {problem}")),
    }
}

/// The first thing in which two results differ.
fn difference(expected: &SealedBlock, found: &SealedBlock) -> Option<String> {
    if expected == found {
        return None;
    }
    let outcomes = expected.outcomes.iter().zip(&found.outcomes);
    for (index, (expected, found)) in outcomes.enumerate() {
        if expected != found {
            return Some(format!("step {index} came to {found:?}, not {expected:?}"));
        }
    }
    let (expected, found) = (&expected.delta, &found.delta);
    Some(
        first_difference("accounts", &expected.accounts, &found.accounts)
            .or_else(|| first_difference("slots", &expected.slots, &found.slots))
            .or_else(|| first_difference("wiped storage", &expected.wiped, &found.wiped))
            .or_else(|| first_difference("codes", &expected.codes, &found.codes))
            .unwrap_or_else(|| "a different number of steps ran".to_owned()),
    )
}

fn first_difference<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &[T],
    found: &[T],
) -> Option<String> {
    let same = expected
        .iter()
        .zip(found)
        .take_while(|(expected, found)| expected == found)
        .count();
    (same < expected.len() || same < found.len()).then(|| {
        format!(
            "among the changed {what}, {:?} should be {:?}",
            found.get(same),
            expected.get(same)
        )
    })
}

/// The median in milliseconds; zero where nothing ran to its end.
fn median_ms(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    let median = match times {
        [] => Duration::ZERO,
        times if times.len() % 2 == 1 => times[times.len() / 2],
        times => (times[times.len() / 2 - 1] + times[times.len() / 2]) / 2,
    };
    median.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_the_middle() {
        let ms = Duration::from_millis;
        assert!(median_ms(&mut []).abs() < 1e-9);
        assert!((median_ms(&mut [ms(9), ms(1), ms(2)]) - 2.0).abs() < 1e-9);
        assert!((median_ms(&mut [ms(4), ms(1), ms(2), ms(9)]) - 3.0).abs() < 1e-9);
    }
}
