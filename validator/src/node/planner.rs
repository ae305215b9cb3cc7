//! Which keys a transaction will touch: the node's guess before it runs.
//!
//! A plain transfer needs no simulation. Everything else is run once on the latest state, each
//! sender's transactions in order, different senders' on different threads. A guess that turns out
//! wrong costs a retry, never a wrong result: whoever leaves its set is stopped without effect.

use ahash::AHashMap;
use alloy_consensus::{Transaction as _, Typed2718};
use alloy_primitives::Address;
use lockweave_evm_adapter::{BlockContext, EvmExecutor, EvmTransaction, Step};
use lockweave_runtime::{
    AccessMode, AccessSet, AccessSetBuilder, CodeRef, Declaration, Executor, INFERRED_KEYS_MAX,
    Recording, SerialState, StateKey, StateView,
};
use std::{num::NonZeroUsize, sync::Arc, thread};

/// Gas of a plain transfer.
const TRANSFER_GAS: u64 = 21_000;
/// Fewer simulations than this are not worth a thread.
const SIMULATIONS_PER_THREAD_MIN: usize = 8;

/// What a transaction is thought to touch and to cost.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The keys.
    pub access: AccessSet,
    /// Where they come from.
    pub declaration: Declaration,
    /// Gas it is thought to use.
    pub gas_estimate: u64,
}

/// A transaction to be planned.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// The transaction.
    pub transaction: EvmTransaction,
    /// Whether an earlier plan of it was wrong, so that no shortcut will do.
    pub is_retry: bool,
}

/// Finds out what transactions will touch.
pub trait AccessPlanner: Send {
    /// Plans of transactions that would follow each other in a block on this state, in their order.
    fn plan(
        &mut self,
        view: &Arc<dyn StateView>,
        context: &BlockContext,
        requests: &[PlanRequest],
    ) -> Vec<Plan>;
}

/// Plans by running transactions on the state before the block.
#[derive(Debug)]
pub struct SimulatingPlanner {
    threads: NonZeroUsize,
}

impl SimulatingPlanner {
    /// Simulates on this many threads.
    pub const fn new(threads: NonZeroUsize) -> Self {
        Self { threads }
    }
}

impl AccessPlanner for SimulatingPlanner {
    fn plan(
        &mut self,
        view: &Arc<dyn StateView>,
        context: &BlockContext,
        requests: &[PlanRequest],
    ) -> Vec<Plan> {
        let beneficiary = context.block().beneficiary;
        let mut plans: Vec<Option<Plan>> = Vec::with_capacity(requests.len());
        let mut to_simulate: AHashMap<Address, Vec<usize>> = AHashMap::new();
        let mut simulations = 0;
        for (index, request) in requests.iter().enumerate() {
            let plan = plan_signed(beneficiary, request)
                .or_else(|| plan_transfer(&**view, beneficiary, request));
            if plan.is_none() {
                let sender = request.transaction.sender();
                to_simulate.entry(sender).or_default().push(index);
                simulations += 1;
            }
            plans.push(plan);
        }
        let simulate = |share: Vec<Vec<usize>>| simulate(view, context, requests, share);
        let threads = (simulations / SIMULATIONS_PER_THREAD_MIN).clamp(1, self.threads.get());
        let mut shares: Vec<Vec<Vec<usize>>> = vec![Vec::new(); threads];
        for (turn, indices) in to_simulate.into_values().enumerate() {
            shares[turn % threads].push(indices);
        }
        let found: Vec<Vec<(usize, Plan)>> = if threads == 1 {
            shares.into_iter().map(simulate).collect()
        } else {
            thread::scope(|scope| {
                let workers: Vec<_> = shares
                    .into_iter()
                    .map(|share| scope.spawn(move || simulate(share)))
                    .collect();
                workers
                    .into_iter()
                    .map(|worker| worker.join().expect("a simulation does not panic"))
                    .collect()
            })
        };
        for (index, plan) in found.into_iter().flatten() {
            plans[index] = Some(plan);
        }
        plans
            .into_iter()
            .map(|plan| plan.expect("every transaction is planned or simulated"))
            .collect()
    }
}

/// The plan of a transaction that signed what it touches: that, and nothing else.
fn plan_signed(beneficiary: Address, request: &PlanRequest) -> Option<Plan> {
    Some(Plan {
        access: request.transaction.signed_access(beneficiary)?,
        declaration: Declaration::Signed,
        gas_estimate: request.transaction.envelope().gas_limit(),
    })
}

/// The plan of a transaction that runs no code.
fn plan_transfer(
    view: &dyn StateView,
    beneficiary: Address,
    request: &PlanRequest,
) -> Option<Plan> {
    let envelope = request.transaction.envelope();
    if request.is_retry || envelope.ty() > 2 || !envelope.input().is_empty() {
        return None;
    }
    let recipient = envelope.to()?;
    let account = view.account(recipient).ok()?;
    let code = CodeRef::load(view, recipient, account.as_ref()).ok()?;
    if !code.is_empty() {
        return None;
    }
    let sender = request.transaction.sender();
    let mut set = AccessSetBuilder::default();
    set.insert(StateKey::account(sender), AccessMode::Write)
        .insert(StateKey::code(sender), AccessMode::Read)
        .insert(StateKey::account(recipient), AccessMode::Credit)
        .insert(StateKey::code(recipient), AccessMode::Read)
        .insert(StateKey::account(beneficiary), AccessMode::Credit);
    Some(Plan {
        access: set.finish(INFERRED_KEYS_MAX).ok()?,
        declaration: Declaration::Inferred,
        gas_estimate: TRANSFER_GAS,
    })
}

/// Runs transactions, each sender's in order, and notes what they touch.
fn simulate(
    view: &Arc<dyn StateView>,
    context: &BlockContext,
    requests: &[PlanRequest],
    share: Vec<Vec<usize>>,
) -> Vec<(usize, Plan)> {
    let state = SerialState::new(Arc::clone(view), context.rules());
    let mut state = Recording::new(state);
    let mut executor = EvmExecutor::<Recording<SerialState>>::new(context);
    let mut plans = Vec::new();
    for index in share.into_iter().flatten() {
        let transaction = requests[index].transaction.clone();
        let limit = transaction.envelope().gas_limit();
        let step = Step::Transaction(transaction);
        let outcome = executor.execute(&step, &mut state);
        // What a transaction touched before it was refused is a guess as good as any.
        let set = state.take_access(INFERRED_KEYS_MAX);
        let plan = Plan {
            access: set.unwrap_or(AccessSet::Everything),
            declaration: Declaration::Inferred,
            gas_estimate: outcome.map_or(limit, |outcome| outcome.gas_used),
        };
        plans.push((index, plan));
    }
    plans
}
