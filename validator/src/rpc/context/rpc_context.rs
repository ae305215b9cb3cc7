//! What every method can use: the node, the limits, and blocks and states by id.

use super::{config::RpcConfig, filters::Filters};
use crate::{
    chain::ChainBlock, network::Network, node::Node, rpc::message::RpcError,
    store::TransactionPlace,
};
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::B256;
use lockweave_runtime::StateView;
use std::sync::Arc;

/// The node, the limits, and the filters clients installed.
#[derive(Debug)]
pub(crate) struct RpcContext {
    pub(crate) node: Arc<Node>,
    /// The network that agrees on the blocks, if there is one.
    pub(crate) network: Option<Arc<Network>>,
    pub(crate) config: RpcConfig,
    /// Filters that clients installed.
    pub(crate) filters: Filters,
}

impl RpcContext {
    /// The block number for a number or tag. The pending block counts as the newest.
    pub(crate) fn number_of(&self, id: BlockNumberOrTag) -> u64 {
        match id {
            BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => self.node.head().block.number(),
            BlockNumberOrTag::Safe => self.node.finality().safe,
            BlockNumberOrTag::Finalized => self.node.finality().finalized,
            BlockNumberOrTag::Earliest => self.node.parameters().genesis.number.unwrap_or_default(),
            BlockNumberOrTag::Number(number) => number,
        }
    }

    /// The block with an id, if it exists.
    pub(crate) fn find_block(&self, id: BlockId) -> Result<Option<Arc<ChainBlock>>, RpcError> {
        let number = match id {
            BlockId::Number(number) => self.number_of(number),
            BlockId::Hash(hash) => match self.node.store().number_of(hash.block_hash) {
                Some(number) => number,
                None => return Ok(None),
            },
        };
        let head = self.node.head().block;
        if head.number() == number {
            return Ok(Some(head));
        }
        Ok(self.node.store().block(number)?)
    }

    /// The block with an id, or an error.
    pub(crate) fn block(&self, id: BlockId) -> Result<Arc<ChainBlock>, RpcError> {
        self.find_block(id)?.ok_or_else(RpcError::block_not_found)
    }

    /// The block with an id and the state after it; the newest without an id.
    pub(crate) fn state(
        &self,
        id: Option<BlockId>,
    ) -> Result<(Arc<ChainBlock>, Arc<dyn StateView>), RpcError> {
        let head = self.node.head();
        let block = match id {
            None => return Ok((head.block, head.state)),
            Some(id) => self.block(id)?,
        };
        if block.hash == head.block.hash {
            return Ok((head.block, head.state));
        }
        let state = self.node.store().state_at(block.number())?;
        Ok((block, state))
    }

    /// The block of a transaction and its index there.
    pub(crate) fn find_transaction(
        &self,
        hash: B256,
    ) -> Result<Option<(Arc<ChainBlock>, usize)>, RpcError> {
        let Some(TransactionPlace { block, index }) = self.node.store().transaction(hash) else {
            return Ok(None);
        };
        let block = self.find_block(block.into())?;
        Ok(block.map(|block| (block, index as usize)))
    }
}
