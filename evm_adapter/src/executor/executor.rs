//! The executor of steps.

use super::{
    credits::hand_out,
    effects::StepEffects,
    error::InvalidStep,
    handler::{EvmMachine, Inspected, Interpret, MachineError, Plain},
    outcome::{execution_error, outcome},
};
use crate::{
    block::{BlockContext, Step, SystemCall},
    machine::{EvmContext, JournalDb, Limits, PrecompileSet, Preimages, Touched, instructions},
    shortcuts::TransferRules,
    traces::{ProgramState, TRACE_AFTER, TraceEnvironment, Traced, Traces},
    transaction::EvmTransaction,
};
use alloy_primitives::{Bytes, U256};
use lockweave_runtime::{
    AccessError, Credit, ExecutionError, Executor, Outcome, OutcomeKind, Payment, StateAccess,
    Status, UndeclaredAccess, WriteSet,
};
use revm::{
    Context,
    context::{
        Block as _, Evm, FrameStack, JournalTr, Transaction as _,
        result::{ExecutionResult, HaltReason},
    },
    handler::SYSTEM_ADDRESS,
    inspector::Inspector,
    precompile::Precompile,
};
use std::{fmt, mem, sync::Arc};

/// revm as the executor of a worker's steps, reused between steps and blocks.
///
/// Between steps it keeps memory and caches, but no effects.
pub struct EvmExecutor<S: StateAccess> {
    machine: EvmMachine<S>,
    writes: WriteSet,
    /// Whether plain transfers run without the interpreter, where the block's rules allow it.
    shortens_transfers: bool,
    /// The block's rules for transfers and traces, if they are used and the fork is supported.
    rules: Option<TransferRules>,
    /// Traces of calls, if they are used.
    traces: Option<Box<Traces>>,
}

impl<S: StateAccess + Default> EvmExecutor<S> {
    /// An executor for the steps of a block with this context.
    pub fn new(context: &BlockContext) -> Self {
        let spec = context.spec();
        let mut machine: EvmMachine<S> = Evm {
            ctx: Context::new(JournalDb::default(), spec),
            inspector: (),
            instruction: instructions(spec),
            precompiles: PrecompileSet::new(spec),
            frame_stack: FrameStack::new_prealloc(8),
        };
        machine.ctx.cfg = context.config().clone();
        machine.ctx.block = context.block().clone();
        machine.ctx.journaled_state.set_spec_id(spec);
        let precompiles = machine.precompiles.addresses();
        machine.ctx.journaled_state.warm_precompiles(precompiles);
        Self {
            machine,
            writes: WriteSet::default(),
            shortens_transfers: false,
            rules: None,
            traces: None,
        }
    }

    /// Runs plain transfers (ether to an account without code) without the interpreter, on supported forks. Results
    /// do not change; tests compare them with those of an executor without this.
    #[must_use]
    pub fn with_short_transfers(mut self) -> Self {
        self.shortens_transfers = true;
        self.set_rules();
        self
    }

    /// Runs calls that take a known path through their code without the interpreter. A call is traced when `after`
    /// others of its kind have come (see [`TRACE_AFTER`]). Results do not change; tests compare them with those of an
    /// executor without this.
    #[must_use]
    pub fn with_traces(mut self, after: u32) -> Self {
        self.trace_after(after);
        self
    }

    /// As [`with_traces`](Self::with_traces); drops existing traces.
    pub(crate) fn trace_after(&mut self, after: u32) {
        let config = &self.machine.ctx.cfg;
        let costs = self.machine.instruction.gas_table();
        let traces = Traces::new(after, config.spec, &config.gas_params, costs);
        self.traces = Some(Box::new(traces));
        self.set_rules();
    }

    /// Number of calls executed by traces.
    pub fn traced(&self) -> u64 {
        self.traces.as_ref().map_or(0, |traces| traces.executed())
    }

    /// Runs the precompiled contracts of the curve bn254 in half of revm's time. Results do not change; tests compare
    /// them with those of an executor without this.
    #[must_use]
    pub fn with_fast_precompiles(mut self) -> Self {
        self.machine.precompiles.make_fast();
        self
    }

    /// Adds precompiled contracts, or replaces those at the same addresses, on all forks.
    ///
    /// Every executor and every [`EvmInferrer`](crate::EvmInferrer) of a chain must have the same ones.
    ///
    /// ```
    /// use lockweave_evm_adapter::{BlockContext, EvmExecutor, revm::precompile as evm};
    /// use lockweave_runtime::SerialState;
    ///
    /// /// Returns its input for 100 gas.
    /// fn echo(input: &[u8], gas_limit: u64) -> evm::EthPrecompileResult {
    ///     if gas_limit < 100 {
    ///         return Err(evm::PrecompileHalt::OutOfGas);
    ///     }
    ///     let output = input.to_vec().into();
    ///     Ok(evm::EthPrecompileOutput::new(100, output))
    /// }
    /// evm::eth_precompile_fn!(echo_contract, echo);
    ///
    /// fn executor(context: &BlockContext) -> EvmExecutor<SerialState> {
    ///     let id = evm::PrecompileId::Custom("echo".into());
    ///     let address = evm::u64_to_address(0xec40);
    ///     let echo = evm::Precompile::new(id, address, echo_contract);
    ///     EvmExecutor::new(context).with_precompiles([echo]).with_shortcuts()
    /// }
    /// ```
    #[must_use]
    pub fn with_precompiles(mut self, precompiles: impl IntoIterator<Item = Precompile>) -> Self {
        let machine = &mut self.machine;
        machine.precompiles.extend(precompiles);
        let addresses = machine.precompiles.addresses();
        machine.ctx.journaled_state.warm_precompiles(addresses);
        self.set_rules();
        self
    }

    /// With [short transfers](Self::with_short_transfers), [fast precompiles](Self::with_fast_precompiles) and
    /// [traces](Self::with_traces).
    #[must_use]
    pub fn with_shortcuts(self) -> Self {
        self.with_short_transfers()
            .with_fast_precompiles()
            .with_traces(TRACE_AFTER)
    }

    fn set_rules(&mut self) {
        let context = &self.machine.ctx;
        self.rules = if self.shortens_transfers || self.traces.is_some() {
            let precompiles = context.journaled_state.precompile_addresses();
            TransferRules::new(&context.block, &context.cfg, precompiles)
        } else {
            None
        };
    }

    /// Switches to another block; keeps memory and caches.
    pub fn set_block(&mut self, context: &BlockContext) {
        let spec = context.spec();
        let machine = &mut self.machine;
        if machine.ctx.cfg.spec != spec {
            machine.instruction = instructions(spec);
            machine.precompiles.set_fork(spec);
            let precompiles = machine.precompiles.addresses();
            machine.ctx.journaled_state.set_spec_id(spec);
            machine.ctx.journaled_state.warm_precompiles(precompiles);
        }
        machine.ctx.cfg.clone_from(context.config());
        machine.ctx.block.clone_from(context.block());
        if let Some(traces) = &mut self.traces {
            let gas = &machine.ctx.cfg.gas_params;
            traces.set_rules(spec, gas, machine.instruction.gas_table());
        }
        self.set_rules();
    }

    /// Sets where to record Keccak preimages, or stops recording; returns the previous value.
    pub(crate) fn record_preimages(&mut self, preimages: Option<Preimages>) -> Option<Preimages> {
        mem::replace(&mut self.machine.ctx.chain.preimages, preimages)
    }

    /// Records the effects of each step from now on, for [`take_effects`](Self::take_effects), or stops.
    pub fn record_effects(&mut self, records: bool) {
        self.machine.ctx.journaled_state.touched = records.then(Touched::default);
    }

    /// Takes the effects of the last step, which must have succeeded with an outcome.
    pub fn take_effects(&mut self) -> StepEffects {
        let Touched { accounts, slots } = match &mut self.machine.ctx.journaled_state.touched {
            Some(touched) => mem::take(touched),
            None => Touched::default(),
        };
        let mut effects = StepEffects {
            accounts,
            slots,
            writes: mem::take(&mut self.writes),
        };
        effects.add_changed();
        effects
    }

    /// Runs a plain transfer; `None` if the step is none, or may fail.
    fn run_transfer(&mut self, step: &Step, state: &mut S) -> Option<Outcome> {
        if self.is_recording() || !self.shortens_transfers {
            return None;
        }
        let transaction = step.transaction()?;
        let limits = self.limits_of(transaction);
        let rules = self.rules.as_ref()?;
        rules.run(transaction, limits.as_ref(), state, &mut self.writes)
    }

    /// Runs a call by a trace, if one fits.
    fn run_traced(&mut self, step: &Step, state: &mut S) -> Traced {
        if self.is_recording() || self.machine.ctx.chain.preimages.is_some() {
            return Traced::Untraced;
        }
        let limits = (step.transaction()).and_then(|transaction| self.limits_of(transaction));
        let (Some(traces), Some(rules), Some(transaction)) =
            (&mut self.traces, &self.rules, step.transaction())
        else {
            return Traced::Untraced;
        };
        let context = &mut self.machine.ctx;
        let mut environment = TraceEnvironment {
            rules,
            block: &context.block,
            program_state: ProgramState {
                custom_precompiles: self.machine.precompiles.custom_addresses(),
                limits: limits.as_ref(),
                hashes: &mut context.chain.slots,
                state,
                writes: &mut self.writes,
            },
        };
        match traces.run(transaction, &mut environment) {
            // A state that refuses here refuses again in the interpreter, which reports it.
            Traced::Executed(_) if state.apply(&self.writes).is_err() => Traced::Untraced,
            other => other,
        }
    }

    /// Whether effects are recorded, which only revm's journal does.
    const fn is_recording(&self) -> bool {
        self.machine.ctx.journaled_state.touched.is_some()
    }

    /// The transaction's signed declaration, if it has one.
    fn limits_of(&self, transaction: &EvmTransaction) -> Option<Limits> {
        let declared = transaction.declared_shared()?;
        Some(Limits {
            declared: Arc::clone(declared),
            beneficiary: self.machine.ctx.block.beneficiary(),
        })
    }

    /// Runs a step in the interpreter, without shortcuts, with an inspector of revm: for traces, profiles and
    /// debuggers. Outcome and effects are those of [`execute`](Executor::execute). Credits call no inspector.
    ///
    /// The inspector sees revm's journal, in which balance and nonce of an account are only valid once the
    /// transaction has read them.
    ///
    /// ```
    /// use lockweave_evm_adapter::{BlockContext, EvmContext, EvmExecutor, Step, revm};
    /// use lockweave_runtime::StateAccess;
    /// use revm::{inspector::Inspector, interpreter::Interpreter};
    ///
    /// /// Counts instructions.
    /// #[derive(Default)]
    /// struct Counter(u64);
    ///
    /// impl<S: StateAccess> Inspector<EvmContext<S>> for Counter {
    ///     fn step(&mut self, _: &mut Interpreter, _: &mut EvmContext<S>) {
    ///         self.0 += 1;
    ///     }
    /// }
    ///
    /// fn instructions<S: StateAccess + Default>(
    ///     context: &BlockContext,
    ///     step: &Step,
    ///     state: &mut S,
    /// ) -> Option<u64> {
    ///     let mut counter = Counter::default();
    ///     let mut executor = EvmExecutor::new(context);
    ///     executor.execute_inspected(step, state, &mut counter).ok()?;
    ///     Some(counter.0)
    /// }
    /// ```
    pub fn execute_inspected(
        &mut self,
        step: &Step,
        state: &mut S,
        inspector: &mut impl Inspector<EvmContext<S>>,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        let outcome = self.interpret(step, state, &mut Inspected(inspector))?;
        state.apply(&self.writes)?;
        Ok(outcome)
    }

    /// Runs a step in the interpreter; leaves its effects in `writes`.
    fn interpret(
        &mut self,
        step: &Step,
        state: &mut S,
        interpret: &mut impl Interpret<S>,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        if let Some(touched) = &mut self.machine.ctx.journaled_state.touched {
            touched.accounts.clear();
            touched.slots.clear();
        }
        mem::swap(state, &mut self.machine.ctx.journaled_state.database.state);
        self.machine.ctx.journaled_state.database.limit(None);
        let result = match step {
            Step::Transaction(transaction) => self.run_transaction(transaction, interpret),
            Step::SystemCall(call) => self.run_system_call(call, interpret),
            Step::Credits(credits) => {
                let state = &mut self.machine.ctx.journaled_state.database.state;
                hand_out(credits, state, &mut self.writes)
                    .map(|()| Outcome::system())
                    .map_err(ExecutionError::Access)
            }
        };
        mem::swap(state, &mut self.machine.ctx.journaled_state.database.state);
        result
    }

    fn run_transaction(
        &mut self,
        transaction: &EvmTransaction,
        interpret: &mut impl Interpret<S>,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        let kind = OutcomeKind::Transaction(transaction.transaction_type());
        self.machine.ctx.tx = Arc::clone(transaction.env());
        let Some(declared) = transaction.declared() else {
            let result = interpret.transaction(&mut self.machine);
            return Ok(outcome(kind, self.conclude(result)?));
        };
        if let Err(error) = declared {
            return Err(ExecutionError::Invalid(error.clone().into()));
        }
        let limits = self.limits_of(transaction);
        self.machine.ctx.journaled_state.database.limit(limits);
        let result = interpret.transaction(&mut self.machine);
        let result = self.conclude(result);
        self.machine.ctx.journaled_state.database.limit(None);
        match result {
            Ok(result) => Ok(outcome(kind, result)),
            // Grants cover the signed set, so the access contradicts the declaration.
            Err(ExecutionError::Access(AccessError::Undeclared(access))) => {
                self.charge_all_gas(kind, &access)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends a transaction that violated its signed declaration: it pays for its whole gas limit and has no other
    /// effect.
    fn charge_all_gas(
        &mut self,
        kind: OutcomeKind,
        access: &UndeclaredAccess,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        let context = &mut self.machine.ctx;
        let (gas_limit, sender) = (context.tx.gas_limit, context.tx.caller);
        let base_fee = u128::from(context.block.basefee());
        let price = context.tx.effective_gas_price(base_fee);
        let tip = U256::from(price.saturating_sub(base_fee)) * U256::from(gas_limit);
        let beneficiary = context.block.beneficiary();
        let state = &mut context.journaled_state.database.state;
        let mut value = state.account(sender)?;
        // The transaction was valid, so the sender can pay and its nonce does not overflow.
        value.nonce = value.nonce.saturating_add(1);
        let cost = U256::from(price) * U256::from(gas_limit);
        value.balance = value.balance.saturating_sub(cost);
        self.writes.clear();
        if beneficiary == sender {
            value.balance = value.balance.saturating_add(tip);
        } else if state.may_credit(beneficiary, tip) {
            self.writes.credits.push(Credit {
                address: beneficiary,
                amount: tip,
            });
        } else {
            return Err(ExecutionError::Invalid(InvalidStep::BeneficiaryBalance {
                beneficiary,
            }));
        }
        self.writes.accounts.push((sender, value));
        Ok(Outcome {
            kind,
            status: Status::Halted(access.to_string()),
            gas_used: gas_limit,
            logs: Vec::new(),
            output: Bytes::new(),
            created: None,
        })
    }

    fn run_system_call(
        &mut self,
        call: &SystemCall,
        interpret: &mut impl Interpret<S>,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        self.machine.ctx.tx = Arc::clone(call.env());
        let result = interpret.system_call(&mut self.machine);
        let result = self.conclude(result)?;
        if let Some(touched) = &mut self.machine.ctx.journaled_state.touched {
            // Lists omit the caller of system calls (EIP-7928).
            touched
                .accounts
                .retain(|address| *address != SYSTEM_ADDRESS);
        }
        let outcome = outcome(OutcomeKind::System, result);
        if call.must_succeed && !outcome.is_success() {
            return Err(ExecutionError::Invalid(InvalidStep::SystemCall {
                contract: call.contract,
                reason: format!("{:?}", outcome.status),
                output: outcome.output,
            }));
        }
        Ok(outcome)
    }

    /// Collects the effects of a run, or its error; leaves revm ready for the next.
    fn conclude(
        &mut self,
        result: Result<ExecutionResult<HaltReason>, MachineError>,
    ) -> Result<ExecutionResult<HaltReason>, ExecutionError<InvalidStep>> {
        let context = &mut self.machine.ctx;
        let journal = &mut context.journaled_state;
        context.error = Ok(());
        match result {
            Ok(result) => {
                journal.take_effects(&mut self.writes)?;
                Ok(result)
            }
            Err(error) => {
                // A refusal that revm's interface could not report takes precedence.
                let refusal = journal
                    .has_refusal()
                    .then(|| journal.take_effects(&mut self.writes).err())
                    .flatten();
                journal.reset();
                self.writes.clear();
                Err(refusal.map_or_else(|| execution_error(error), ExecutionError::Access))
            }
        }
    }
}

impl<S: StateAccess + Default> Executor<S> for EvmExecutor<S> {
    type Transaction = Step;
    type Invalid = InvalidStep;

    fn payment(&self, step: &Step) -> Option<Payment> {
        let is_short = self.shortens_transfers && !self.is_recording();
        let rules = self.rules.as_ref().filter(|_| is_short)?;
        let transaction = step.transaction()?;
        rules.payment(transaction, self.limits_of(transaction).as_ref())
    }

    fn execute(
        &mut self,
        step: &Step,
        state: &mut S,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        if let Some(outcome) = self.run_transfer(step, state) {
            return Ok(outcome);
        }
        let candidate = match self.run_traced(step, state) {
            Traced::Executed(outcome) => return Ok(outcome),
            Traced::Candidate(candidate) => Some(candidate),
            Traced::Untraced => None,
        };
        let result = self.interpret(step, state, &mut Plain);
        if let (Some(traces), Some(candidate)) = (&mut self.traces, candidate) {
            traces.verify(*candidate, result.as_ref().ok(), &self.writes);
        }
        let outcome = result?;
        state.apply(&self.writes)?;
        Ok(outcome)
    }
}

impl<S: StateAccess> fmt::Debug for EvmExecutor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvmExecutor")
            .field("spec", &self.machine.ctx.cfg.spec)
            .finish_non_exhaustive()
    }
}
