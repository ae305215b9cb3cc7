//! The engine: worker threads, and what is kept from block to block.

use crate::{
    block::NewBlock,
    core::{Core, Settings},
    run::{Run, Steps},
};
use alloy_consensus::Header;
use lockweave_banking_stage::{BankingStage, StageConfig, StartError};
use lockweave_evm_adapter::{
    BlockContext, ChainSpec, EvmBlock, Step, TRACE_AFTER, TemplateScope,
    revm::precompile::Precompile,
};
use lockweave_runtime::SealedBlock;
use std::num::NonZeroUsize;

/// Executes blocks on worker threads that it keeps.
///
/// An engine may be shared between threads; its executions come one after another. Dropping it ends
/// its threads.
#[derive(Debug)]
pub struct Engine {
    core: Core,
}

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
        NewBlock::new(&self.core, chain, header.clone())
    }

    /// Begins the execution of a block that is laid out in steps.
    pub fn run<'e>(&'e self, block: &'e EvmBlock) -> Run<'e> {
        Run::new(&self.core, Steps::Block(block))
    }

    /// Begins the execution of steps in the environment of a block, for callers that have no whole
    /// block.
    pub fn run_steps<'e>(&'e self, context: &'e BlockContext, steps: &'e [Step]) -> Run<'e> {
        Run::new(&self.core, Steps::Bare(context, steps))
    }

    /// Takes the memory of a result that is no longer needed, for the next block.
    pub fn recycle(&self, sealed: SealedBlock) {
        self.core.recycle(sealed);
    }

    /// The stage with the worker threads, for workloads of another kind, such as
    /// [tables](BankingStage::run_table).
    pub const fn stage(&self) -> &BankingStage {
        &self.core.stage
    }
}

/// The configuration of an [`Engine`].
#[derive(Clone, Debug)]
#[must_use]
pub struct EngineBuilder {
    stage: StageConfig,
    settings: Settings,
    templates: Option<TemplateScope>,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            stage: StageConfig::default(),
            settings: Settings {
                trace_after: TRACE_AFTER,
                precompiles: Vec::new(),
            },
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
        self.settings.trace_after = calls;
        self
    }

    /// Which calls are predicted by templates rather than simulated, or `None` for no templates. The
    /// default is [`TemplateScope::Waiting`]. Templates are kept from block to block.
    pub const fn templates(mut self, scope: Option<TemplateScope>) -> Self {
        self.templates = scope;
        self
    }

    /// Adds precompiled contracts to those of the fork, or replaces some. All executions of the engine
    /// know them. `examples/custom_precompile.rs` shows one.
    pub fn precompiles(mut self, precompiles: impl IntoIterator<Item = Precompile>) -> Self {
        self.settings.precompiles.extend(precompiles);
        self
    }

    /// Starts the worker threads.
    pub fn build(self) -> Result<Engine, StartError> {
        let stage = BankingStage::new(self.stage)?;
        Ok(Engine {
            core: Core::new(stage, self.settings, self.templates),
        })
    }
}
