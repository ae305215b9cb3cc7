//! A block through the engine: a serial pass that records what every step touches, then the same
//! steps under locks on one worker and on four, and once more with nothing declared, which must all
//! come to the same.

use alloy_eips::eip7928::{AccountChanges, BlockAccessList};
use lockweave::{
    Access, Engine as ParallelEngine, EngineError, EvmBlock, Executed, RecordedAccess, SealedBlock,
    StateView, Step,
    engine::SerialRun,
    evm::{BlockContext, InvalidStep},
    runtime::{AccessSet, ExecutionError, SerialState, StateDelta, execute_serially},
};
use std::sync::Arc;

/// How many workers every case is run with.
const WORKERS: [usize; 2] = [1, 4];

/// The result of a block, or the step that is invalid in it and why.
type Run = Result<SealedBlock, (usize, InvalidStep)>;

/// The result of a block, and its access list.
pub(crate) type ListedRun = Result<(SealedBlock, BlockAccessList), (usize, InvalidStep)>;

/// Engines with different numbers of workers, kept from case to case.
pub(crate) struct Engine {
    engines: Vec<(usize, ParallelEngine)>,
}

impl Engine {
    /// Starts the workers.
    pub(crate) fn new() -> Self {
        let engine = |workers| {
            // Calls are traced from the first of their kind on.
            let builder = ParallelEngine::builder().trace_after(0).templates(None);
            let engine = builder.threads(workers).build();
            (workers, engine.expect("threads can be started"))
        };
        Self {
            engines: WORKERS.into_iter().map(engine).collect(),
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
            let access = RecordedAccess::new(sets);
            for (workers, engine) in &self.engines {
                let run = engine.run(block).access(Access::Recorded(&access));
                let executed = run.build_access_list().execute(view);
                let executed = executed.map_err(|error| error.to_string())?;
                let built = executed.access_list.ok_or("no list was built")?;
                if executed.sealed != sealed || (*workers > 1 && built != list) {
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
    ) -> Vec<Result<SealedBlock, EngineError>> {
        let engines = self.engines.iter();
        engines
            .map(|(_, engine)| {
                let run = engine.run(block).access(Access::Listed(list));
                Ok(run.execute(view)?.sealed)
            })
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
        for (workers, engine) in &self.engines {
            let parallel = run_recorded(engine, context, &steps[..sets.len()], &sets, view)?;
            if parallel != run {
                return Err(format!(
                    "{workers} workers come to {parallel:?}, one thread to {run:?}"
                ));
            }
            // A refused step leaves nothing with the workers: the steps before it run as ever.
            if let Some(before) = &before {
                let count = before.outcomes.len();
                let again = run_recorded(engine, context, &steps[..count], &sets[..count], view)?;
                if again.as_ref() != Ok(before) {
                    return Err(format!(
                        "after a refusal {workers} workers come to {again:?}, one thread to {before:?}"
                    ));
                }
            }
        }
        let (_, engine) = &self.engines[0];
        let inferred = conclude(engine.run_steps(context, steps).execute(view))?;
        if inferred == run {
            Ok(run)
        } else {
            Err(format!(
                "with nothing declared it comes to {inferred:?}, one thread to {run:?}"
            ))
        }
    }
}

/// What a serial pass found.
struct Recorded {
    /// The access set of each step, up to and with the first that is refused.
    sets: Vec<AccessSet>,
    /// The result.
    run: Run,
    /// The result of the steps before the refused one, where there is one.
    before: Option<SealedBlock>,
}

/// Runs the steps one after another.
fn record(
    context: &BlockContext,
    steps: &[Step],
    view: &Arc<dyn StateView>,
) -> Result<Recorded, String> {
    let mut run = SerialRun::recording(context, view);
    for (index, step) in steps.iter().enumerate() {
        match run.step(step) {
            Ok(_) => {}
            Err(ExecutionError::Invalid(invalid)) => {
                let left = run.changes().map_err(|error| error.to_string())?;
                let before = check_no_effect(context, &steps[..index], view, &left)?;
                return Ok(Recorded {
                    sets: run.sets().to_vec(),
                    run: Err((index, invalid)),
                    before: Some(before),
                });
            }
            Err(ExecutionError::Access(error)) => return Err(error.to_string()),
        }
    }
    let found = run.finish().map_err(|error| error.to_string())?;
    Ok(Recorded {
        sets: found.sets,
        run: Ok(found.sealed),
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
    let mut executor = lockweave::EvmExecutor::new(context);
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

fn run_recorded(
    engine: &ParallelEngine,
    context: &BlockContext,
    steps: &[Step],
    sets: &[AccessSet],
    view: &Arc<dyn StateView>,
) -> Result<Run, String> {
    let access = RecordedAccess::new(sets.to_vec());
    let run = engine.run_steps(context, steps);
    conclude(run.access(Access::Recorded(&access)).execute(view))
}

fn conclude(result: Result<Executed, EngineError>) -> Result<Run, String> {
    match result {
        Ok(executed) => Ok(Ok(executed.sealed)),
        Err(EngineError::Step { index, source }) => Ok(Err((index, source))),
        Err(error) => Err(error.to_string()),
    }
}
