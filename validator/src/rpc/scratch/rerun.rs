//! Executes a block of the chain again, transaction by transaction.

use super::scene::{CallResult, Scene, refused};
use crate::{
    chain::ChainBlock,
    rpc::{context::RpcContext, message::RpcError},
};
use lockweave_evm_adapter::EvmBlock;
use revm::{DatabaseCommit, context::TxEnv, state::EvmState};
use std::sync::Arc;

/// A block that is executed again, up to some transaction.
pub(crate) struct Rerun {
    pub(crate) block: Arc<ChainBlock>,
    pub(crate) scene: Scene,
    layout: EvmBlock,
    opening: Vec<EvmState>,
}

impl Rerun {
    /// The state before the block's first transaction.
    pub(crate) fn begin(context: &RpcContext, block: Arc<ChainBlock>) -> Result<Self, RpcError> {
        let Some(parent) = block.number().checked_sub(1) else {
            return Err(RpcError::server("genesis is not traceable"));
        };
        let state = context.node.store().state_at(parent)?;
        let mut scene = Scene::new(context.node.chain(), &block.header, state);
        let layout = block.layout(context.node.chain(), Vec::new());
        let layout = layout.map_err(|error| RpcError::internal(error.to_string()))?;
        let opening = scene.system_calls(&layout, false)?;
        Ok(Self {
            block,
            scene,
            layout,
            opening: opening.into_iter().map(|call| call.state).collect(),
        })
    }

    /// Accounts that system calls accessed before the transactions.
    pub(crate) fn opening_states(&self) -> &[EvmState] {
        &self.opening
    }

    /// A transaction in revm's form.
    pub(crate) fn transaction(&self, index: usize) -> TxEnv {
        TxEnv::clone(self.block.transactions[index].env())
    }

    /// Executes the transactions before `index`.
    pub(crate) fn skip_to(&mut self, index: usize) -> Result<(), RpcError> {
        for earlier in 0..index {
            self.step(earlier)?;
        }
        Ok(())
    }

    /// Executes the next transaction and returns what it accessed.
    pub(crate) fn step(&mut self, index: usize) -> Result<EvmState, RpcError> {
        let transaction = self.transaction(index);
        let gas = transaction.gas_limit;
        let result = self.scene.transact(transaction);
        self.keep(index, result.map_err(|error| refused(error, gas))?)
    }

    /// Keeps the changes of a transaction. After an access violation, its only change is the payment for gas.
    pub(crate) fn keep(&mut self, index: usize, result: CallResult) -> Result<EvmState, RpcError> {
        if self.block.failure(index).is_some() {
            let transaction = self.transaction(index);
            return self.scene.charge_all_gas(&transaction);
        }
        self.scene.scratch.commit(result.state.clone());
        Ok(result.state)
    }

    /// Applies rewards, withdrawals and system calls after the transactions; returns what they accessed.
    pub(crate) fn close(&mut self) -> Result<Vec<EvmState>, RpcError> {
        let mut states = vec![self.scene.credit(&self.layout)?];
        let calls = self.scene.system_calls(&self.layout, true)?;
        states.extend(calls.into_iter().map(|call| call.state));
        Ok(states)
    }
}
