//! Infers the access sets of steps that declare none.

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
/// template by it, everything else by simulation on the state before the block.
#[derive(Debug)]
pub struct EvmInferrer {
    executor: EvmExecutor<SimulatedState>,
    beneficiary: Address,
    templates: Option<Templates>,
    /// The calls that templates predict.
    scope: TemplateScope,
    /// Kept between simulations for its memory.
    preimages: Preimages,
    /// The keys to prefetch; kept for its memory.
    announced: Vec<StateKey>,
}

/// The calls that are predicted by template, if they have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TemplateScope {
    /// All calls.
    #[default]
    Every,
    /// Calls whose simulation cannot be their execution, because their sender's nonce or balance depends on earlier
    /// transactions of the block. Other calls are simulated, which is mostly their execution, and learned from. In
    /// a [crowded](Contention::Crowded) block, all calls.
    Waiting,
    /// No calls, except in crowded blocks, whose first transactions are learned from. The cache need not outlive a
    /// block.
    Crowded,
}

/// The expected keys and gas of a step; see [`EvmInferrer::plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferredPlan {
    /// The keys.
    pub access: AccessSet,
    /// Gas of its simulation or of similar calls, if known.
    pub gas: Option<u64>,
    /// Whether a template predicted the keys, without simulation.
    pub by_template: bool,
}

impl EvmInferrer {
    /// An inferrer for a block with this context, without templates.
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

    /// An inferrer for a block with this context, with templates from this cache, which inferrers may share.
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

    /// Traces calls when `after` others of their kind have come; see
    /// [`EvmExecutor::with_traces`].
    pub fn trace_after(&mut self, after: u32) {
        self.executor.trace_after(after);
    }

    /// Uses templates from this cache, or none, for calls within `scope`.
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

    /// Switches to another block; keeps memory and caches.
    pub fn set_block(&mut self, context: &BlockContext) {
        self.executor.set_block(context);
        self.beneficiary = context.block().beneficiary;
    }

    /// Infers the access set of a step that runs later: by template, by simulation, or from the transaction
    /// alone, as [`infer`](Infer::infer) does. Simulations are learned from.
    ///
    /// `state` belongs to one worker; inferrers on several threads may share the view and the cache. A set that exceeds
    /// the limit of inferred keys becomes [`AccessSet::Everything`]. If a call violates the set later,
    /// [report](Infer::reject_template) it to the inferrer, so that the template is not used again.
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

    /// Expects the keys of a transfer to an account without code: the accounts of sender, recipient and beneficiary, and
    /// the codes of the first two.
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

    /// The nonce and balance that a step needs of its sender, if the state before the block does not have them.
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

    /// The template's prediction for a step, or what to do instead; and the called code.
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
                found.map(LookUp::without_learning)
            }
            (TemplateScope::Crowded, Contention::Early) => {
                Ok(templates.look_up_learning(code, &inputs))
            }
            (TemplateScope::Waiting, Contention::Open | Contention::Early) if !is_waiting => {
                Ok(templates.look_up_learning(code, &inputs))
            }
            (TemplateScope::Waiting | TemplateScope::Every, _) => {
                templates.look_up(code, &inputs, state)
            }
        };
        // A wrong template may read any key, and the state may refuse it.
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
        // A reverted call shows only part of its keys.
        if !outcome.is_success() {
            return Ok(());
        }
        match Observation::new(inputs, state.observed()?, &self.preimages) {
            Some(observation) => templates.learn(code, &observation, outcome.gas_used),
            None => templates.refuse(code, &inputs),
        }
        Ok(())
    }

    /// Simulates a step and learns the keys that calls of `code` access.
    fn simulate_and_learn(
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
        // The set contains the keys of an access list even if they are not accessed.
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
                // The keys accessed so far are kept. The sender pays in any case.
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
            // A simulation on an assumption does not show the accesses to that account.
            (LookUp::Learn, code) if assumption.is_none() => {
                self.simulate_and_learn(step, code, state)
            }
            (LookUp::Learn | LookUp::Simulate, _) => Ok(self.simulate(step, assumption, state)),
        }
    }

    fn announce(&mut self, steps: &[Sanitized<Step>], next: Next, view: &dyn StateView) {
        self.announced.clear();
        let transactions = steps
            .iter()
            .filter_map(|step| step.transaction.transaction());
        for transaction in transactions {
            // Inferring a payment does not read its sender.
            if next == Next::Run || transaction.plain_recipient().is_none() {
                self.announced.push(StateKey::account(transaction.sender()));
            }
            let target = transaction.envelope().to();
            self.announced.extend(target.map(StateKey::code));
        }
        view.prefetch(&self.announced);
    }

    fn reject_template(&mut self, step: &Step, state: &mut SimulatedState) {
        let inputs =
            (step.transaction()).and_then(|transaction| Inputs::of(transaction, self.beneficiary));
        if let (Some(templates), Some(inputs)) = (&self.templates, inputs)
            && let Ok(code) = state.peek_code(inputs.target)
        {
            templates.invalidate(code.hash(), &inputs);
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
    /// The recipient, if it may be a plain transfer: no input and no authorisations.
    fn plain_recipient(&self) -> Option<Address> {
        let envelope = self.envelope();
        let plain = envelope.input().is_empty()
            && envelope.authorization_list().is_none_or(<[_]>::is_empty);
        envelope.to().filter(|_| plain)
    }

    /// The maximum cost to its sender, in wei.
    fn cost_max(&self) -> U256 {
        let envelope = self.envelope();
        let gas = U256::from(envelope.gas_limit()) * U256::from(envelope.max_fee_per_gas());
        let blobs = U256::from(envelope.blob_gas_used().unwrap_or_default())
            * U256::from(envelope.max_fee_per_blob_gas().unwrap_or_default());
        gas.saturating_add(blobs).saturating_add(envelope.value())
    }
}
