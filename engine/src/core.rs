//! What an engine keeps from block to block: its worker threads, learned templates and memory.

use lockweave_banking_stage::BankingStage;
use lockweave_evm_adapter::{
    BlockContext, EvmExecutor, TemplateCache, TemplateScope, revm::precompile::Precompile,
};
use lockweave_runtime::{MemoryState, SealedBlock, SerialState, StateCells, StateRules, StateView};
use parking_lot::Mutex;
use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, LazyLock},
};

/// What executors are made with. Threads keep executors from block to block; an executor is used again only with the
/// settings that it was made with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// See [`EngineBuilder::trace_after`](crate::EngineBuilder::trace_after).
    pub(crate) trace_after: u32,
    /// See [`EngineBuilder::precompiles`](crate::EngineBuilder::precompiles).
    pub(crate) precompiles: Vec<Precompile>,
}

/// The parts of an engine that executions use.
pub(crate) struct Core {
    pub(crate) stage: BankingStage,
    pub(crate) settings: Arc<Settings>,
    pub(crate) templates: Option<(Arc<TemplateCache>, TemplateScope)>,
    /// The memory of the last block's cells.
    cells: Mutex<Option<StateCells>>,
}

/// What the memory of finished blocks refers to, so that it keeps no state alive.
static NO_STATE: LazyLock<Arc<dyn StateView>> = LazyLock::new(|| Arc::new(MemoryState::new()));

const NO_RULES: StateRules = StateRules {
    clear_empty_accounts: true,
};

impl Core {
    pub(crate) fn new(
        stage: BankingStage,
        settings: Settings,
        templates: Option<TemplateScope>,
    ) -> Self {
        Self {
            stage,
            settings: Arc::new(settings),
            templates: templates.map(|scope| (Arc::default(), scope)),
            cells: Mutex::default(),
        }
    }

    /// Takes the memory of a result that is no longer needed, for the next block.
    pub(crate) fn recycle(&self, sealed: SealedBlock) {
        if let Some(cells) = self.cells.lock().as_mut() {
            cells.recycle(sealed);
        }
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

/// What a serial execution leaves behind for the next one.
struct SerialMemory {
    settings: Arc<Settings>,
    executor: EvmExecutor<SerialState>,
    state: SerialState,
}

thread_local! {
    /// The memory of this thread's last serial execution.
    static SERIAL: RefCell<Option<SerialMemory>> = const { RefCell::new(None) };
}

/// Hands the oracle's executor and an empty state to `run`.
pub(crate) fn with_serial<R>(
    settings: &Arc<Settings>,
    context: &BlockContext,
    view: &Arc<dyn StateView>,
    run: impl FnOnce(&mut EvmExecutor<SerialState>, &mut SerialState) -> R,
) -> R {
    let kept = SERIAL.take();
    let kept = kept.filter(|kept| Arc::ptr_eq(&kept.settings, settings));
    let mut memory = match kept {
        Some(mut kept) => {
            kept.executor.set_block(context);
            kept
        }
        None => SerialMemory {
            settings: Arc::clone(settings),
            executor: EvmExecutor::new(context)
                .with_precompiles(settings.precompiles.iter().cloned()),
            state: SerialState::default(),
        },
    };
    memory.state.reset(Arc::clone(view), context.rules());
    let result = run(&mut memory.executor, &mut memory.state);
    memory.state.reset(Arc::clone(&NO_STATE), NO_RULES);
    SERIAL.set(Some(memory));
    result
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("stage", &self.stage.config())
            .finish_non_exhaustive()
    }
}
