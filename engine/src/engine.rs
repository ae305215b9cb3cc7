//! The engine: worker threads, and what is kept from block to block.

use crate::{
    block::NewBlock,
    run::{Run, Steps},
};
use alloy_consensus::Header;
use lockweave_banking_stage::{BankingStage, StageConfig, StartError};
use lockweave_evm_adapter::{
    BlockContext, ChainSpec, EvmBlock, EvmExecutor, Step, TRACE_AFTER, TemplateCache, TemplateScope,
};
use lockweave_runtime::{MemoryState, SealedBlock, SerialState, StateCells, StateRules, StateView};
use parking_lot::Mutex;
use std::{
    cell::RefCell,
    fmt,
    num::NonZeroUsize,
    sync::{Arc, LazyLock},
};

/// Executes blocks on worker threads that it keeps.
///
/// An engine may be shared between threads; its executions come one after another. Dropping it ends
/// its threads.
pub struct Engine {
    stage: BankingStage,
    trace_after: u32,
    templates: Option<(Arc<TemplateCache>, TemplateScope)>,
    /// The memory of the last block's cells.
    cells: Mutex<Option<StateCells>>,
}

/// What the memory of finished blocks refers to, so that it keeps no state alive.
static NO_STATE: LazyLock<Arc<dyn StateView>> = LazyLock::new(|| Arc::new(MemoryState::new()));

const NO_RULES: StateRules = StateRules {
    clear_empty_accounts: true,
};

impl Engine {
    /// An engine with a worker for each core.
    pub fn new() -> Result<Self, StartError> {
        Self::builder().build()
    }

    /// Begins to configure an engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Begins the execution of a block whose header and transactions are at hand.
    pub fn block<'e>(&'e self, chain: &'e ChainSpec, header: &Header) -> NewBlock<'e> {
        NewBlock::new(self, chain, header.clone())
    }

    /// Begins the execution of a block that is laid out in steps.
    pub fn run<'e>(&'e self, block: &'e EvmBlock) -> Run<'e> {
        Run::new(self, Steps::Block(block))
    }

    /// Begins the execution of steps in the environment of a block, for callers that have no whole
    /// block.
    pub fn run_steps<'e>(&'e self, context: &'e BlockContext, steps: &'e [Step]) -> Run<'e> {
        Run::new(self, Steps::Bare(context, steps))
    }

    /// Takes the memory of a result that is no longer needed, for the next block.
    pub fn recycle(&self, sealed: SealedBlock) {
        if let Some(cells) = self.cells.lock().as_mut() {
            cells.recycle(sealed);
        }
    }

    /// The stage with the worker threads, for workloads of another kind, such as
    /// [tables](BankingStage::run_table).
    pub const fn stage(&self) -> &BankingStage {
        &self.stage
    }

    pub(crate) const fn trace_after(&self) -> u32 {
        self.trace_after
    }

    pub(crate) fn templates(&self) -> Option<(Arc<TemplateCache>, TemplateScope)> {
        self.templates.clone()
    }

    /// Cells for a block on this state.
    pub(crate) fn take_cells(&self, view: &Arc<dyn StateView>, rules: StateRules) -> StateCells {
        let view = Arc::clone(view);
        match self.cells.lock().take() {
            Some(mut cells) => {
                cells.reset(view, rules);
                cells
            }
            None => StateCells::new(view, rules),
        }
    }

    /// Keeps the memory of a block's cells, but not the state before the block.
    pub(crate) fn keep_cells(&self, mut cells: StateCells) {
        cells.set_view(Arc::clone(&NO_STATE));
        *self.cells.lock() = Some(cells);
    }
}

thread_local! {
    /// The executor and the state that this thread's last serial execution used, for their memory.
    static SERIAL: RefCell<Option<(EvmExecutor<SerialState>, SerialState)>> =
        const { RefCell::new(None) };
}

/// Hands the oracle's executor and an empty state to `run`.
pub(crate) fn with_serial<R>(
    context: &BlockContext,
    view: &Arc<dyn StateView>,
    run: impl FnOnce(&mut EvmExecutor<SerialState>, &mut SerialState) -> R,
) -> R {
    let (mut executor, mut state) = match SERIAL.take() {
        Some((mut executor, state)) => {
            executor.set_block(context);
            (executor, state)
        }
        None => (EvmExecutor::new(context), SerialState::default()),
    };
    state.reset(Arc::clone(view), context.rules());
    let result = run(&mut executor, &mut state);
    state.reset(Arc::clone(&NO_STATE), NO_RULES);
    SERIAL.set(Some((executor, state)));
    result
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("stage", &self.stage.config())
            .finish_non_exhaustive()
    }
}

/// The configuration of an [`Engine`].
#[derive(Clone, Debug)]
#[must_use]
pub struct EngineBuilder {
    stage: StageConfig,
    trace_after: u32,
    templates: Option<TemplateScope>,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            stage: StageConfig::default(),
            trace_after: TRACE_AFTER,
            templates: Some(TemplateScope::Waiting),
        }
    }
}

impl EngineBuilder {
    /// This many worker threads, the calling thread included; the default is one for each core, and 0
    /// stands for the default.
    pub const fn threads(mut self, threads: usize) -> Self {
        if let Some(threads) = NonZeroUsize::new(threads) {
            self.stage.threads = threads;
        }
        self
    }

    /// All settings of the worker threads, and the thresholds of the execution paths.
    pub const fn stage(mut self, stage: StageConfig) -> Self {
        self.stage = stage;
        self
    }

    /// Calls are traced when this many of their kind (code, selector, length of input) have come to a
    /// worker; the default is [`TRACE_AFTER`].
    pub const fn trace_after(mut self, calls: u32) -> Self {
        self.trace_after = calls;
        self
    }

    /// Which calls are predicted by templates rather than simulated, or `None` for no templates. The
    /// default is [`TemplateScope::Waiting`]. Templates are kept from block to block.
    pub const fn templates(mut self, scope: Option<TemplateScope>) -> Self {
        self.templates = scope;
        self
    }

    /// Starts the worker threads.
    pub fn build(self) -> Result<Engine, StartError> {
        Ok(Engine {
            stage: BankingStage::new(self.stage)?,
            trace_after: self.trace_after,
            templates: self.templates.map(|scope| (Arc::default(), scope)),
            cells: Mutex::default(),
        })
    }
}
