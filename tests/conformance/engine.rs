//! A block through the engine: a serial pass that records what every step touches, then the same
//! steps under locks on one worker and on four, and once more with nothing declared, which must all
//! come to the same.

use alloy_eips::eip7928::{AccountChanges, BlockAccessList};
use lockweave::{
    BankingStage, EvmBlock, EvmExecutor, EvmInferrer, OpenBlock, Sanitized, SealedBlock,
    StageConfig, StateView, Step,
    banking_stage::StageError,
    evm::{BlockContext, InvalidStep},
    execute_block, execute_inferred_block,
    runtime::{
        AccessError, AccessSet, Declaration, DenseId, ExecutionError, Executor, GrantedState,
        INFERRED_KEYS_MAX, Recording, SerialState, StateCells, StateDelta, execute_serially,
    },
    seal_block,
};
use lockweave_validator::chain::access_list::{ListError, execute_and_list, execute_listed};
use std::{num::NonZeroUsize, sync::Arc};

/// How many workers every case is run with.
const WORKERS: [usize; 2] = [1, 4];

type Granted = EvmExecutor<GrantedState<Step>>;

/// What became of a block: its results, or the step that may not be in it and why.
type Run = Result<SealedBlock, (usize, InvalidStep)>;

/// What became of a block, and its access list.
pub(crate) type ListedRun = Result<(SealedBlock, BlockAccessList), (usize, InvalidStep)>;

/// Worker threads, kept from case to case.
pub(crate) struct Engine {
    stages: Vec<(usize, BankingStage)>,
}

impl Engine {
    /// Starts the workers.
    pub(crate) fn new() -> Self {
        let stage = |workers| {
            let threads = NonZeroUsize::new(workers).expect("not zero");
            let stage = BankingStage::new(StageConfig::with_threads(threads));
            (workers, stage.expect("threads can be started"))
        };
        Self {
            stages: WORKERS.into_iter().map(stage).collect(),
        }
    }

    /// Runs a block, and builds its access list where its header commits to one.
    pub(crate) fn run_block(
        &self,
        block: &EvmBlock,
        view: &Arc<dyn StateView>,
    ) -> Result<ListedRun, String> {
        let sealed = match self.run(block.context(), block.steps(), view)? {
            Ok(sealed) => sealed,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let mut list = Vec::new();
        if block.has_access_list() {
            let Recorded { sets, .. } = record(block.context(), block.steps(), view)?;
            for (workers, stage) in &self.stages {
                let run = execute_and_list(stage, block, view, &sets);
                let (listed, built) = run.map_err(|error| error.to_string())?;
                if listed != sealed || (*workers > 1 && built != list) {
                    return Err(format!("{workers} workers come to another list or result"));
                }
                list = built;
            }
        }
        Ok(Ok((sealed, list)))
    }

    /// Runs a block by its access list on each number of workers.
    pub(crate) fn run_listed(
        &self,
        block: &EvmBlock,
        view: &Arc<dyn StateView>,
        list: &[AccountChanges],
    ) -> Vec<Result<SealedBlock, ListError>> {
        let stages = self.stages.iter();
        stages
            .map(|(_, stage)| execute_listed(stage, block, view, list))
            .collect()
    }

    /// Runs the steps of a block; the outer error is a difference between two ways to run them, or
    /// a failure of the state.
    pub(crate) fn run(
        &self,
        context: &BlockContext,
        steps: &[Step],
        view: &Arc<dyn StateView>,
    ) -> Result<Run, String> {
        let Recorded { sets, run, before } = record(context, steps, view)?;
        for (workers, stage) in &self.stages {
            let parallel = run_in_parallel(stage, context, &steps[..sets.len()], &sets, view)?;
            if parallel != run {
                return Err(format!(
                    "{workers} workers come to {parallel:?}, one thread to {run:?}"
                ));
            }
            // A refusal leaves nothing with the workers: what stood before it runs as ever.
            if let Some(before) = &before {
                let count = before.outcomes.len();
                let again = run_in_parallel(stage, context, &steps[..count], &sets[..count], view)?;
                if again.as_ref() != Ok(before) {
                    return Err(format!(
                        "after a refusal {workers} workers come to {again:?}, one thread to {before:?}"
                    ));
                }
            }
        }
        let (_, stage) = &self.stages[0];
        let inferred = run_inferred(stage, context, steps, view)?;
        if inferred == run {
            Ok(run)
        } else {
            Err(format!(
                "with nothing declared it comes to {inferred:?}, one thread to {run:?}"
            ))
        }
    }
}

/// What a serial pass learnt.
struct Recorded {
    /// What each step touches, up to and with the first that is refused.
    sets: Vec<AccessSet>,
    /// The result.
    run: Run,
    /// What the steps before the refused one come to, where there is one.
    before: Option<SealedBlock>,
}

/// Runs the steps one after another.
fn record(
    context: &BlockContext,
    steps: &[Step],
    view: &Arc<dyn StateView>,
) -> Result<Recorded, String> {
    let mut executor = EvmExecutor::<Recording<SerialState>>::new(context);
    let mut state = Recording::new(SerialState::new(Arc::clone(view), context.rules()));
    let (mut sets, mut outcomes) = (Vec::new(), Vec::new());
    for (index, step) in steps.iter().enumerate() {
        let result = executor.execute(step, &mut state);
        let set = state.take_access(INFERRED_KEYS_MAX);
        // More than a set can name is everything.
        sets.push(set.unwrap_or(AccessSet::Everything));
        match result {
            Ok(outcome) => outcomes.push(outcome),
            Err(ExecutionError::Invalid(invalid)) => {
                let left = state.state().delta().map_err(|error| error.to_string())?;
                let before = check_no_effect(context, &steps[..index], view, &left)?;
                return Ok(Recorded {
                    sets,
                    run: Err((index, invalid)),
                    before: Some(before),
                });
            }
            Err(ExecutionError::Access(error)) => return Err(error.to_string()),
        }
    }
    let delta = state.state().delta().map_err(|error| error.to_string())?;
    Ok(Recorded {
        sets,
        run: Ok(SealedBlock { outcomes, delta }),
        before: None,
    })
}

/// What a refused step left behind has to be what those before it did, which is returned.
fn check_no_effect(
    context: &BlockContext,
    before: &[Step],
    view: &Arc<dyn StateView>,
    left: &StateDelta,
) -> Result<SealedBlock, String> {
    let mut state = SerialState::new(Arc::clone(view), context.rules());
    let mut executor = EvmExecutor::new(context);
    let without = execute_serially(&mut executor, &mut state, before);
    let without = without.map_err(|error| error.to_string())?;
    if without.delta == *left {
        Ok(without)
    } else {
        let without = without.delta;
        Err(format!(
            "a refused step left {left:?}, without it {without:?}"
        ))
    }
}

/// Executors are kept from block to block, as in the product.
fn granted(last: Option<Granted>, context: &BlockContext) -> Granted {
    match last {
        Some(mut executor) => {
            executor.set_block(context);
            executor
        }
        None => Granted::new(context).with_shortcuts().with_traces(0),
    }
}

fn run_in_parallel(
    stage: &BankingStage,
    context: &BlockContext,
    steps: &[Step],
    sets: &[AccessSet],
    view: &Arc<dyn StateView>,
) -> Result<Run, String> {
    let transactions = (steps.iter().zip(sets))
        .map(|(step, access)| Sanitized {
            transaction: step.clone(),
            access: access.clone(),
            declaration: Declaration::Recorded,
        })
        .collect();
    let open = OpenBlock::new(Arc::clone(view), context.rules(), transactions);
    let context = context.clone();
    let make = move |last| granted(last, &context);
    let (open, result) = execute_block(stage, open, make, Step::gas_hint);
    conclude(stage, open, result.map(drop))
}

/// The same with nothing declared: blocks as short as these run in order, and tell nobody what they touched.
fn run_inferred(
    stage: &BankingStage,
    context: &BlockContext,
    steps: &[Step],
    view: &Arc<dyn StateView>,
) -> Result<Run, String> {
    let transactions = steps.iter().map(|step| Sanitized {
        transaction: step.clone(),
        access: AccessSet::empty(),
        declaration: Declaration::Inferred,
    });
    let cells = StateCells::new(Arc::clone(view), context.rules());
    let open = OpenBlock::to_infer(cells, transactions.collect());
    let context = context.clone();
    let make = move |last: Option<(Granted, EvmInferrer)>| {
        let (executor, inferrer) = last.unzip();
        let mut inferrer = inferrer.unwrap_or_else(|| EvmInferrer::new(&context));
        inferrer.set_block(&context);
        (granted(executor, &context), inferrer)
    };
    let (open, result) = execute_inferred_block(stage, open, make, Step::gas_hint);
    conclude(stage, open, result.map(drop))
}

fn conclude(
    stage: &BankingStage,
    open: OpenBlock<Step>,
    result: Result<(), StageError<ExecutionError<InvalidStep>>>,
) -> Result<Run, String> {
    match result {
        Ok(()) => {
            let sealed = seal_block(stage, open).map_err(|error| error.to_string())?;
            Ok(Ok(sealed.0))
        }
        Err(StageError::Task { task, source }) => match source {
            ExecutionError::Invalid(invalid) => Ok(Err((task.index(), invalid))),
            ExecutionError::Access(AccessError::Undeclared(access)) => {
                Err(format!("under locks, {access}"))
            }
            ExecutionError::Access(error) => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    }
}
