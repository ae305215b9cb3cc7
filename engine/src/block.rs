//! A block from its header and transactions.

use crate::{
    access::Access,
    core::Core,
    error::EngineError,
    executed::Executed,
    run::{Run, Steps},
    state::StateSource,
};
use alloy_consensus::{Header, transaction::Recovered};
use alloy_eips::eip4895::Withdrawal;
use lockweave_evm_adapter::{
    BlockInput, ChainSpec, EvmBlock, EvmBlockError, EvmTransaction, LockweaveTxEnvelope, Ommers,
};

/// A block that is being put together for execution.
#[derive(Debug)]
#[must_use = "a block is executed by `execute`"]
pub struct NewBlock<'e> {
    engine: &'e Core,
    chain: &'e ChainSpec,
    input: BlockInput,
    access: Access<'e>,
}

impl<'e> NewBlock<'e> {
    pub(crate) const fn new(engine: &'e Core, chain: &'e ChainSpec, header: Header) -> Self {
        Self {
            engine,
            chain,
            input: BlockInput {
                header,
                transactions: Vec::new(),
                ommers: Ommers::Headers(Vec::new()),
                withdrawals: Vec::new(),
            },
            access: Access::Inferred,
        }
    }

    /// The transactions with their senders, in block order: alloy's [`Recovered`] envelopes.
    pub fn transactions<T: Into<LockweaveTxEnvelope>>(
        mut self,
        transactions: impl IntoIterator<Item = Recovered<T>>,
    ) -> Self {
        let transactions = transactions.into_iter().map(|recovered| {
            let (transaction, sender) = recovered.into_parts();
            EvmTransaction::new(transaction, sender)
        });
        self.input.transactions.extend(transactions);
        self
    }

    /// The block's uncles (before the merge). The default is none.
    pub fn ommers(mut self, ommers: Vec<Header>) -> Self {
        self.input.ommers = Ommers::Headers(ommers);
        self
    }

    /// The block's withdrawals (from Shanghai on). The default is none.
    pub fn withdrawals(mut self, withdrawals: Vec<Withdrawal>) -> Self {
        self.input.withdrawals = withdrawals;
        self
    }

    /// Where the access sets come from. The default is [`Access::Inferred`].
    pub const fn access(mut self, access: Access<'e>) -> Self {
        self.access = access;
        self
    }

    /// Lays the block out in steps, for [`Engine::run`](crate::Engine::run), which has more options.
    pub fn lay_out(self) -> Result<EvmBlock, EvmBlockError> {
        EvmBlock::new(self.chain, self.input)
    }

    /// Executes the block on the state before it.
    pub fn execute(self, state: &impl StateSource) -> Result<Executed, EngineError> {
        let (engine, access) = (self.engine, self.access);
        let block = self.lay_out()?;
        Run::new(engine, Steps::Block(&block))
            .access(access)
            .execute(state)
    }
}
