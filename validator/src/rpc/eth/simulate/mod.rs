//! `eth_simulateV1`: simulated blocks on top of a block of the chain.

mod call;
mod changes;
mod sequence;

use crate::{
    chain::{ChainBlock, receipts::seal_body, requests::requests},
    rpc::{
        context::RpcContext,
        format::{self, RpcTransaction},
        message::{Params, Reply, RpcError, reply},
        scratch::{Deadline, MovablePrecompiles, Scene},
    },
};
use alloy_consensus::Header;
use alloy_eips::{BlockId, eip4844::DATA_GAS_PER_BLOB, eip4895::Withdrawals};
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::{
    Block, TransactionRequest,
    simulate::{SimBlock, SimulatePayload, SimulatedBlock},
};
use call::{CallPosition, ExecutedCall};
use lockweave_evm_adapter::{BlockContext, BlockInput, EvmBlock, EvmTransaction, Ommers, Step};
use lockweave_runtime::{Outcome, Receipt};
use sequence::PlannedBlock;

/// Error codes of the specification (execution-apis, `eth_simulateV1`).
mod code {
    pub(crate) const NONCE_TOO_LOW: i64 = -38_010;
    pub(crate) const NONCE_TOO_HIGH: i64 = -38_011;
    pub(crate) const BASE_FEE_TOO_LOW: i64 = -38_012;
    pub(crate) const INTRINSIC_GAS: i64 = -38_013;
    pub(crate) const INSUFFICIENT_FUNDS: i64 = -38_014;
    pub(crate) const BLOCK_GAS_LIMIT: i64 = -38_015;
    pub(crate) const BLOCK_NUMBER_ORDER: i64 = -38_020;
    pub(crate) const TIMESTAMP_ORDER: i64 = -38_021;
    pub(crate) const INIT_CODE_TOO_LARGE: i64 = -38_025;
    pub(crate) const TOO_MANY_BLOCKS: i64 = -38_026;
}

pub(crate) fn simulate(context: &RpcContext, params: &Params<'_>) -> Reply {
    let payload: SimulatePayload = params.required(0, "payload")?;
    let id: Option<BlockId> = params.optional(1, "block")?;
    if payload.block_state_calls.is_empty() {
        return Err(RpcError::invalid_params("empty input"));
    }
    let (base, state) = context.state(id)?;
    let mut scene = Scene::new(context.node.chain(), &base.header, state);
    // The sender may be a contract, and its gas limit is not capped.
    scene.config.disable_eip3607 = true;
    scene.config.tx_gas_limit_cap = Some(u64::MAX);
    if !payload.validation {
        scene.relax();
    }
    let mut simulation = Simulation {
        context,
        scene,
        base: base.number(),
        parent: base.header.clone(),
        parent_hash: base.hash,
        validation: payload.validation,
        trace_transfers: payload.trace_transfers,
        gas_left: context.config.gas_cap,
    };
    let deadline = Deadline::within(context.config.call_timeout);
    let mut blocks = Vec::new();
    for planned in sequence::plan(&base.header, payload.block_state_calls)? {
        deadline.check()?;
        blocks.push(simulation.block(planned, payload.return_full_transactions)?);
    }
    reply(blocks)
}

struct Simulation<'c> {
    context: &'c RpcContext,
    scene: Scene,
    /// The block that the simulation is based on.
    base: u64,
    parent: Header,
    parent_hash: B256,
    validation: bool,
    trace_transfers: bool,
    /// Gas that is left for the whole simulation.
    gas_left: u64,
}

impl Simulation<'_> {
    /// Executes one block.
    fn block(
        &mut self,
        planned: PlannedBlock,
        full: bool,
    ) -> Result<SimulatedBlock<Block<RpcTransaction>>, RpcError> {
        let chain = self.context.node.chain();
        let mut header = sequence::header(
            chain,
            &self.parent,
            self.parent_hash,
            &planned,
            self.validation,
        );
        let rules = BlockContext::new(chain, &header);
        self.scene.block = rules.block().clone();
        self.scene.config.spec = rules.config().spec;
        // Precompiles that one block moved are back in the next.
        self.scene.precompiles = MovablePrecompiles::of(rules.config().spec);
        let SimBlock {
            block_overrides,
            state_overrides,
            calls,
        } = planned.block;
        self.scene
            .override_block(block_overrides.unwrap_or_default());
        if let Some(state) = state_overrides {
            self.scene.override_state(state)?;
        }
        self.scene
            .system_calls(&layout(chain, &header, Vec::new())?, false)?;
        let mut executed: Vec<ExecutedCall> = Vec::with_capacity(calls.len());
        for request in calls {
            let position = CallPosition::after(executed.last());
            executed.push(self.call(&header, request, position)?);
        }
        self.close(&mut header, &executed)?;
        self.seal(&mut header, executed, full)
    }

    /// Executes one call and keeps its changes.
    fn call(
        &mut self,
        header: &Header,
        mut request: TransactionRequest,
        position: CallPosition,
    ) -> Result<ExecutedCall, RpcError> {
        let gas_before = position.gas_before;
        let block_left = header.gas_limit.saturating_sub(gas_before);
        let gas = request.gas.unwrap_or(block_left);
        if gas > block_left {
            return Err(RpcError::new(
                code::BLOCK_GAS_LIMIT,
                format!(
                    "block gas limit reached: {gas_before} >= {}",
                    header.gas_limit
                ),
            ));
        }
        request.gas = Some(gas.min(self.gas_left));
        let chain_id = self.context.node.chain().chain_id;
        let trace = self.trace_transfers;
        let ran = call::run(&mut self.scene, chain_id, &request, position, trace)?;
        self.gas_left = self.gas_left.saturating_sub(ran.receipt.gas_used);
        Ok(ran)
    }

    /// Applies withdrawals and system calls after the transactions, and sets the header fields that follow.
    fn close(&mut self, header: &mut Header, executed: &[ExecutedCall]) -> Result<(), RpcError> {
        let chain = self.context.node.chain();
        let transactions = executed
            .iter()
            .map(|call| call.transaction.clone())
            .collect();
        let layout = layout(chain, header, transactions)?;
        self.scene.credit(&layout)?;
        let mut outputs_after = self.scene.system_calls(&layout, true)?.into_iter();
        let outcomes: Vec<Outcome> = (layout.steps().iter().enumerate())
            .map(|(index, step)| {
                let mut outcome = Outcome::system();
                if let Some(index) = layout.transaction_index(index) {
                    outcome.logs.clone_from(&executed[index].receipt.logs);
                } else if matches!(step, Step::SystemCall(call) if call.must_succeed) {
                    let output = outputs_after.next().map(|result| result.output);
                    outcome.output = output.unwrap_or_default();
                }
                outcome
            })
            .collect();
        if header.requests_hash.is_some() {
            let deposits = self.context.node.parameters();
            let deposits = deposits.genesis.config.deposit_contract_address;
            let requests = requests(&layout, &outcomes, deposits)
                .map_err(|invalid| RpcError::server(invalid.to_string()))?;
            header.requests_hash = Some(requests.requests_hash());
        }
        if header.blob_gas_used.is_some() {
            let blobs = executed
                .iter()
                .map(|call| call.transaction.env().blob_hashes.len());
            header.blob_gas_used = Some(blobs.sum::<usize>() as u64 * DATA_GAS_PER_BLOB);
        }
        Ok(())
    }

    /// Completes a block's header, and makes the block the parent of the next.
    fn seal(
        &mut self,
        header: &mut Header,
        executed: Vec<ExecutedCall>,
        full: bool,
    ) -> Result<SimulatedBlock<Block<RpcTransaction>>, RpcError> {
        let mut transactions = Vec::new();
        let mut receipts = Vec::new();
        let (mut calls, mut response_receipts) = (Vec::new(), Vec::new());
        for call in executed {
            transactions.push(call.transaction);
            response_receipts.push(Receipt {
                logs: call.logs,
                ..call.receipt.clone()
            });
            receipts.push(call.receipt);
            calls.push(call.result);
        }
        seal_body(header, &transactions, &receipts);
        // Changes of earlier simulated blocks are included again, with their current values.
        let delta = changes::changes(&self.scene);
        header.state_root = self.context.node.store().root_after(self.base, &delta)?;
        let hash = header.hash_slow();
        self.parent = header.clone();
        self.parent_hash = hash;
        let number = U256::from(header.number);
        self.scene.scratch.cache.block_hashes.insert(number, hash);
        let block = ChainBlock {
            header: header.clone(),
            hash,
            withdrawals: header.withdrawals_root.map(|_| Withdrawals::default()),
            transactions,
            receipts,
            ..ChainBlock::default()
        };
        for (index, (call, receipt)) in calls.iter_mut().zip(&response_receipts).enumerate() {
            call.logs = format::logs(&block, index, receipt).collect();
        }
        Ok(SimulatedBlock {
            inner: format::block(&block, full),
            calls,
        })
    }
}

/// A block as steps.
fn layout(
    chain: &lockweave_evm_adapter::ChainSpec,
    header: &Header,
    transactions: Vec<EvmTransaction>,
) -> Result<EvmBlock, RpcError> {
    let input = BlockInput {
        header: header.clone(),
        transactions,
        ommers: Ommers::Headers(Vec::new()),
        withdrawals: Vec::new(),
    };
    EvmBlock::new(chain, input).map_err(|error| RpcError::server(error.to_string()))
}
