//! Executes a block of the chain again, transaction by transaction.

use super::scene::{CallResult, Scene, refused};
use crate::{
    chain::ChainBlock,
    rpc::{context::RpcContext, message::RpcError},
};
use revm::{DatabaseCommit, context::TxEnv};
use std::sync::Arc;

/// A block that is executed again, up to some transaction.
pub(crate) struct Rerun {
    pub(crate) block: Arc<ChainBlock>,
    pub(crate) scene: Scene,
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
        scene.system_calls(&layout, false)?;
        Ok(Self { block, scene })
    }

    /// A transaction in revm's form.
    pub(crate) fn transaction(&self, index: usize) -> TxEnv {
        TxEnv::clone(self.block.transactions[index].env())
    }

    /// Executes the transactions before `index`.
    pub(crate) fn skip_to(&mut self, index: usize) -> Result<(), RpcError> {
        for earlier in 0..index {
            let transaction = self.transaction(earlier);
            let gas = transaction.gas_limit;
            let result = self.scene.transact(transaction);
            self.keep(earlier, result.map_err(|error| refused(error, gas))?)?;
        }
        Ok(())
    }

    /// Keeps the changes of a transaction. After an access violation, its only change is the payment for gas.
    pub(crate) fn keep(&mut self, index: usize, result: CallResult) -> Result<(), RpcError> {
        if self.block.failure(index).is_some() {
            let transaction = self.transaction(index);
            return self.scene.charge_all_gas(&transaction);
        }
        self.scene.scratch.commit(result.state);
        Ok(())
    }
}
