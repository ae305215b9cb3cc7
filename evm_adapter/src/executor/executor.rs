//! revm as the runtime's executor.

use super::{
    credits::hand_out,
    effects::StepEffects,
    error::InvalidStep,
    handler::{EvmMachine, GuardedHandler, MachineError},
    outcome::{execution_error, outcome},
};
use crate::{
    block::{BlockContext, Step, SystemCall},
    machine::{JournalDb, Limits, Preimages, Touched, fast_precompiles, instructions},
    shortcuts::TransferRules,
    traces::{Ground, Surroundings, TRACE_AFTER, Traced, Traces},
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
    handler::{EthPrecompiles, Handler, SYSTEM_ADDRESS},
};
use std::{fmt, mem, sync::Arc};

/// revm, made once for a block and reused for every step a worker runs in it.
///
/// The instance, its journal's maps and its frames are kept between steps; nothing of what a step
/// did is.
pub struct EvmExecutor<S: StateAccess> {
    machine: EvmMachine<S>,
    handler: GuardedHandler<S>,
    writes: WriteSet,
    /// Whether plain transfers are run without the machine, where the block's rules allow it.
    shortens_transfers: bool,
    /// Whether precompiled contracts are those of `precompiles` rather than revm's.
    has_fast_precompiles: bool,
    /// The block's rules for transfers and calls without the machine, if there are to be any and the fork
    /// is one that is dealt with.
    rules: Option<TransferRules>,
    /// Ways that calls took, if they are kept.
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
            precompiles: EthPrecompiles::new(spec),
            frame_stack: FrameStack::new_prealloc(8),
        };
        machine.ctx.cfg = context.config().clone();
        machine.ctx.block = context.block().clone();
        let precompiles = machine.precompiles.warm_addresses();
        machine.ctx.journaled_state.set_spec_id(spec);
        machine.ctx.journaled_state.warm_precompiles(precompiles);
        Self {
            machine,
            handler: GuardedHandler::default(),
            writes: WriteSet::default(),
            shortens_transfers: false,
            has_fast_precompiles: false,
            rules: None,
            traces: None,
        }
    }

    /// From now on runs plain transfers (ether to an account without code) without the machine, on
    /// the forks on which that comes to the same.
    ///
    /// An executor without it is what this one is held against.
    #[must_use]
    pub fn with_short_transfers(mut self) -> Self {
        self.shortens_transfers = true;
        self.set_rules();
        self
    }

    /// From now on runs calls that go a known way through their code without the machine; a call is followed
    /// to learn its way when `after` others of its kind have come (see [`TRACE_AFTER`]).
    ///
    /// An executor without it is what this one is held against.
    #[must_use]
    pub fn with_traces(mut self, after: u32) -> Self {
        self.trace_after(after);
        self
    }

    /// As [`with_traces`](Self::with_traces); forgets the traces there are.
    pub(crate) fn trace_after(&mut self, after: u32) {
        let config = &self.machine.ctx.cfg;
        let costs = self.machine.instruction.gas_table();
        let traces = Traces::new(after, config.spec, &config.gas_params, costs);
        self.traces = Some(Box::new(traces));
        self.set_rules();
    }

    /// How many calls it has run by traces.
    pub fn traced(&self) -> u64 {
        self.traces.as_ref().map_or(0, |traces| traces.ran())
    }

    /// From now on runs precompiled contracts of the curve bn254 in other ways than revm, which take half the time.
    ///
    /// An executor without it is what this one is held against.
    #[must_use]
    pub fn with_fast_precompiles(mut self) -> Self {
        self.has_fast_precompiles = true;
        self.machine.precompiles = fast_precompiles(self.machine.ctx.cfg.spec);
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

    /// Turns to another block, keeping all buffers.
    pub fn set_block(&mut self, context: &BlockContext) {
        let spec = context.spec();
        let machine = &mut self.machine;
        if machine.ctx.cfg.spec != spec {
            machine.instruction = instructions(spec);
            machine.precompiles = if self.has_fast_precompiles {
                fast_precompiles(spec)
            } else {
                EthPrecompiles::new(spec)
            };
            let precompiles = machine.precompiles.warm_addresses();
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

    /// Gives this executor a place to note what is hashed, or takes it away.
    pub(crate) fn record_preimages(&mut self, preimages: Option<Preimages>) -> Option<Preimages> {
        mem::replace(&mut self.machine.ctx.chain.preimages, preimages)
    }

    /// From now on notes what each step touches, for [`take_effects`](Self::take_effects).
    pub fn record_effects(&mut self) {
        self.machine.ctx.journaled_state.touched = Some(Touched::default());
    }

    /// What the last step, which had an outcome, touched and changed.
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

    /// Runs a step that is a plain transfer; `None` if it is not, or not certain to go well.
    fn run_transfer(&mut self, step: &Step, state: &mut S) -> Option<Outcome> {
        if self.is_recording() || !self.shortens_transfers {
            return None;
        }
        let transaction = step.transaction()?;
        let limits = self.limits_of(transaction);
        let rules = self.rules.as_ref()?;
        rules.run(transaction, limits.as_ref(), state, &mut self.writes)
    }

    /// Runs a step that is a call by a trace, if there is one for it.
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
        let mut around = Surroundings {
            rules,
            block: &context.block,
            ground: Ground {
                limits: limits.as_ref(),
                hashes: &mut context.chain.slots,
                state,
                writes: &mut self.writes,
            },
        };
        match traces.run(transaction, &mut around) {
            // A state that refuses says so once more to the machine.
            Traced::Ran(_) if state.apply(&self.writes).is_err() => Traced::Untraced,
            other => other,
        }
    }

    /// Whether what a step touches is noted, which the machine's journal does.
    const fn is_recording(&self) -> bool {
        self.machine.ctx.journaled_state.touched.is_some()
    }

    /// What a transaction may touch, if it signed that.
    fn limits_of(&self, transaction: &EvmTransaction) -> Option<Limits> {
        let declared = transaction.declared_shared()?;
        Some(Limits {
            declared: Arc::clone(declared),
            beneficiary: self.machine.ctx.block.beneficiary(),
        })
    }

    fn run_transaction(
        &mut self,
        transaction: &EvmTransaction,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        let kind = OutcomeKind::Transaction(transaction.transaction_type());
        self.machine.ctx.tx = Arc::clone(transaction.env());
        let Some(declared) = transaction.declared() else {
            let result = self.handler.run(&mut self.machine);
            return Ok(outcome(kind, self.conclude(result)?));
        };
        if let Err(error) = declared {
            return Err(ExecutionError::Invalid(error.clone().into()));
        }
        let limits = self.limits_of(transaction);
        self.machine.ctx.journaled_state.database.limit(limits);
        let result = self.handler.run(&mut self.machine);
        let result = self.conclude(result);
        self.machine.ctx.journaled_state.database.limit(None);
        match result {
            Ok(result) => Ok(outcome(kind, result)),
            // Locks hold what was signed, so it is the signature that this contradicts.
            Err(ExecutionError::Access(AccessError::Undeclared(access))) => {
                self.charge_all_gas(kind, &access)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends a transaction that left the declaration it signed: it pays for all its gas, and nothing
    /// else happens.
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
        // The transaction was valid, so the sender can pay and its nonce has room.
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
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        self.machine.ctx.tx = Arc::clone(call.env());
        let result = self.handler.run_system_call(&mut self.machine);
        let result = self.conclude(result)?;
        if let Some(touched) = &mut self.machine.ctx.journaled_state.touched {
            // The caller of a system call is nobody (EIP-7928).
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

    /// Gathers the effects of a run, or why it has none; leaves the machine ready for the next.
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
                // A refusal that revm could not be told of made everything after it void.
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
            Traced::Ran(outcome) => return Ok(outcome),
            Traced::Candidate(candidate) => Some(candidate),
            Traced::Untraced => None,
        };
        if let Some(touched) = &mut self.machine.ctx.journaled_state.touched {
            touched.accounts.clear();
            touched.slots.clear();
        }
        mem::swap(state, &mut self.machine.ctx.journaled_state.database.state);
        self.machine.ctx.journaled_state.database.limit(None);
        let result = match step {
            Step::Transaction(transaction) => self.run_transaction(transaction),
            Step::SystemCall(call) => self.run_system_call(call),
            Step::Credits(credits) => {
                let state = &mut self.machine.ctx.journaled_state.database.state;
                hand_out(credits, state, &mut self.writes)
                    .map(|()| Outcome::system())
                    .map_err(ExecutionError::Access)
            }
        };
        mem::swap(state, &mut self.machine.ctx.journaled_state.database.state);
        if let (Some(traces), Some(candidate)) = (&mut self.traces, candidate) {
            traces.judge(*candidate, result.as_ref().ok(), &self.writes);
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
