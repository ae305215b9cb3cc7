//! Replay: recorded blocks, executed serially and in parallel, and held against their headers.

pub mod report;

use crate::recorded::{RecordedBlock, RecordedError};
use alloy_consensus::{Header, TxEnvelope};
use alloy_eips::eip7928::BlockAccessList;
use lockweave_banking_stage::{InferredStats, StartError};
use lockweave_engine::{
    Access, Engine, EngineError, Executed, RecordedRun, SerialRun, can_be_listed,
};
use lockweave_evm_adapter::{
    BlockInput, ChainSpec, EvmBlock, EvmBlockError, EvmTransaction, Ommers, RecoverError, SpecId,
    TemplateCache, TemplateScope, logs_bloom, receipts_root, recover_senders,
};
use lockweave_runtime::{
    AccessError, DenseId, Receipt, SealError, SealedBlock, StateError, StateView, UndeclaredAccess,
};
use rayon::prelude::*;
use report::{BlockReport, InferenceReport, ListReport};
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
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum ReplayError {
    #[error(transparent)]
    Recorded(#[from] RecordedError),
    #[error("{file}: {source}")]
    Block { file: String, source: EvmBlockError },
    #[error("{file}: transactions[{index}]: {source}")]
    Signature {
        file: String,
        index: usize,
        source: RecoverError,
    },
    #[error("{file}: transactions[{index}] was signed by {recovered}, but `from` is {claimed}")]
    Sender {
        file: String,
        index: usize,
        recovered: alloy_primitives::Address,
        claimed: alloy_primitives::Address,
    },
    #[error("block {number}, step {step}: {problem}")]
    Step {
        number: u64,
        step: usize,
        problem: String,
    },
    #[error("block {number}: {source}; the recording is incomplete")]
    State { number: u64, source: StateError },
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Replays blocks one after another, with one engine.
#[derive(Debug)]
pub struct Replayer {
    options: ReplayOptions,
    chain: ChainSpec,
    engine: Engine,
    /// What was learned from the blocks so far.
    templates: Arc<TemplateCache>,
}

impl Replayer {
    /// Starts the worker threads.
    pub fn new(options: ReplayOptions, chain: ChainSpec) -> Result<Self, ReplayError> {
        let threads = match options.access {
            AccessSource::Serial => NonZeroUsize::MIN,
            AccessSource::Recorded | AccessSource::Inferred | AccessSource::Bal => options.threads,
        };
        Ok(Self {
            engine: Engine::builder().threads(threads.get()).build()?,
            options,
            chain,
            templates: Arc::new(TemplateCache::new()),
        })
    }

    /// Runs one block and says whether the result is right.
    pub fn replay(&mut self, recorded: RecordedBlock) -> Result<BlockReport, ReplayError> {
        let (block, view) = prepare_block(&self.chain, recorded, self.options.threads)?;
        let mut report = BlockReport::new(&block);
        let RecordedRun { sealed, sets } = match record(&block, &view) {
            Ok(recorded) => recorded,
            Err(error) => {
                report.fail(explain(error, &block)?);
                return Ok(report);
            }
        };
        verify_header(&mut report, block.header(), &sealed);
        let list = match self.options.access {
            AccessSource::Bal if can_be_listed(block.context().spec()) => {
                let start = Instant::now();
                let list = list_serially(&block, &view);
                let list = list.map_err(|error| unlisted(&error, &block))?;
                report.listing = Some(ListReport {
                    list_ms: start.elapsed().as_secs_f64() * 1e3,
                });
                Some(list)
            }
            _ => None,
        };
        report.by_list = (self.options.access == AccessSource::Bal).then_some(list.is_some());
        let recorded = RecordedRun { sealed, sets };
        // Numbering the keys is part of recording the sets.
        let access = recorded.access().numbered();
        let access = match (&list, self.options.access) {
            (Some(list), _) => Access::Listed(list),
            (None, AccessSource::Inferred) => Access::Inferred,
            (None, _) => Access::Recorded(&access),
        };
        let RecordedRun { sealed, .. } = &recorded;
        let mut serial_times = Vec::new();
        let mut parallel_times = Vec::new();
        let mut inference = None;
        let mut inference_times = Vec::new();
        let threads = u32::try_from(self.options.threads.get()).unwrap_or(u32::MAX);
        let templates = Arc::clone(&self.templates);
        for _ in 0..self.options.repeat.get() {
            // Every run begins with what the blocks before this one have taught.
            self.templates = Arc::new(TemplateCache::clone(&templates));
            let run = self.engine.run(&block).execute_serially(&view);
            let run = outcome(run, &block)?;
            compare(
                &mut report,
                sealed,
                run,
                "the serial run",
                &mut serial_times,
            );
            let (run, name) = match (self.options.access, access) {
                (AccessSource::Serial, _) => (
                    self.engine.run(&block).execute_serially(&view),
                    "the second serial run",
                ),
                (_, Access::Listed(_)) => (
                    self.engine.run(&block).access(access).execute(&view),
                    "the run by the list",
                ),
                _ => (
                    (self.engine.run(&block).access(access))
                        .templates(self.used_templates())
                        .execute(&view),
                    "the parallel run",
                ),
            };
            if self.options.access == AccessSource::Inferred {
                let stats = (run.as_ref()).map_or_else(
                    |_| InferredStats::default(),
                    |run| run.statistics.inference.clone(),
                );
                inference_times.push(stats.inference / threads);
                inference = Some(stats);
            }
            let run = outcome(run, &block)?;
            compare(&mut report, sealed, run, name, &mut parallel_times);
        }
        report.serial_ms = median_ms(&mut serial_times);
        report.parallel_ms = median_ms(&mut parallel_times);
        report.inference = inference.map(|stats| InferenceReport {
            inference_ms: median_ms(&mut inference_times),
            ..stats.into()
        });
        Ok(report)
    }

    fn used_templates(&self) -> Option<(Arc<TemplateCache>, TemplateScope)> {
        match self.options.templates {
            TemplateUse::On => Some((Arc::clone(&self.templates), TemplateScope::Every)),
            TemplateUse::Off => None,
        }
    }
}

/// The serial pass that records what every step accesses.
fn record(block: &EvmBlock, view: &Arc<dyn StateView>) -> Result<RecordedRun, EngineError> {
    let run = SerialRun::recording(block.context(), view).steps(block.steps())?;
    Ok(run.finish()?)
}

/// Builds the access list of a block by executing it on one thread.
fn list_serially(
    block: &EvmBlock,
    view: &Arc<dyn StateView>,
) -> Result<BlockAccessList, EngineError> {
    let run = SerialRun::new(block.context(), view).with_effects();
    Ok(run.steps(block.steps())?.access_list(block, view)?)
}

/// The error of a block that was executed before, but not when its list was built.
fn unlisted(error: &EngineError, block: &EvmBlock) -> ReplayError {
    let step = match error {
        EngineError::Step { index, .. } => *index,
        _ => 0,
    };
    ReplayError::Step {
        number: block.header().number,
        step,
        problem: error.to_string(),
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

/// Fewer signatures than this are not worth a thread: they are recovered in a batch.
const SIGNATURES_PER_THREAD_MIN: usize = 32;

/// Recovers senders, on at most `threads` threads, and lays the block out in steps.
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
    let share = envelopes.len().div_ceil(threads.get());
    let recovered: Vec<_> = (envelopes.par_chunks(share.max(SIGNATURES_PER_THREAD_MIN)))
        .flat_map_iter(|chunk| recover_senders(chunk.iter().copied(), homestead))
        .collect();
    let senders = (recovered.into_iter().enumerate()).map(|(index, sender)| {
        sender.map_err(|source| ReplayError::Signature {
            file: file.clone(),
            index,
            source,
        })
    });
    let senders: Vec<_> = senders.collect::<Result<_, _>>()?;
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

/// The outcome of one run of a block.
enum Run {
    Done(SealedBlock, Duration),
    Failed(String),
}

/// The result of a run, or why it has none; an error, if the recording cannot be executed.
fn outcome(result: Result<Executed, EngineError>, block: &EvmBlock) -> Result<Run, ReplayError> {
    match result {
        Ok(executed) => Ok(Run::Done(executed.sealed, executed.statistics.elapsed)),
        Err(error) => explain(error, block).map(Run::Failed),
    }
}

/// Tells a wrong block (a text) from a recording that cannot be executed (an error).
fn explain(error: EngineError, block: &EvmBlock) -> Result<String, ReplayError> {
    let number = block.header().number;
    match error {
        EngineError::Access(AccessError::State(source))
        | EngineError::Seal(SealError::State(source)) => Err(ReplayError::State { number, source }),
        // Steps and transactions are counted separately; users know the transaction's number.
        EngineError::Access(AccessError::Undeclared(access)) => {
            let step = access.transaction.map_or(0, DenseId::index);
            let transaction = None;
            let access = UndeclaredAccess {
                transaction,
                ..access
            };
            Ok(format!("{}: {access}", place(block, step)))
        }
        EngineError::Step { index, source } => Ok(format!("{}: {source}", place(block, index))),
        error => Ok(error.to_string()),
    }
}

/// What users call a step: its place among the transactions, if it is one.
fn place(block: &EvmBlock, step: usize) -> String {
    block.transaction_index(step).map_or_else(
        || format!("step {step}"),
        |index| format!("transaction {index}"),
    )
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
            .or_else(|| first_difference("cleared storage", &expected.cleared, &found.cleared))
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
