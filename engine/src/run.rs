//! One execution: its options, and the way to its result.

use crate::{
    access::{Access, RecordedAccess},
    core::{Core, with_serial},
    error::EngineError,
    executed::{Executed, SkippedTransactions},
    executor::{BlockEffects, BlockExecutor, ExecutorFactory},
    listed,
    serial::build_access_list,
    state::StateSource,
};
use lockweave_banking_stage::{InferredStats, execute_block, execute_inferred_block, seal_block};
use lockweave_evm_adapter::{
    BlockContext, EvmBlock, EvmInferrer, Step, TemplateCache, TemplateScope,
};
use lockweave_runtime::{
    AccessSet, BlockError, Declaration, DenseId, OpenBlock, RecycledBlock, Sanitized, SealedBlock,
    StateView, TaskId, execute_serially,
};
use parking_lot::Mutex;
use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

/// What is executed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Steps<'e> {
    Block(&'e EvmBlock),
    Bare(&'e BlockContext, &'e [Step]),
}

impl<'e> Steps<'e> {
    const fn context(self) -> &'e BlockContext {
        match self {
            Self::Block(block) => block.context(),
            Self::Bare(context, _) => context,
        }
    }

    fn all(self) -> &'e [Step] {
        match self {
            Self::Block(block) => block.steps(),
            Self::Bare(_, steps) => steps,
        }
    }

    const fn block(self) -> Result<&'e EvmBlock, EngineError> {
        match self {
            Self::Block(block) => Ok(block),
            Self::Bare(..) => Err(EngineError::NoHeader),
        }
    }
}

/// Does work on the clock. A function of its own, so that a profiler can collect inside it.
#[inline(never)]
fn timed<R>(work: impl FnOnce() -> R) -> (Duration, R) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

/// An execution that is being configured.
///
/// The result is that of executing the steps one after another, whatever the options.
#[derive(Debug)]
#[must_use = "steps are executed by `execute`"]
pub struct Run<'e> {
    engine: &'e Core,
    steps: Steps<'e>,
    access: Access<'e>,
    templates: Option<(Arc<TemplateCache>, TemplateScope)>,
    skips_invalid: bool,
    keeps_access: bool,
    builds_list: bool,
}

impl<'e> Run<'e> {
    pub(crate) fn new(engine: &'e Core, steps: Steps<'e>) -> Self {
        Self {
            engine,
            steps,
            access: Access::Inferred,
            templates: engine.templates.clone(),
            skips_invalid: false,
            keeps_access: false,
            builds_list: false,
        }
    }

    /// Where the access sets come from. The default is [`Access::Inferred`].
    pub const fn access(mut self, access: Access<'e>) -> Self {
        self.access = access;
        self
    }

    /// Uses these templates instead of the engine's own, or none.
    pub fn templates(mut self, templates: Option<(Arc<TemplateCache>, TemplateScope)>) -> Self {
        self.templates = templates;
        self
    }

    /// Gives transactions that are invalid at their place no effect, instead of failing the block:
    /// for block builders. [`Executed::skipped`] names them; their outcome is that of a system step. An
    /// access list is that of the block without them.
    ///
    /// A [given list](Access::Listed) excludes this ([`EngineError::SkipByList`]): with an invalid
    /// transaction, the list is not the block's.
    pub const fn skip_invalid(mut self) -> Self {
        self.skips_invalid = true;
        self
    }

    /// Keeps the access set of every step, for [`Executed::access`].
    pub const fn keep_access(mut self) -> Self {
        self.keeps_access = true;
        self
    }

    /// Builds the block's access list (EIP-7928), for [`Executed::access_list`].
    ///
    /// With [inferred](Access::Inferred) sets the block is executed a second time, under the sets that
    /// the first execution found.
    pub const fn build_access_list(mut self) -> Self {
        self.builds_list = true;
        self
    }

    /// Executes the steps on the state before them.
    pub fn execute(mut self, state: &impl StateSource) -> Result<Executed, EngineError> {
        let view = state.newest()?;
        match self.access {
            Access::Listed(_) if self.skips_invalid => Err(EngineError::SkipByList),
            Access::Listed(list) => self.execute_by_list(&view, list),
            Access::Recorded(recorded) => {
                self.execute_known(&view, recorded, Declaration::Recorded)
            }
            Access::Signed => {
                let recorded = RecordedAccess::new(self.signed_sets()?);
                self.execute_known(&view, &recorded, Declaration::Signed)
            }
            Access::Inferred => {
                self.keeps_access |= self.builds_list;
                let mut executed = self.execute_inferred(&view)?;
                if self.builds_list {
                    let recorded = RecordedAccess::new(mem::take(&mut executed.access));
                    let again = self.execute_known(&view, &recorded, Declaration::Recorded)?;
                    executed.access_list = again.access_list;
                    executed.access = recorded.sets().to_vec();
                }
                Ok(executed)
            }
        }
    }

    /// Executes the steps one after another on the calling thread, without locks: the serial oracle.
    /// Of the options only the state matters.
    pub fn execute_serially(self, state: &impl StateSource) -> Result<Executed, EngineError> {
        let view = state.newest()?;
        let (context, steps) = (self.steps.context(), self.steps.all());
        let (elapsed, sealed) =
            with_serial(&self.engine.settings, context, &view, |executor, state| {
                timed(|| execute_serially(executor, state, steps))
            });
        match sealed {
            Ok(sealed) => Ok(Executed::new(sealed, elapsed)),
            Err(BlockError::State(error)) => Err(error.into()),
            Err(BlockError::Transaction {
                transaction,
                source,
            }) => Err(EngineError::of_step(transaction.index(), source)),
        }
    }

    fn execute_by_list(
        &self,
        view: &Arc<dyn StateView>,
        list: &[alloy_eips::eip7928::AccountChanges],
    ) -> Result<Executed, EngineError> {
        let block = self.steps.block()?;
        let (elapsed, sealed) = timed(|| listed::execute(self.engine, block, view, list));
        let mut executed = Executed::new(sealed?, elapsed);
        executed.access_list = self.builds_list.then(|| list.to_vec());
        Ok(executed)
    }

    /// Executes the steps under sets that are known, and builds the block's access list where asked to.
    fn execute_known(
        &self,
        view: &Arc<dyn StateView>,
        recorded: &RecordedAccess,
        declaration: Declaration,
    ) -> Result<Executed, EngineError> {
        let listed = self.builds_list.then(|| self.steps.block()).transpose()?;
        let transactions = self.with_sets(recorded, declaration)?;
        let steps = transactions.len();
        let effects: Option<Arc<BlockEffects>> =
            listed.map(|_| (0..steps).map(|_| Mutex::default()).collect());
        let factory = self.factory(effects.clone());
        let skipped = factory.skipped.clone();
        let make = move |last| factory.make(last);
        let stage = &self.engine.stage;
        let cells = self.engine.take_cells(view, self.steps.context().rules());
        let table = recorded.table().cloned();
        let (elapsed, result) = timed(|| {
            let open = match table {
                Some(table) => OpenBlock::with_table(cells, transactions, table),
                None => OpenBlock::with_cells(cells, transactions),
            };
            let (open, result) = execute_block(stage, open, make, Step::gas_hint);
            result?;
            let (sealed, memory) = seal_block(stage, open)?;
            let list = match (listed, effects) {
                (Some(block), Some(effects)) => {
                    let effects: Vec<_> = (effects.iter())
                        .map(|effects| mem::take(&mut *effects.lock()))
                        .collect();
                    Some(build_access_list(block, view, &sealed.outcomes, &effects)?.0)
                }
                _ => None,
            };
            Ok::<_, EngineError>((sealed, memory, list))
        });
        let (sealed, memory, list) = result?;
        let mut executed = self.finish(sealed, memory, elapsed, skipped);
        executed.access_list = list;
        if self.keeps_access {
            executed.access = recorded.sets().to_vec();
        }
        Ok(executed)
    }

    /// Executes the steps from the transactions alone.
    fn execute_inferred(&self, view: &Arc<dyn StateView>) -> Result<Executed, EngineError> {
        let context = self.steps.context();
        let beneficiary = context.block().beneficiary;
        let transactions: Vec<_> = (self.steps.all().iter())
            .map(|step| {
                let (access, declaration) = match step.signed_access(beneficiary) {
                    Some(signed) => (signed, Declaration::Signed),
                    None => (step.listed_access(), Declaration::Inferred),
                };
                Sanitized {
                    transaction: step.clone(),
                    access,
                    declaration,
                }
            })
            .collect();
        let steps = transactions.len();
        let factory = self.factory(None);
        let skipped = factory.skipped.clone();
        let (templates, scope) = self.templates.clone().unzip();
        let scope = scope.unwrap_or_default();
        let make = move |last: Option<(BlockExecutor, EvmInferrer)>| {
            let (executor, mut inferrer) = factory.make_inferring(last);
            inferrer.set_templates(templates.clone(), scope);
            (executor, inferrer)
        };
        let stage = &self.engine.stage;
        let cells = self.engine.take_cells(view, context.rules());
        let (elapsed, result) = timed(|| {
            let mut open = OpenBlock::to_infer(cells, transactions);
            if self.keeps_access {
                open = open.keep_touched();
            }
            let (open, result) = execute_inferred_block(stage, open, make, Step::gas_hint);
            let stats = result?;
            let access = self.keeps_access.then(|| found_sets(&open, steps));
            let (sealed, memory) = seal_block(stage, open)?;
            Ok::<_, EngineError>((sealed, memory, access, stats))
        });
        let (sealed, memory, access, stats): (_, _, _, InferredStats) = result?;
        let mut executed = self.finish(sealed, memory, elapsed, skipped);
        executed.access = access.unwrap_or_default();
        executed.statistics.inference = stats;
        Ok(executed)
    }

    /// The result of a block that is sealed. The engine keeps the memory of its cells.
    fn finish(
        &self,
        sealed: SealedBlock,
        memory: RecycledBlock<Step>,
        elapsed: Duration,
        skipped: Option<Arc<Mutex<SkippedTransactions>>>,
    ) -> Executed {
        self.engine.keep_cells(memory.into_cells());
        let mut executed = Executed::new(sealed, elapsed);
        executed.skipped = skipped
            .map(|skipped| mem::take(&mut *skipped.lock()))
            .unwrap_or_default();
        executed
    }

    /// The steps with their sets.
    fn with_sets(
        &self,
        recorded: &RecordedAccess,
        declaration: Declaration,
    ) -> Result<Vec<Sanitized<Step>>, EngineError> {
        let (steps, sets) = (self.steps.all(), recorded.sets());
        if steps.len() != sets.len() {
            let (steps, sets) = (steps.len(), sets.len());
            return Err(EngineError::SetCount { steps, sets });
        }
        let sanitized = (steps.iter().zip(sets).enumerate()).map(|(index, (step, access))| {
            let step = match recorded.gas_used(index) {
                Some(gas) => step.clone().with_gas_estimate(gas),
                None => step.clone(),
            };
            Sanitized {
                transaction: step,
                access: access.clone(),
                declaration,
            }
        });
        Ok(sanitized.collect())
    }

    /// The sets that transactions sign. System transactions sign none and run alone.
    fn signed_sets(&self) -> Result<Vec<AccessSet>, EngineError> {
        let beneficiary = self.steps.context().block().beneficiary;
        let steps = self.steps.all().iter().enumerate();
        steps
            .map(|(index, step)| match step.transaction() {
                Some(transaction) => transaction
                    .signed_access(beneficiary)
                    .ok_or(EngineError::Unsigned { index }),
                None => Ok(AccessSet::Everything),
            })
            .collect()
    }

    fn factory(&self, effects: Option<Arc<BlockEffects>>) -> ExecutorFactory {
        ExecutorFactory {
            context: self.steps.context().clone(),
            settings: Arc::clone(&self.engine.settings),
            skipped: self.skips_invalid.then(Arc::default),
            effects,
        }
    }
}

/// The sets under which the steps of a block were executed.
fn found_sets(open: &OpenBlock<Step>, steps: usize) -> Vec<AccessSet> {
    let tasks = (0..steps).map(TaskId::from_index);
    tasks.map(|task| open.access(task).clone()).collect()
}
