//! The best sequential revm that we can write: the baseline of every speed-up.
//!
//! revm's own mainnet handler and journal, one instance for all transactions of a block, on a
//! [`FlatState`] in memory. It has no part of our parallel paths: no locks, no access sets, no cells.
//! After each transaction its journal is drained into the state. The journal's maps, the frames and the list of
//! results are reused. Accounts carry their index in the state through revm, so neither the read of a slot nor the
//! final write looks the account up again.
//!
//! Not timed, as for our engine: making the state, recovering senders, analysing code, freeing memory.

use super::flat_state::{FlatState, FlatStateError};
use alloy_primitives::U256;
use lockweave_evm_adapter::{BlockContext, Step};
use lockweave_runtime::Credit;
use revm::{
    Context,
    context::{
        BlockEnv, CfgEnv, Evm, FrameStack, Journal, JournalTr, LocalContext, TxEnv,
        result::{EVMError, ExecutionResult},
    },
    handler::{
        EthFrame, EthPrecompiles, Handler, MainnetHandler, PrecompileProvider,
        instructions::EthInstructions,
    },
    interpreter::interpreter::EthInterpreter,
    primitives::hardfork::SpecId,
    state::{Account, TransactionId},
};
use std::{sync::LazyLock, time::Instant};
use thiserror::Error;

type YardstickContext<'b> =
    Context<BlockEnv, &'b TxEnv, CfgEnv, FlatState, Journal<FlatState>, (), LocalContext>;
type YardstickMachine<'b> = Evm<
    YardstickContext<'b>,
    (),
    EthInstructions<EthInterpreter, YardstickContext<'b>>,
    EthPrecompiles,
    EthFrame<EthInterpreter>,
>;
type YardstickHandler<'b> =
    MainnetHandler<YardstickMachine<'b>, EVMError<FlatStateError>, EthFrame<EthInterpreter>>;

/// A block that the yardstick cannot run.
#[derive(Debug, Error)]
#[error("step {step} fails under plain revm: {source}")]
pub struct YardstickError {
    /// Its index in the block.
    step: usize,
    /// revm's error.
    source: EVMError<FlatStateError>,
}

/// revm, ready to run one block repeatedly.
pub struct Yardstick<'b> {
    machine: YardstickMachine<'b>,
    handler: YardstickHandler<'b>,
    steps: &'b [Step],
    /// The results of the last run, one for each transaction and system call.
    results: Vec<ExecutionResult>,
    /// The state before the block.
    before: FlatState,
}

impl<'b> Yardstick<'b> {
    /// revm for these steps, on this state.
    pub fn new(context: &BlockContext, steps: &'b [Step], before: FlatState) -> Self {
        static NO_TRANSACTION: LazyLock<TxEnv> = LazyLock::new(TxEnv::default);
        let spec = context.spec();
        let mut journal = Journal::new(FlatState::default());
        let precompiles = EthPrecompiles::new(spec);
        journal.set_spec_id(spec);
        let warm = PrecompileProvider::<YardstickContext<'b>>::warm_addresses(&precompiles);
        journal.warm_precompiles(warm);
        let machine = Evm {
            ctx: Context {
                block: context.block().clone(),
                tx: &*NO_TRANSACTION,
                cfg: context.config().clone(),
                journaled_state: journal,
                chain: (),
                local: LocalContext::default(),
                error: Ok(()),
            },
            inspector: (),
            instruction: EthInstructions::new_mainnet_with_spec(spec),
            precompiles,
            frame_stack: FrameStack::new_prealloc(8),
        };
        Self {
            machine,
            handler: MainnetHandler::default(),
            results: Vec::with_capacity(steps.len()),
            steps,
            before,
        }
    }

    /// Goes back to the state before the block. Not part of a run's time.
    pub fn reset(&mut self) {
        self.results.clear();
        let state = &mut self.machine.ctx.journaled_state.database;
        state.clone_from(&self.before);
    }

    /// Runs the block, once after each [`reset`](Self::reset).
    pub fn run(&mut self) -> Result<(), YardstickError> {
        for (index, step) in self.steps.iter().enumerate() {
            if let Err(source) = self.run_step(step) {
                let step = index;
                return Err(YardstickError { step, source });
            }
        }
        Ok(())
    }

    /// The nanoseconds of each step: the least of this many runs. Reading the clock makes it slower than
    /// [`run`](Self::run).
    pub fn step_times(&mut self, runs: usize) -> Result<Vec<u64>, YardstickError> {
        let mut times = vec![u64::MAX; self.steps.len()];
        for _ in 0..runs {
            self.reset();
            for (index, step) in self.steps.iter().enumerate() {
                let start = Instant::now();
                if let Err(source) = self.run_step(step) {
                    let step = index;
                    return Err(YardstickError { step, source });
                }
                let time = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                times[index] = times[index].min(time);
            }
        }
        Ok(times)
    }

    #[inline]
    fn run_step(&mut self, step: &'b Step) -> Result<(), EVMError<FlatStateError>> {
        let result = match step {
            Step::Transaction(transaction) => {
                self.machine.ctx.tx = transaction.env();
                self.handler.run(&mut self.machine)
            }
            Step::SystemCall(call) => {
                self.machine.ctx.tx = call.env();
                self.handler.run_system_call(&mut self.machine)
            }
            Step::Credits(credits) => {
                self.hand_out(credits);
                return Ok(());
            }
        };
        self.results.push(result?);
        self.commit();
        Ok(())
    }

    /// Moves the last transaction's changes from the journal to the state.
    #[inline]
    fn commit(&mut self) {
        let Journal { database, inner } = &mut self.machine.ctx.journaled_state;
        let spec = inner.cfg.spec;
        for (address, account) in inner.state.drain() {
            if account.is_touched() {
                let place = match account.info.account_id {
                    Some(id) => id.get(),
                    None => database.place(address),
                };
                write(&mut database.accounts[place], account, spec);
            }
        }
        inner.transaction_id = TransactionId::ZERO;
    }

    fn hand_out(&mut self, credits: &[Credit]) {
        let state = &mut self.machine.ctx.journaled_state.database;
        for credit in credits {
            let place = state.place(credit.address);
            let account = &mut state.accounts[place];
            account.info.balance = account.info.balance.saturating_add(credit.amount);
            account.exists = account.exists || !credit.amount.is_zero();
        }
    }

    /// The results of the last run, one for each transaction and system call.
    pub fn results(&self) -> &[ExecutionResult] {
        &self.results
    }

    /// The state after the last run.
    pub const fn state(&self) -> &FlatState {
        &self.machine.ctx.journaled_state.database
    }
}

/// Writes a touched account and its changed slots.
#[inline]
fn write(flat: &mut super::flat_state::FlatAccount, account: Account, spec: SpecId) {
    if account.is_selfdestructed() || account.is_created() {
        flat.slots.clear();
    }
    if account.is_selfdestructed() {
        flat.exists = false;
        flat.info.balance = U256::ZERO;
        flat.info.nonce = 0;
        flat.info.code_hash = alloy_primitives::KECCAK256_EMPTY;
        flat.info.code = Some(revm::state::Bytecode::default());
        return;
    }
    // EIP-161 removes touched empty accounts; before it a touched account existed.
    flat.exists = !(account.is_empty() && spec.is_enabled_in(SpecId::SPURIOUS_DRAGON));
    flat.info.balance = account.info.balance;
    flat.info.nonce = account.info.nonce;
    if flat.info.code_hash != account.info.code_hash {
        flat.info.code_hash = account.info.code_hash;
        flat.info.code = account.info.code;
    }
    for (slot, value) in account.storage {
        if value.is_changed() {
            flat.slots.insert(slot, value.present_value);
        }
    }
}
