//! `eth_simulateV1`: blocks that might come, without making them.

use super::{
    context::RpcContext,
    error::RpcError,
    evm::{Scene, ViewError, halted},
    format::{self, RpcTransaction},
    message::{Params, Reply, reply},
};
use crate::chain::{ChainBlock, Envelope, fees};
use alloy_consensus::{
    Header, SignableTransaction, TxEip1559,
    constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS},
    proofs::calculate_transaction_root,
};
use alloy_eips::{BlockId, eip4895::Withdrawals, eip7685::EMPTY_REQUESTS_HASH};
use alloy_primitives::{B256, Bytes, Signature, U256};
use alloy_rpc_types_eth::{
    Block, TransactionRequest,
    simulate::{SimBlock, SimCallResult, SimulateError, SimulatePayload, SimulatedBlock},
};
use lockweave_evm_adapter::{BlockContext, EvmTransaction, SpecId, logs_bloom, receipts_root};
use lockweave_runtime::Receipt;
use revm::{
    DatabaseCommit,
    context::{
        TxEnv,
        result::{EVMError, ExecutionResult, InvalidTransaction},
    },
};
use revm_inspectors::transfer::TransferInspector;

/// Blocks of a simulation at most, those between the stated ones included.
const BLOCKS_MAX: u64 = 256;
/// Seconds between simulated blocks.
const BLOCK_SECONDS: u64 = 12;

/// Codes of the specification (execution-apis, `eth_simulateV1`).
mod code {
    pub(super) const NONCE_TOO_LOW: i64 = -38_010;
    pub(super) const NONCE_TOO_HIGH: i64 = -38_011;
    pub(super) const BASE_FEE_TOO_LOW: i64 = -38_012;
    pub(super) const INTRINSIC_GAS: i64 = -38_013;
    pub(super) const INSUFFICIENT_FUNDS: i64 = -38_014;
    pub(super) const BLOCK_GAS_LIMIT: i64 = -38_015;
    pub(super) const BLOCK_NUMBER_ORDER: i64 = -38_020;
    pub(super) const TIMESTAMP_ORDER: i64 = -38_021;
    pub(super) const TOO_MANY_BLOCKS: i64 = -38_026;
}

pub(super) fn simulate(context: &RpcContext, params: &Params<'_>) -> Reply {
    let payload: SimulatePayload = params.required(0, "payload")?;
    let id: Option<BlockId> = params.optional(1, "block")?;
    if payload.block_state_calls.is_empty() {
        return Err(RpcError::invalid_params("empty input"));
    }
    let (base, state) = context.state(id)?;
    let mut scene = Scene::new(context.node.chain(), &base.header, state);
    if !payload.validation {
        scene.relax();
    }
    let mut simulation = Simulation {
        context,
        scene,
        parent: base.header.clone(),
        parent_hash: base.hash,
        validation: payload.validation,
        trace_transfers: payload.trace_transfers,
        gas_left: context.config.gas_cap,
    };
    let full = payload.return_full_transactions;
    let mut blocks = Vec::new();
    for block in with_gaps_filled(&base.header, payload.block_state_calls)? {
        blocks.push(simulation.block(block, full)?);
    }
    reply(blocks)
}

/// The blocks that were stated, and empty ones between them where numbers are left out.
fn with_gaps_filled(base: &Header, stated: Vec<SimBlock>) -> Result<Vec<SimBlock>, RpcError> {
    let mut blocks = Vec::new();
    let mut last = base.number;
    for mut block in stated {
        let overrides = block.block_overrides.get_or_insert_default();
        let number = match overrides.number {
            Some(number) => number.saturating_to(),
            None => last + 1,
        };
        if number <= last {
            return Err(RpcError::new(
                code::BLOCK_NUMBER_ORDER,
                format!("block numbers must be in order: {number} <= {last}"),
            ));
        }
        if number - base.number > BLOCKS_MAX {
            return Err(RpcError::new(code::TOO_MANY_BLOCKS, "too many blocks"));
        }
        for between in last + 1..number {
            let mut empty = SimBlock::default();
            let overrides = empty.block_overrides.get_or_insert_default();
            overrides.number = Some(U256::from(between));
            blocks.push(empty);
        }
        overrides.number = Some(U256::from(number));
        last = number;
        blocks.push(block);
    }
    Ok(blocks)
}

struct Simulation<'c> {
    context: &'c RpcContext,
    scene: Scene,
    parent: Header,
    parent_hash: B256,
    validation: bool,
    trace_transfers: bool,
    /// Gas the whole simulation may still use.
    gas_left: u64,
}

/// A call that ran.
struct Ran {
    transaction: EvmTransaction,
    receipt: Receipt,
    result: SimCallResult,
}

impl Simulation<'_> {
    /// Runs one block.
    fn block(
        &mut self,
        block: SimBlock,
        full: bool,
    ) -> Result<SimulatedBlock<Block<RpcTransaction>>, RpcError> {
        let overrides = block.block_overrides.unwrap_or_default();
        let mut header = self.header(&overrides)?;
        let rules = BlockContext::new(self.context.node.chain(), &header);
        self.scene.block = rules.block().clone();
        self.scene.config.spec = rules.config().spec;
        self.scene.override_block(overrides);
        if let Some(state) = block.state_overrides {
            self.scene.override_state(state)?;
        }
        let mut ran: Vec<Ran> = Vec::with_capacity(block.calls.len());
        for request in block.calls {
            let before = ran.last().map_or((0, 0), |last| {
                let logs = last.receipt.first_log_index + last.receipt.logs.len();
                (last.receipt.cumulative_gas_used, logs)
            });
            ran.push(self.call(&header, request, before)?);
        }
        Ok(self.seal(&mut header, ran, full))
    }

    /// What is known of a block before its calls run.
    fn header(&self, overrides: &alloy_rpc_types_eth::BlockOverrides) -> Result<Header, RpcError> {
        let chain = self.context.node.chain();
        let parent = &self.parent;
        let number = (overrides.number).map_or(parent.number + 1, |number| number.saturating_to());
        let timestamp = overrides.time.unwrap_or(parent.timestamp + BLOCK_SECONDS);
        if timestamp <= parent.timestamp {
            return Err(RpcError::new(
                code::TIMESTAMP_ORDER,
                format!(
                    "block timestamps must be in order: {timestamp} <= {}",
                    parent.timestamp
                ),
            ));
        }
        let fork = chain.fork_at(number, timestamp);
        let is = |since: SpecId| fork.is_enabled_in(since);
        let base_fee = match overrides.base_fee {
            Some(fee) => Some(fee.saturating_to()),
            None if self.validation => fees::next_base_fee(chain, parent, timestamp),
            None => Some(0),
        };
        Ok(Header {
            parent_hash: self.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: overrides.coinbase.unwrap_or(parent.beneficiary),
            number,
            timestamp,
            gas_limit: overrides.gas_limit.unwrap_or(parent.gas_limit),
            difficulty: overrides.difficulty.unwrap_or_default(),
            mix_hash: overrides.random.unwrap_or_default(),
            base_fee_per_gas: base_fee.filter(|_| is(SpecId::LONDON)),
            withdrawals_root: is(SpecId::SHANGHAI).then_some(EMPTY_WITHDRAWALS),
            blob_gas_used: is(SpecId::CANCUN).then_some(0),
            excess_blob_gas: fees::next_excess_blob_gas(chain, parent, timestamp),
            parent_beacon_block_root: is(SpecId::CANCUN)
                .then(|| overrides.beacon_root.unwrap_or_default()),
            requests_hash: is(SpecId::PRAGUE).then_some(EMPTY_REQUESTS_HASH),
            // The state is not committed to: nobody keeps it.
            state_root: parent.state_root,
            ..Header::default()
        })
    }

    /// Runs one call, and keeps what it did.
    fn call(
        &mut self,
        header: &Header,
        mut request: TransactionRequest,
        (gas_before, logs_before): (u64, usize),
    ) -> Result<Ran, RpcError> {
        let block_left = header.gas_limit.saturating_sub(gas_before);
        let gas = request.gas.unwrap_or(block_left.min(self.gas_left));
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
        if self.validation && request.max_fee_per_gas.is_none() && request.gas_price.is_none() {
            // What is not said is zero, and zero does not pay.
            request.max_fee_per_gas = Some(0);
        }
        let base_fee = self.scene.block.basefee;
        let env = self.scene.transaction(&request, u64::MAX)?;
        self.scene.block.basefee = base_fee;
        let transaction = self.unsigned(&env);
        let mut inspector = TransferInspector::new(false).with_logs(self.trace_transfers);
        let gas = env.gas_limit;
        let result = self.scene.inspect(env, &mut inspector);
        let result = result.map_err(|error| refused(error, gas))?;
        self.scene.scratch.commit(result.state);
        let gas_used = result.result.tx_gas_used();
        let max_used = gas_used.saturating_add(result.result.gas().final_refunded());
        self.gas_left = self.gas_left.saturating_sub(gas_used);
        let (succeeded, logs, output, error) = match result.result {
            ExecutionResult::Success { logs, output, .. } => (true, logs, output.into_data(), None),
            ExecutionResult::Revert { output, .. } => {
                let error = SimulateError {
                    code: SimulateError::EXECUTION_REVERTED_CODE,
                    message: RpcError::reverted(&output).message,
                    data: Some(output.clone()),
                };
                (false, Vec::new(), output, Some(error))
            }
            ExecutionResult::Halt { reason, .. } => {
                let error = SimulateError {
                    code: SimulateError::VM_EXECUTION_ERROR_CODE,
                    message: halted(&reason),
                    data: None,
                };
                (false, Vec::new(), Bytes::new(), Some(error))
            }
        };
        Ok(Ran {
            receipt: Receipt {
                transaction_type: 2,
                succeeded,
                gas_used,
                cumulative_gas_used: gas_before.saturating_add(gas_used),
                first_log_index: logs_before,
                logs,
                created: None,
            },
            transaction,
            result: SimCallResult {
                return_data: output,
                logs: Vec::new(),
                gas_used,
                max_used_gas: Some(max_used),
                status: succeeded,
                error,
            },
        })
    }

    /// A call as a transaction that nobody signed.
    fn unsigned(&self, env: &TxEnv) -> EvmTransaction {
        let unsigned = TxEip1559 {
            chain_id: self.context.node.chain().chain_id,
            nonce: env.nonce,
            gas_limit: env.gas_limit,
            max_fee_per_gas: env.gas_price,
            max_priority_fee_per_gas: env.gas_priority_fee.unwrap_or_default(),
            to: env.kind,
            value: env.value,
            access_list: env.access_list.clone(),
            input: env.data.clone(),
        };
        let nobody = Signature::new(U256::ZERO, U256::ZERO, false);
        EvmTransaction::new(Envelope::from(unsigned.into_signed(nobody)), env.caller)
    }

    /// Completes a block's header, and makes the block the next one's parent.
    fn seal(
        &mut self,
        header: &mut Header,
        ran: Vec<Ran>,
        full: bool,
    ) -> SimulatedBlock<Block<RpcTransaction>> {
        let mut transactions = Vec::new();
        let mut receipts = Vec::new();
        let mut calls = Vec::new();
        for ran in ran {
            transactions.push(ran.transaction);
            receipts.push(ran.receipt);
            calls.push(ran.result);
        }
        let envelopes: Vec<_> = transactions.iter().map(EvmTransaction::envelope).collect();
        header.transactions_root = calculate_transaction_root(&envelopes);
        header.receipts_root = receipts_root(&receipts);
        header.logs_bloom = logs_bloom(&receipts);
        header.gas_used = receipts
            .last()
            .map_or(0, |receipt| receipt.cumulative_gas_used);
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
            ommers: Vec::new(),
            receipts,
            receipt_roots: Vec::new(),
            access: Vec::new(),
        };
        for (index, (call, receipt)) in calls.iter_mut().zip(&block.receipts).enumerate() {
            call.logs = format::logs(&block, index, receipt).collect();
        }
        SimulatedBlock {
            inner: format::block(&block, full),
            calls,
        }
    }
}

/// Why a call may not be in a block, with the specification's codes.
fn refused(error: EVMError<ViewError>, gas: u64) -> RpcError {
    let code = match &error {
        EVMError::Transaction(invalid) => match invalid {
            InvalidTransaction::NonceTooLow { .. } => code::NONCE_TOO_LOW,
            InvalidTransaction::NonceTooHigh { .. } => code::NONCE_TOO_HIGH,
            InvalidTransaction::GasPriceLessThanBasefee => code::BASE_FEE_TOO_LOW,
            InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
            | InvalidTransaction::GasFloorMoreThanGasLimit { .. } => code::INTRINSIC_GAS,
            InvalidTransaction::LackOfFundForMaxFee { .. } => code::INSUFFICIENT_FUNDS,
            _ => super::error::SERVER,
        },
        _ => super::error::SERVER,
    };
    RpcError {
        code,
        ..super::evm::refused(error, gas)
    }
}
