//! A block that can be run again and again, and our ways to run it.

use super::flat_state::FlatState;
use alloy_consensus::{Signed, Transaction as _};
use alloy_primitives::{Signature, U256};
use lockweave_banking_stage::{BankingStage, execute_block};
use lockweave_engine::{Access, Engine, Executed, RecordedAccess, Run, SerialRun};
use lockweave_evm_adapter::{
    BlockContext, EvmExecutor, EvmTransaction, LockweaveTxEnvelope, Step, TemplateCache, TemplateScope,
    TxDeclared,
};
use lockweave_runtime::{
    AccessSet, Declaration, DenseId as _, GrantedState, KeyPart, KeyTable, OpenBlock, Outcome,
    RecycledBlock, Sanitized, SealedBlock, StateCells, StateError, StateKey, StateView, TaskId,
};
use std::{
    cell::Cell,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;

/// A block that cannot be prepared for measuring.
#[derive(Debug, Error)]
pub enum BlockError {
    /// A step does not run.
    #[error("block {block}, step {step}: {problem}")]
    Step {
        /// The block's name.
        block: String,
        /// The step's place.
        step: usize,
        /// What was wrong.
        problem: String,
    },
    /// The state before the block cannot be read.
    #[error("block {block}: {source}")]
    State {
        /// The block's name.
        block: String,
        /// What was wrong.
        source: StateError,
    },
}

/// Where access sets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessSource {
    /// Recorded when the block was made, with their keys numbered.
    Recorded,
    /// Signed by the senders, in transactions of type `0x44`. Keys are numbered on the clock.
    Signed,
    /// Not there: inferred from the transactions, on the clock.
    Inferred,
}

impl AccessSource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Recorded, Self::Signed, Self::Inferred];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Signed => "signed",
            Self::Inferred => "inferred",
        }
    }
}

/// A block, the state before it, and what its transactions touch.
pub struct Block {
    name: String,
    view: Arc<dyn StateView>,
    context: BlockContext,
    steps: Vec<Step>,
    /// The steps without the gas that they were recorded to use.
    unseen: Vec<Step>,
    recorded: RecordedAccess,
    /// The same transactions, each with a signed declaration.
    signed: Option<Vec<Step>>,
    transactions: usize,
    gas: u64,
}

impl Block {
    /// Runs steps serially and records what each accesses.
fn record(
    name: &str,
    view: &Arc<dyn StateView>,
    context: &BlockContext,
    steps: &[Step],
) -> Result<(Vec<AccessSet>, Vec<Outcome>), BlockError> {
    let failed = |step: usize, problem: String| BlockError::Step {
        block: name.to_owned(),
        step,
        problem,
    };
    let mut run = SerialRun::recording(context, view);
    for (index, step) in steps.iter().enumerate() {
        let outcome = run.step(step);
        outcome.map_err(|error| failed(index, error.to_string()))?;
    }
    let recorded = run.finish().map_err(|error| failed(steps.len(), error.to_string()))?;
    Ok((recorded.sets, recorded.sealed.outcomes))
}

fn sanitized(steps: &[Step], sets: &[AccessSet]) -> Vec<Sanitized<Step>> {
    (steps.iter().zip(sets))
        .map(|(step, access)| Sanitized {
            transaction: step.clone(),
            access: access.clone(),
            declaration: Declaration::Recorded,
        })
        .collect()
}

/// Gas for what a declaration makes warm, and more than that.
const GAS_PER_ENTRY: u64 = 2_400;

/// The same transaction, stating what it touches. What is in its signature is never looked at here:
/// the sender is known.
fn sign(transaction: &EvmTransaction, set: &AccessSet, context: &BlockContext) -> EvmTransaction {
    let sender = transaction.sender();
    let envelope = transaction.envelope();
    let price = envelope.max_fee_per_gas();
    let mut declared = TxDeclared {
        chain_id: context.config().chain_id,
        nonce: envelope.nonce(),
        gas_limit: envelope.gas_limit(),
        max_fee_per_gas: price,
        max_priority_fee_per_gas: envelope.max_priority_fee_per_gas().unwrap_or(price),
        to: envelope.kind(),
        value: envelope.value(),
        access_list: envelope.access_list().cloned().unwrap_or_default(),
        input: envelope.input().clone(),
        ..TxDeclared::default()
    };
    declared.declare(set, sender, context.block().beneficiary);
    let entries = u64::try_from(declared.declared_entries()).unwrap_or(u64::MAX);
    declared.gas_limit = (declared.gas_limit).saturating_add(entries.saturating_mul(GAS_PER_ENTRY));
    let signature = Signature::new(U256::ONE, U256::ONE, false);
    let signed = Signed::new_unhashed(declared, signature);
    EvmTransaction::new(LockweaveTxEnvelope::Declared(signed), sender)
}
