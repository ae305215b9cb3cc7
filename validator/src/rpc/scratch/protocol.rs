//! What happens in a block besides its transactions, on a scratch state: system calls, rewards, withdrawals,
//! and the payment for a violated declaration.

use super::scene::{Scene, refused, state_failed};
use crate::rpc::message::RpcError;
use alloy_primitives::{Address, Bytes, U256};
use lockweave_evm_adapter::{EvmBlock, Step, SystemCall};
use revm::{
    Context, DatabaseCommit, MainBuilder, MainContext, SystemCallEvm,
    context::{Transaction as _, TxEnv},
    state::{Account, AccountInfo, EvmState},
};

/// The result of a system call.
pub(crate) struct SystemResult {
    /// Its output.
    pub(crate) output: Bytes,
    /// The accounts that it accessed.
    pub(crate) state: EvmState,
}

impl Scene {
    /// Executes the system calls of a block, those before or those after its transactions, and keeps their
    /// changes.
    pub(crate) fn system_calls(
        &mut self,
        block: &EvmBlock,
        behind: bool,
    ) -> Result<Vec<SystemResult>, RpcError> {
        let mut results = Vec::new();
        for step in block.steps() {
            // Calls that must succeed come after the transactions.
            if let Step::SystemCall(call) = step
                && call.must_succeed == behind
            {
                results.push(self.system_call(call)?);
            }
        }
        Ok(results)
    }

    fn system_call(&mut self, call: &SystemCall) -> Result<SystemResult, RpcError> {
        let context = Context::mainnet()
            .with_db(&mut self.scratch)
            .with_cfg(self.config.clone())
            .with_block(self.block.clone());
        let mut evm = context.build_mainnet();
        let result = evm.system_call(call.contract, call.env().data.clone());
        let result = result.map_err(|error| refused(error, 0))?;
        drop(evm);
        self.scratch.commit(result.state.clone());
        Ok(SystemResult {
            output: result.result.into_output().unwrap_or_default(),
            state: result.state,
        })
    }

    /// Pays what follows a block's transactions: rewards and withdrawals.
    pub(crate) fn credit(&mut self, block: &EvmBlock) -> Result<EvmState, RpcError> {
        let mut touched = EvmState::default();
        for step in block.steps() {
            let Step::Credits(credits) = step else {
                continue;
            };
            for credit in credits {
                self.change(&mut touched, credit.address, |account| {
                    account.balance = account.balance.saturating_add(credit.amount);
                })?;
            }
        }
        Ok(touched)
    }

    /// Charges a transaction for all its gas, as after an access violation.
    pub(crate) fn charge_all_gas(&mut self, transaction: &TxEnv) -> Result<EvmState, RpcError> {
        let base_fee = u128::from(self.block.basefee);
        let price = transaction.effective_gas_price(base_fee);
        let gas = U256::from(transaction.gas_limit);
        let cost = U256::from(price).saturating_mul(gas);
        let tip = U256::from(price.saturating_sub(base_fee)).saturating_mul(gas);
        let mut touched = EvmState::default();
        self.change(&mut touched, transaction.caller, |sender| {
            sender.nonce = sender.nonce.saturating_add(1);
            sender.balance = sender.balance.saturating_sub(cost);
        })?;
        self.change(&mut touched, self.block.beneficiary, |beneficiary| {
            beneficiary.balance = beneficiary.balance.saturating_add(tip);
        })?;
        Ok(touched)
    }

    /// Changes an account and records its old and new value in `touched`.
    fn change(
        &mut self,
        touched: &mut EvmState,
        address: Address,
        change: impl FnOnce(&mut AccountInfo),
    ) -> Result<(), RpcError> {
        let before = self.scratch.load_account(address).map_err(state_failed)?;
        let before = before.info.clone();
        let noted = touched
            .entry(address)
            .or_insert_with(|| Account::from(before));
        change(&mut noted.info);
        let after = noted.info.clone();
        self.scratch.insert_account_info(address, after);
        Ok(())
    }
}
