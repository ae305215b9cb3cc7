//! Calls without effect on the chain: plain revm on the state after a block.

use super::precompiles::MovablePrecompiles;
use crate::rpc::message::RpcError;
use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::TransactionRequest;
use lockweave_evm_adapter::{BlockContext, ChainSpec};
use lockweave_runtime::{StateError, StateView};
use revm::{
    Context, DatabaseRef, InspectEvm, Inspector, MainBuilder, MainContext,
    bytecode::Bytecode,
    context::{
        Block as _, BlockEnv, CfgEnv, TxEnv,
        either::Either,
        result::{EVMError, HaltReason, InvalidTransaction, ResultAndState},
    },
    database::CacheDB,
    database_interface::DBErrorMarker,
    handler::MainnetContext,
    inspector::NoOpInspector,
    interpreter::{Interpreter, interpreter::EthInterpreter},
    primitives::TxKind,
    state::AccountInfo,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;

/// A state error in the form that revm passes on.
#[derive(Clone, Debug, Error)]
#[error(transparent)]
pub(crate) struct ViewError(#[from] StateError);

impl DBErrorMarker for ViewError {}

/// A state as a database of revm.
#[derive(Clone)]
pub(crate) struct ViewDb(pub(crate) Arc<dyn StateView>);

impl std::fmt::Debug for ViewDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ViewDb")
    }
}

impl DatabaseRef for ViewDb {
    type Error = ViewError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, ViewError> {
        let account = self.0.account(address)?;
        Ok(account.map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, ViewError> {
        let Some(code) = self.0.code(hash)? else {
            return Ok(Bytecode::default());
        };
        Ok(code.analysed(|bytes| {
            let checked = Bytecode::new_raw_checked(bytes.clone());
            checked.unwrap_or_else(|_| Bytecode::new_legacy(bytes.clone()))
        }))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        Ok(self.0.slot(address, slot)?)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, ViewError> {
        Ok(self.0.block_hash(number)?.unwrap_or_default())
    }
}

/// The scratch state: changes on top of a state.
pub(crate) type Scratch = CacheDB<ViewDb>;
/// revm's context of a call.
pub(crate) type CallContext<'s> = MainnetContext<&'s mut Scratch>;
pub(crate) type CallResult = ResultAndState<HaltReason>;

/// Stops a call that takes too long.
#[derive(Debug)]
pub(crate) struct Deadline {
    end: Instant,
    steps: u32,
    passed: bool,
}

/// Instructions between two checks of the clock.
const STEPS_PER_LOOK: u32 = 1_024;

impl Deadline {
    pub(crate) fn within(timeout: Duration) -> Self {
        Self {
            end: Instant::now() + timeout,
            steps: 0,
            passed: false,
        }
    }

    /// An error if the time is over.
    pub(crate) fn check(&self) -> Result<(), RpcError> {
        if self.passed || Instant::now() >= self.end {
            return Err(RpcError::server("execution aborted (timeout exceeded)"));
        }
        Ok(())
    }
}

impl<'s> Inspector<CallContext<'s>, EthInterpreter> for Deadline {
    fn step(&mut self, interpreter: &mut Interpreter<EthInterpreter>, _: &mut CallContext<'s>) {
        self.steps += 1;
        if self.passed || self.steps.is_multiple_of(STEPS_PER_LOOK) {
            self.steps = 0;
            if self.passed || Instant::now() >= self.end {
                self.passed = true;
                interpreter.halt_oog();
            }
        }
    }
}

/// The environment of a call: rules, block, and a scratch state.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) config: CfgEnv,
    pub(crate) block: BlockEnv,
    pub(crate) scratch: Scratch,
    pub(crate) precompiles: MovablePrecompiles,
}

impl Scene {
    /// The environment in the block with this header, on this state.
    pub(crate) fn new(
        chain: &ChainSpec,
        header: &alloy_consensus::Header,
        state: Arc<dyn StateView>,
    ) -> Self {
        let context = BlockContext::new(chain, header);
        Self {
            precompiles: MovablePrecompiles::of(context.config().spec),
            config: context.config().clone(),
            block: context.block().clone(),
            scratch: CacheDB::new(ViewDb(state)),
        }
    }

    /// Lets calls do what transactions may not: any nonce, any sender, any gas, no fee.
    pub(crate) fn relax(&mut self) {
        self.config.disable_nonce_check = true;
        self.config.disable_eip3607 = true;
        self.config.disable_block_gas_limit = true;
        self.config.disable_base_fee = true;
        self.config.tx_gas_limit_cap = Some(u64::MAX);
        self.config.tx_chain_id_check = false;
    }

    /// Executes a transaction with an inspector. Its changes are returned, not kept.
    pub(crate) fn inspect<'s, I>(
        &'s mut self,
        transaction: TxEnv,
        inspector: I,
    ) -> Result<CallResult, EVMError<ViewError>>
    where
        I: Inspector<CallContext<'s>, EthInterpreter>,
    {
        let context = Context::mainnet()
            .with_db(&mut self.scratch)
            .with_cfg(self.config.clone())
            .with_block(self.block.clone());
        let evm = context.build_mainnet_with_inspector(inspector);
        let mut evm = evm.with_precompiles(self.precompiles.clone());
        evm.inspect_tx(transaction)
    }

    /// Executes a transaction. Its changes are returned, not kept.
    pub(crate) fn transact(
        &mut self,
        transaction: TxEnv,
    ) -> Result<CallResult, EVMError<ViewError>> {
        self.inspect(transaction, NoOpInspector)
    }

    /// Executes a call with a time limit.
    pub(crate) fn call(
        &mut self,
        transaction: TxEnv,
        timeout: Duration,
    ) -> Result<CallResult, RpcError> {
        let mut deadline = Deadline::within(timeout);
        let gas = transaction.gas_limit;
        let result = self.inspect(transaction, &mut deadline);
        if deadline.passed {
            deadline.check()?;
        }
        result.map_err(|error| refused(error, gas))
    }

    /// Converts a client's request to a transaction of revm.
    pub(crate) fn transaction(
        &mut self,
        request: &TransactionRequest,
        gas_cap: u64,
    ) -> Result<TxEnv, RpcError> {
        let caller = request.from.unwrap_or_default();
        let (gas_price, gas_priority_fee) = prices(request)?;
        if gas_price == 0 {
            // A call that pays nothing sees a base fee of zero.
            self.block.basefee = 0;
        }
        let nonce = if let Some(nonce) = request.nonce {
            nonce
        } else {
            let sender = self.scratch.load_account(caller).map_err(state_failed)?;
            sender.info.nonce
        };
        let authorizations = request.authorization_list.as_deref().unwrap_or_default();
        let blob_hashes = request.blob_versioned_hashes.clone().unwrap_or_default();
        let tx_type = if !authorizations.is_empty() {
            4
        } else if !blob_hashes.is_empty() {
            3
        } else if gas_priority_fee.is_some() || request.max_fee_per_gas.is_some() {
            2
        } else {
            u8::from(request.access_list.is_some())
        };
        let blob_fee = request.max_fee_per_blob_gas;
        Ok(TxEnv {
            tx_type,
            caller,
            gas_limit: request.gas.unwrap_or(gas_cap).min(gas_cap),
            gas_price,
            kind: request.to.unwrap_or(TxKind::Create),
            value: request.value.unwrap_or_default(),
            data: request.input.input().cloned().unwrap_or_default(),
            nonce,
            chain_id: request.chain_id,
            access_list: request.access_list.clone().unwrap_or_default(),
            gas_priority_fee,
            max_fee_per_blob_gas: match (blob_fee, blob_hashes.is_empty()) {
                (Some(fee), _) => fee,
                (None, true) => 0,
                (None, false) => self.block.blob_gasprice().unwrap_or_default(),
            },
            blob_hashes,
            authorization_list: authorizations
                .iter()
                .map(|signed| Either::Right(signed.clone().into_recovered()))
                .collect(),
        })
    }
}

/// Fee cap and tip of a request.
fn prices(request: &TransactionRequest) -> Result<(u128, Option<u128>), RpcError> {
    let (cap, tip) = (request.max_fee_per_gas, request.max_priority_fee_per_gas);
    if request.gas_price.is_some() && (cap.is_some() || tip.is_some()) {
        return Err(RpcError::invalid_params(
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
        ));
    }
    if let (Some(cap), Some(tip)) = (cap, tip)
        && cap < tip
    {
        return Err(RpcError::server(format!(
            "max priority fee per gas higher than max fee per gas: \
             maxPriorityFeePerGas {tip}, maxFeePerGas {cap}"
        )));
    }
    match request.gas_price {
        Some(price) => Ok((price, None)),
        // A tip without a fee cap is also the fee cap.
        None => Ok((cap.or(tip).unwrap_or_default(), tip.or(cap))),
    }
}

/// The state could not be read.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn state_failed(error: ViewError) -> RpcError {
    RpcError::internal(error.to_string())
}

/// Why revm rejects a transaction, in geth's words.
pub(crate) fn refused(error: EVMError<ViewError>, gas: u64) -> RpcError {
    match error {
        EVMError::Transaction(invalid) => match invalid {
            InvalidTransaction::LackOfFundForMaxFee { fee, balance } => RpcError::server(format!(
                "insufficient funds for gas * price + value: \
                     have {balance} want {fee} (supplied gas {gas})"
            )),
            InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, .. } => {
                RpcError::server(format!(
                    "intrinsic gas too low: have {gas}, want {initial_gas} (supplied gas {gas})"
                ))
            }
            InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor, .. } => RpcError::server(
                format!("insufficient gas for floor data gas cost: have {gas}, want {gas_floor}"),
            ),
            InvalidTransaction::NonceTooLow { tx, state } => {
                RpcError::server(format!("nonce too low: next nonce {state}, tx nonce {tx}"))
            }
            InvalidTransaction::NonceTooHigh { tx, state } => {
                RpcError::server(format!("nonce too high: next nonce {state}, tx nonce {tx}"))
            }
            InvalidTransaction::GasPriceLessThanBasefee => {
                RpcError::server("max fee per gas less than block base fee")
            }
            other => RpcError::server(other.to_string()),
        },
        EVMError::Database(error) => state_failed(error),
        other => RpcError::server(other.to_string()),
    }
}

/// Why the EVM halted a call, in geth's words.
pub(crate) fn halted(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "out of gas".to_owned(),
        HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode => "invalid opcode".to_owned(),
        HaltReason::InvalidJump => "invalid jump destination".to_owned(),
        HaltReason::StackUnderflow => "stack underflow".to_owned(),
        HaltReason::StackOverflow => "stack limit reached".to_owned(),
        HaltReason::CallTooDeep => "max call depth exceeded".to_owned(),
        HaltReason::CreateCollision => "contract address collision".to_owned(),
        HaltReason::CreateContractSizeLimit => "max code size exceeded".to_owned(),
        other => format!("{other:?}"),
    }
}
