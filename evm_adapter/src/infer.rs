//! What a step touches, when nobody has declared it.

use crate::{
    block::BlockContext,
    executor::EvmExecutor,
    step::{EvmTransaction, Step},
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U256};
use lockweave_runtime::{
    AccessMode, Assumption, ExecutionError, Executor, Infer, Inference, SimulatedState, StateError,
    StateKey,
};

/// Infers access sets of EVM steps: plain transfers from the transaction alone, everything else by
/// running it on the state before the block.
#[derive(Debug)]
pub struct EvmInferrer {
    executor: EvmExecutor<SimulatedState<Step>>,
    beneficiary: Address,
}

impl EvmInferrer {
    /// For the steps of a block with this context.
    pub fn new(context: &BlockContext) -> Self {
        Self {
            executor: EvmExecutor::new(context).with_short_transfers(),
            beneficiary: context.block().beneficiary,
        }
    }

    /// Turns to another block, keeping all buffers.
    pub fn set_block(&mut self, context: &BlockContext) {
        self.executor.set_block(context);
        self.beneficiary = context.block().beneficiary;
    }

    /// A transfer of ether to an account without code touches both accounts and the beneficiary's,
    /// and looks at no code but theirs.
    fn expect_transfer(
        &self,
        transaction: &EvmTransaction,
        recipient: Address,
        state: &mut SimulatedState<Step>,
    ) -> Result<(), StateError> {
        let sender = transaction.sender();
        state.expect(StateKey::account(sender), AccessMode::Write)?;
        state.expect(StateKey::code(sender), AccessMode::Read)?;
        state.expect(StateKey::account(recipient), AccessMode::Credit)?;
        state.expect(StateKey::code(recipient), AccessMode::Read)?;
        state.expect(StateKey::account(self.beneficiary), AccessMode::Credit)
    }

    fn simulate(
        &mut self,
        step: &Step,
        state: &mut SimulatedState<Step>,
    ) -> Result<Inference, StateError> {
        let mut assumed = false;
        if let Some(transaction) = step.transaction() {
            let sender = state.peek_account(transaction.sender())?;
            let nonce = transaction.envelope().nonce();
            let cost = transaction.cost_max();
            // Earlier transactions of the block may bring nonce and ether.
            if sender.nonce != nonce || sender.balance < cost {
                assumed = true;
                state.assume(Assumption {
                    address: transaction.sender(),
                    nonce,
                    balance: cost,
                });
            }
        }
        match self.executor.execute(step, state) {
            Ok(outcome) if !assumed => Ok(Inference::Simulated(outcome)),
            Ok(_) => Ok(Inference::Assumed),
            Err(error) => {
                // What it touched until then is a start. The sender pays in any case.
                if let (Some(transaction), ExecutionError::Invalid(_)) =
                    (step.transaction(), &error)
                {
                    let sender = StateKey::account(transaction.sender());
                    state.expect(sender, AccessMode::Write)?;
                }
                Ok(Inference::Assumed)
            }
        }
    }
}

impl Infer<Step> for EvmInferrer {
    fn infer(
        &mut self,
        step: &Step,
        state: &mut SimulatedState<Step>,
    ) -> Result<Inference, StateError> {
        if let Some(transaction) = step.transaction()
            && let Some(recipient) = transaction.plain_recipient()
            && state.peek_code(recipient)?.is_empty()
        {
            self.expect_transfer(transaction, recipient, state)?;
            return Ok(Inference::Known);
        }
        self.simulate(step, state)
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
