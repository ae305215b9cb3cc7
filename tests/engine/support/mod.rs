//! Random blocks, and the runs that tests compare.

pub(crate) mod contracts;
pub(crate) mod generate;

use alloy_consensus::Signed;
use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, Signature, U256};
use lockweave::{
    BankingStage, EvmExecutor, EvmInferrer, MemoryState, OpenBlock, Sanitized, SealedBlock,
    StageConfig, StateView, Step,
    banking_stage::{InferredStats, execute_block, execute_inferred_block, seal_block},
    evm::{
        BlockContext, EvmBlock, InvalidStep, LockweaveTxEnvelope, SpecId, TemplateCache,
        TemplateScope,
    },
    runtime::{
        AccessSet, Account, Code, Declaration, DenseId, ExecutionError, Executor, GrantedState,
        INFERRED_KEYS_MAX, KeyTable, Outcome, Recording, SerialState, StateCells, StateDelta,
        TaskId,
    },
};
use proptest::prelude::*;
use std::{
    num::NonZeroUsize,
    sync::{Arc, LazyLock},
};

/// The worker counts of every property.
pub(crate) const WORKERS: [usize; 5] = [1, 2, 3, 4, 8];

/// A stage for each worker count, kept between cases. It runs blocks of any length under locks.
pub(crate) static STAGES: LazyLock<Vec<BankingStage>> =
    LazyLock::new(|| WORKERS.map(|threads| stage(threads, 0)).into());

/// Stages that run blocks without declared access sequentially, with one, two or seven prefetch workers.
pub(crate) static SEQUENTIAL_STAGES: LazyLock<Vec<BankingStage>> =
    LazyLock::new(|| [2, 3, 8].map(|threads| stage(threads, usize::MAX)).into());

/// Stages that run payments without locks, in blocks of any length.
pub(crate) static PAYMENT_STAGES: LazyLock<Vec<BankingStage>> = LazyLock::new(|| {
    let paying = |threads| StageConfig {
        payments_from: 1,
        ..config(threads, usize::MAX)
    };
    [1, 2, 4].map(|threads| start(paying(threads))).into()
});

fn stage(threads: usize, sequential_below: usize) -> BankingStage {
    start(config(threads, sequential_below))
}

fn config(threads: usize, sequential_below: usize) -> StageConfig {
    let threads = NonZeroUsize::new(threads).expect("at least one");
    StageConfig {
        sequential_below,
        ..StageConfig::with_threads(threads)
    }
}

fn start(config: StageConfig) -> BankingStage {
    BankingStage::new(config).expect("threads")
}

/// The forks since Istanbul.
pub(crate) const RECENT_FORKS: [SpecId; 9] = [
    SpecId::ISTANBUL,
    SpecId::BERLIN,
    SpecId::LONDON,
    SpecId::MERGE,
    SpecId::SHANGHAI,
    SpecId::CANCUN,
    SpecId::PRAGUE,
    SpecId::OSAKA,
    SpecId::AMSTERDAM,
];

/// A transaction with the test signature.
pub(crate) fn signed<T>(transaction: T) -> LockweaveTxEnvelope
where
    Signed<T>: Into<LockweaveTxEnvelope>,
{
    Signed::new_unhashed(transaction, Signature::test_signature()).into()
}

/// Inserts an account with its code.
pub(crate) fn insert_account(
    state: &mut MemoryState,
    address: Address,
    nonce: u64,
    balance: U256,
    code: &[u8],
) {
    let code_hash = if code.is_empty() {
        KECCAK256_EMPTY
    } else {
        let code = Arc::new(Code::new(Bytes::copy_from_slice(code)));
        let hash = code.hash();
        state.insert_code(code);
        hash
    };
    let account = Account {
        nonce,
        balance,
        code_hash,
    };
    state.insert_account(address, account);
}

/// An outcome and the keys touched, or the error's text.
pub(crate) type Ran = Result<(Outcome, AccessSet), String>;

/// Runs steps serially and records the keys that each touches. Returns the result of each step and the state changes.
pub(crate) fn run_serially(
    executor: &mut EvmExecutor<Recording<SerialState>>,
    context: &BlockContext,
    view: &Arc<dyn StateView>,
    steps: &[Step],
) -> (Vec<Ran>, StateDelta) {
    let mut state = Recording::new(SerialState::new(Arc::clone(view), context.rules()));
    let results = steps.iter().map(|step| {
        let result = executor.execute(step, &mut state);
        let set = state.take_access(INFERRED_KEYS_MAX).expect("few keys");
        match result {
            Ok(outcome) => Ok((outcome, set)),
            Err(error) => Err(error.to_string()),
        }
    });
    let results = results.collect();
    let delta = state.state().delta().expect("a state in memory");
    (results, delta)
}

/// A block and the state before it.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) block: EvmBlock,
    pub(crate) view: Arc<dyn StateView>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case")
            .field("fork", &self.block.context().spec())
            .field("steps", &self.block.steps())
            .finish_non_exhaustive()
    }
}

pub(crate) type Granted = EvmExecutor<GrantedState<Step>>;

/// Why a parallel run failed: the task, and its executor's error.
pub(crate) type Failure = (usize, ExecutionError<InvalidStep>);

/// The cost of a step, rounded up to the most that a payment without locks may cost, so that all but the smallest blocks
/// run in parallel.
fn crowded(step: &Step) -> u64 {
    step.gas_hint().max(99_000)
}

impl Case {
    /// Runs the block on the oracle and records the keys that each step touches. Returns the steps without the invalid
    /// ones, their sets and the result.
    pub(crate) fn record(&self) -> (Vec<Step>, Vec<AccessSet>, SealedBlock) {
        let context = self.block.context();
        let mut executor = EvmExecutor::<Recording<SerialState>>::new(context);
        let serial = SerialState::new(Arc::clone(&self.view), context.rules());
        let mut state = Recording::new(serial);
        let (mut steps, mut sets, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
        for step in self.block.steps() {
            let result = executor.execute(step, &mut state);
            let set = state.take_access(INFERRED_KEYS_MAX).expect("few keys");
            match result {
                Ok(outcome) => {
                    steps.push(step.clone());
                    sets.push(set);
                    outcomes.push(outcome);
                }
                Err(ExecutionError::Invalid(_)) => {}
                Err(error) => panic!("the state failed: {error}"),
            }
        }
        let delta = state.state().delta().expect("a state in memory");
        (steps, sets, SealedBlock { outcomes, delta })
    }

    /// Runs steps in parallel under these sets.
    pub(crate) fn run(
        &self,
        stage: &BankingStage,
        steps: &[Step],
        sets: &[AccessSet],
    ) -> Result<SealedBlock, Failure> {
        let context = self.block.context().clone();
        let make = move |_: Option<Granted>| Granted::new(&context).with_shortcuts().with_traces(0);
        self.run_with(stage, steps, sets, make)
    }

    /// Runs steps sequentially without declared access, beside prefetch workers, and once more under locks with the
    /// sets found. All results must equal `expected`. Returns how many simulations were used.
    pub(crate) fn check_sequential(
        &self,
        steps: &[Step],
        expected: &SealedBlock,
    ) -> Result<usize, TestCaseError> {
        let runs = SEQUENTIAL_STAGES.iter().map(|stage| {
            let stats = self.check_touched(stage, steps, expected)?;
            Ok(stats.simulations_taken)
        });
        runs.sum()
    }

    /// Runs steps without declared access, which must cause no access violation, and once more with the sets found. Both
    /// results must equal `expected`.
    pub(crate) fn check_touched(
        &self,
        stage: &BankingStage,
        steps: &[Step],
        expected: &SealedBlock,
    ) -> Result<InferredStats, TestCaseError> {
        let failed = |(task, error)| TestCaseError::fail(format!("step {task}: {error}"));
        let (open, stats) = self
            .infer_and_run(stage, steps, None, true)
            .map_err(failed)?;
        prop_assert_eq!(stats.violations + stats.rolled_back, 0);
        let sets = (0..steps.len()).map(|step| open.access(TaskId::from_index(step)).clone());
        let sets: Vec<_> = sets.collect();
        let found = seal_block(stage, open).expect("a finished block").0;
        prop_assert_eq!(&found, expected);
        let again = self.run(stage, steps, &sets).map_err(failed)?;
        prop_assert_eq!(&again, expected, "with the sets that were touched");
        Ok(stats)
    }

    /// Runs steps in parallel without declared access, with templates for calls within the scope, if given.
    pub(crate) fn run_inferred(
        &self,
        stage: &BankingStage,
        steps: &[Step],
        templates: Option<(&Arc<TemplateCache>, TemplateScope)>,
    ) -> Result<(SealedBlock, InferredStats), Failure> {
        let (open, stats) = self.infer_and_run(stage, steps, templates, false)?;
        Ok((seal_block(stage, open).expect("a finished block").0, stats))
    }

    fn infer_and_run(
        &self,
        stage: &BankingStage,
        steps: &[Step],
        templates: Option<(&Arc<TemplateCache>, TemplateScope)>,
        keeps_touched: bool,
    ) -> Result<(OpenBlock<Step>, InferredStats), Failure> {
        let transactions = steps.iter().map(|step| {
            let signed = step.signed_access(generate::beneficiary());
            let declaration = match signed {
                Some(_) => Declaration::Signed,
                None => Declaration::Inferred,
            };
            Sanitized {
                transaction: step.clone(),
                access: signed.unwrap_or_else(AccessSet::empty),
                declaration,
            }
        });
        let context = self.block.context().clone();
        let cells = StateCells::new(Arc::clone(&self.view), context.rules());
        let mut open = OpenBlock::to_infer(cells, transactions.collect());
        if keeps_touched {
            open = open.keep_touched();
        }
        let (templates, scope) = templates.unzip();
        let (templates, scope) = (templates.cloned(), scope.unwrap_or_default());
        let make = move |_: Option<(Granted, EvmInferrer)>| {
            let mut inferrer = EvmInferrer::new(&context);
            inferrer.trace_after(0);
            inferrer.set_templates(templates.clone(), scope);
            (
                Granted::new(&context).with_shortcuts().with_traces(0),
                inferrer,
            )
        };
        let (open, result) = execute_inferred_block(stage, open, make, crowded);
        match result {
            Ok(stats) => Ok((open, stats)),
            Err(lockweave::banking_stage::StageError::Task { task, source }) => {
                Err((task.index(), source))
            }
            Err(error) => panic!("the stage failed: {error}"),
        }
    }

    /// Runs steps in parallel with the test's own executor: with keys numbered beforehand, and with keys numbered by the
    /// stage. Both results must be equal.
    pub(crate) fn run_with<E>(
        &self,
        stage: &BankingStage,
        steps: &[Step],
        sets: &[AccessSet],
        make: impl Fn(Option<E>) -> E + Send + Sync + 'static,
    ) -> Result<SealedBlock, Failure>
    where
        E: Executor<GrantedState<Step>, Transaction = Step, Invalid = InvalidStep> + 'static,
    {
        let make = Arc::new(make);
        let open = |table: Option<KeyTable>| {
            let transactions = (steps.iter().zip(sets))
                .map(|(step, access)| Sanitized {
                    transaction: step.clone(),
                    access: access.clone(),
                    declaration: Declaration::Recorded,
                })
                .collect();
            let rules = self.block.context().rules();
            let cells = StateCells::new(Arc::clone(&self.view), rules);
            match table {
                Some(table) => OpenBlock::with_table(cells, transactions, Arc::new(table)),
                None => OpenBlock::with_cells(cells, transactions),
            }
        };
        let run = |open| {
            let make = Arc::clone(&make);
            let (open, result) = execute_block(stage, open, move |last| make(last), crowded);
            match result {
                Ok(_) => Ok(seal_block(stage, open).expect("a finished block").0),
                Err(lockweave::banking_stage::StageError::Task { task, source }) => {
                    Err((task.index(), source))
                }
                Err(error) => panic!("the stage failed: {error}"),
            }
        };
        let numbered_by_stage = run(open(None));
        let numbered = run(open(Some(KeyTable::number(sets))));
        match (&numbered_by_stage, &numbered) {
            (Ok(one), Ok(other)) => assert_eq!(one, other),
            (one, other) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        }
        numbered_by_stage
    }
}
