//! What a step touches, when nobody has declared it.

use super::templates::{Inputs, LookUp, Observation, PredictedState, TemplateCache, Templates};
use crate::{
    block::{BlockContext, Step},
    executor::EvmExecutor,
    machine::Preimages,
    transaction::EvmTransaction,
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use lockweave_runtime::{
    AccessEntry, AccessMode, AccessSet, Assumption, Contention, ExecutionError, Executor, Infer,
    Inference, KeyPart, Next, Outcome, Sanitized, SimulatedState, StateError, StateKey, StateView,
};
use revm::precompile::Precompile;
use std::{mem, sync::Arc};

/// Infers access sets of EVM steps: plain transfers from the transaction alone, calls that have a
/// template by that, everything else by running it on the state before the block.
#[derive(Debug)]
pub struct EvmInferrer {
    executor: EvmExecutor<SimulatedState>,
    beneficiary: Address,
    templates: Option<Templates>,
    /// Which calls they are asked of.
    scope: TemplateScope,
    /// Between simulations that are learned from, for its memory.
    preimages: Preimages,
    /// What is looked at next; kept for its memory.
    announced: Vec<StateKey>,
}

/// Which calls are predicted by their template, where they have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TemplateScope {
    /// All of them.
    #[default]
    Every,
    /// Those whose simulation could not be taken as their execution, because their sender's nonce or
    /// balance is not yet what they need: it has other transactions in front of them in the block. The
    /// others are simulated, which mostly is all that has to be done, and teach. In a block that turns out
    /// to be [crowded](Contention::Crowded) all of them.
    Waiting,
    /// None, but for crowded blocks, whose first transactions teach. So the cache need not live longer than a
    /// block, and nothing is learned that is not used.
    Crowded,
}

/// What a step is thought to touch and to use; see [`EvmInferrer::plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferredPlan {
    /// The keys.
    pub access: AccessSet,
    /// Gas, where it is known: a simulation's, or that of calls like it.
    pub gas: Option<u64>,
    /// Whether nothing was run to find out.
    pub by_template: bool,
}

impl EvmInferrer {
    /// For the steps of a block with this context.
    pub fn new(context: &BlockContext) -> Self {
        Self {
            executor: EvmExecutor::new(context).with_shortcuts(),
            beneficiary: context.block().beneficiary,
            templates: None,
            scope: TemplateScope::default(),
            preimages: Preimages::default(),
            announced: Vec::new(),
        }
    }

    /// For the steps of a block with this context, by templates from this cache, which may be shared
    /// with any number of others.
    pub fn with_templates(context: &BlockContext, cache: Arc<TemplateCache>) -> Self {
        let mut inferrer = Self::new(context);
        inferrer.set_templates(Some(cache), TemplateScope::Every);
        inferrer
    }

    /// Adds precompiled contracts; see [`EvmExecutor::with_precompiles`].
    #[must_use]
    pub fn with_precompiles(mut self, precompiles: impl IntoIterator<Item = Precompile>) -> Self {
        self.executor = self.executor.with_precompiles(precompiles);
        self
    }

    /// From now on follows calls when `after` others of their kind have come; see
    /// [`EvmExecutor::with_traces`].
    pub fn trace_after(&mut self, after: u32) {
        self.executor.trace_after(after);
    }

    /// From now on goes by templates from this cache, or by none, for calls within `scope`.
    pub fn set_templates(&mut self, cache: Option<Arc<TemplateCache>>, scope: TemplateScope) {
        self.scope = scope;
        let current = self.templates.as_ref().map(Templates::cache);
        let same = match (current, &cache) {
            (Some(current), Some(cache)) => Arc::ptr_eq(current, cache),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.templates = cache.map(Templates::new);
        }
    }

    /// Turns to another block, keeping all buffers.
    pub fn set_block(&mut self, context: &BlockContext) {
        self.executor.set_block(context);
        self.beneficiary = context.block().beneficiary;
    }

    /// Finds out what a step touches, for somebody who plans a block and runs it later: by template, by
    /// simulation, or from the transaction alone, as for [`infer`](Infer::infer), and learns from what is
    /// simulated.
    ///
    /// `state` is one worker's, on a block that is only looked at; inferrers on several threads may share
    /// the block and the cache. Keys that are touched come back as the set, within the limit of inferred
    /// ones; with more it is everything. If a call leaves the set later,
    /// [tell](Infer::refute) the inferrer, so that the template is not used again.
    ///
    /// ```
    /// use lockweave_evm_adapter::{BlockContext, EvmInferrer, Step, TemplateCache};
    /// use lockweave_runtime::{
    ///     AccessSet, SimulatedState, StateError, StateView,
    /// };
    /// use std::sync::Arc;
    ///
    /// /// `cache` lives as long as the node.
    /// fn plan(
    ///     view: Arc<dyn StateView>,
    ///     context: &BlockContext,
    ///     cache: &Arc<TemplateCache>,
    ///     steps: &[Step],
    /// ) -> Result<Vec<AccessSet>, StateError> {
    ///     // On each thread, for its share of the steps.
    ///     let mut inferrer = EvmInferrer::with_templates(context, Arc::clone(cache));
    ///     let mut state = SimulatedState::new(view);
    ///     let plans = steps.iter().map(|step| inferrer.plan(step, &mut state));
    ///     plans.map(|plan| Ok(plan?.access)).collect()
    /// }
    /// ```
    pub fn plan(
        &mut self,
        step: &Step,
        state: &mut SimulatedState,
    ) -> Result<InferredPlan, StateError> {
        state.clear();
        let inference = self.infer(step, state)?;
        for entry in step.listed_access().entries() {
            state.expect(entry.key, entry.mode);
        }
        let access = AccessSet::build(|set| {
            for entry in state.touched() {
                set.insert(entry.key, entry.mode);
            }
        });
        state.clear();
        Ok(InferredPlan {
            access: access.unwrap_or(AccessSet::Everything),
            gas: inference.gas(),
            by_template: matches!(inference, Inference::Template { .. }),
        })
    }

    /// A transfer of ether to an account without code touches both accounts and the beneficiary's,
    /// and looks at no code but theirs.
    fn expect_transfer(
        &self,
        transaction: &EvmTransaction,
        recipient: Address,
        state: &mut SimulatedState,
    ) {
        let sender = transaction.sender();
        state.expect(StateKey::account(sender), AccessMode::Write);
        state.expect(StateKey::code(sender), AccessMode::Read);
        state.expect(StateKey::account(recipient), AccessMode::Credit);
        state.expect(StateKey::code(recipient), AccessMode::Read);
        state.expect(StateKey::account(self.beneficiary), AccessMode::Credit);
    }

    /// What a step needs of its sender that the state before the block does not have, and earlier
    /// transactions of the block may bring.
    fn assumption(
        step: &Step,
        state: &mut SimulatedState,
    ) -> Result<Option<Assumption>, StateError> {
        let Some(transaction) = step.transaction() else {
            return Ok(None);
        };
        let sender = state.peek_account(transaction.sender())?;
        let nonce = transaction.envelope().nonce();
        let balance = transaction.cost_max();
        let is_met = sender.nonce == nonce && sender.balance >= balance;
        Ok((!is_met).then(|| Assumption {
            address: transaction.sender(),
            nonce,
            balance,
        }))
    }

    /// What the templates say of a step, or what to do instead; and the code that is called.
    fn look_up(
        &mut self,
        step: &Step,
        is_waiting: bool,
        state: &mut SimulatedState,
    ) -> Result<(LookUp, B256), StateError> {
        let inputs =
            (step.transaction()).and_then(|transaction| Inputs::of(transaction, self.beneficiary));
        let (Some(templates), Some(inputs)) = (&mut self.templates, inputs) else {
            return Ok((LookUp::Simulate, B256::ZERO));
        };
        let code = state.peek_code(inputs.target)?.hash();
        if code == KECCAK256_EMPTY {
            return Ok((LookUp::Simulate, code));
        }
        let found = match (self.scope, state.contention()) {
            (TemplateScope::Crowded, Contention::Open) => Ok(LookUp::Simulate),
            (TemplateScope::Crowded, Contention::Crowded) => {
                let found = templates.look_up(code, &inputs, state);
                found.map(LookUp::without_lessons)
            }
            (TemplateScope::Crowded, Contention::Early) => {
                Ok(templates.look_for_lessons(code, &inputs))
            }
            (TemplateScope::Waiting, Contention::Open | Contention::Early) if !is_waiting => {
                Ok(templates.look_for_lessons(code, &inputs))
            }
            (TemplateScope::Waiting | TemplateScope::Every, _) => {
                templates.look_up(code, &inputs, state)
            }
        };
        // What it cannot know it cannot predict: a wrong template may ask for anything.
        Ok((found.unwrap_or(LookUp::Simulate), code))
    }

    /// Learns from a simulation that ended with this outcome.
    fn learn(
        &self,
        step: &Step,
        code: B256,
        state: &mut SimulatedState,
        outcome: &Outcome,
    ) -> Result<(), StateError> {
        let inputs =
            (step.transaction()).and_then(|transaction| Inputs::of(transaction, self.beneficiary));
        let (Some(templates), Some(inputs)) = (&self.templates, inputs) else {
            return Ok(());
        };
        // What was undone half-way says less than what the code can do.
        if !outcome.is_success() {
            return Ok(());
        }
        match Observation::new(inputs, state.observed()?, &self.preimages) {
            Some(observation) => templates.learn(code, &observation, outcome.gas_used),
            None => templates.refuse(code, &inputs),
        }
        Ok(())
    }

    /// Simulates a step and learns from it what calls of `code` touch.
    fn study(
        &mut self,
        step: &Step,
        code: B256,
        state: &mut SimulatedState,
    ) -> Result<Inference, StateError> {
        let mut preimages = mem::take(&mut self.preimages);
        preimages.clear();
        self.executor.record_preimages(Some(preimages));
        let listed = !state.touched().is_empty();
        let inference = self.simulate(step, None, state);
        self.preimages = self.executor.record_preimages(None).unwrap_or_default();
        // Keys of an access list stand in the set whether they are touched or not.
        if let Inference::Simulated(outcome) = &inference
            && !listed
        {
            self.learn(step, code, state, outcome)?;
        }
        Ok(inference)
    }

    fn simulate(
        &mut self,
        step: &Step,
        assumption: Option<Assumption>,
        state: &mut SimulatedState,
    ) -> Inference {
        let assumed = assumption.is_some();
        if let Some(assumption) = assumption {
            state.assume(assumption);
        }
        match self.executor.execute(step, state) {
            Ok(outcome) if !assumed => Inference::Simulated(outcome),
            Ok(_) => Inference::Assumed,
            Err(error) => {
                // What it touched until then is a start. The sender pays in any case.
                if let (Some(transaction), ExecutionError::Invalid(_)) =
                    (step.transaction(), &error)
                {
                    let sender = StateKey::account(transaction.sender());
                    state.expect(sender, AccessMode::Write);
                }
                Inference::Assumed
            }
        }
    }
}

impl Infer<Step> for EvmInferrer {
    fn infer(&mut self, step: &Step, state: &mut SimulatedState) -> Result<Inference, StateError> {
        if let Some(transaction) = step.transaction()
            && let Some(recipient) = transaction.plain_recipient()
            && state.peek_code(recipient)?.is_empty()
        {
            self.expect_transfer(transaction, recipient, state);
            return Ok(Inference::Known);
        }
        let assumption = Self::assumption(step, state)?;
        match self.look_up(step, assumption.is_some(), state)? {
            (LookUp::Predicted { gas }, _) => Ok(Inference::Template { gas }),
            // What ran on an assumption says too little of the account that it is about.
            (LookUp::Learn, code) if assumption.is_none() => self.study(step, code, state),
            (LookUp::Learn | LookUp::Simulate, _) => Ok(self.simulate(step, assumption, state)),
        }
    }

    fn announce(&mut self, steps: &[Sanitized<Step>], next: Next, view: &dyn StateView) {
        self.announced.clear();
        let transactions = steps
            .iter()
            .filter_map(|step| step.transaction.transaction());
        for transaction in transactions {
            // That a payment has a sender is known without a look.
            if next == Next::Run || transaction.plain_recipient().is_none() {
                self.announced.push(StateKey::account(transaction.sender()));
            }
            let target = transaction.envelope().to();
            self.announced.extend(target.map(StateKey::code));
        }
        view.prefetch(&self.announced);
    }

    fn refute(&mut self, step: &Step, state: &mut SimulatedState) {
        let inputs =
            (step.transaction()).and_then(|transaction| Inputs::of(transaction, self.beneficiary));
        if let (Some(templates), Some(inputs)) = (&self.templates, inputs)
            && let Ok(code) = state.peek_code(inputs.target)
        {
            templates.withdraw(code.hash(), &inputs);
        }
    }
}

impl PredictedState for SimulatedState {
    fn peek(&mut self, key: StateKey) -> Result<U256, StateError> {
        match key.part {
            KeyPart::Slot(slot) => self.peek_slot(key.address, slot),
            KeyPart::Account | KeyPart::Code => Ok(U256::ZERO),
        }
    }

    fn keep_hash(&mut self, place: &[u8; 64], hash: U256) {
        SimulatedState::keep_hash(self, place, hash);
    }

    fn expect(&mut self, entry: AccessEntry) -> Result<(), StateError> {
        // A template names each key once, or nearly so.
        self.expect_new(entry.key, entry.mode);
        Ok(())
    }
}

impl EvmTransaction {
    /// Whom it sends ether to, if it may be no more than a transfer: no input, no authorisations.
    fn plain_recipient(&self) -> Option<Address> {
        let envelope = self.envelope();
        let plain = envelope.input().is_empty()
            && envelope.authorization_list().is_none_or(<[_]>::is_empty);
        envelope.to().filter(|_| plain)
    }

    /// The most it can cost its sender, in wei.
    fn cost_max(&self) -> U256 {
        let envelope = self.envelope();
        let gas = U256::from(envelope.gas_limit()) * U256::from(envelope.max_fee_per_gas());
        let blobs = U256::from(envelope.blob_gas_used().unwrap_or_default())
            * U256::from(envelope.max_fee_per_blob_gas().unwrap_or_default());
        gas.saturating_add(blobs).saturating_add(envelope.value())
    }
}
