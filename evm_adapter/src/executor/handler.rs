//! Ethereum's handler, except that the fee is a credit.

use crate::machine::{DbError, EvmContext};
use alloy_primitives::{Address, U256};
use lockweave_runtime::StateAccess;
use revm::{
    context::{
        Block as _, ContextTr, Evm, Transaction as _,
        result::{EVMError, HaltReason},
    },
    handler::{EthFrame, EthPrecompiles, FrameResult, Handler, instructions::EthInstructions},
    interpreter::interpreter::EthInterpreter,
    primitives::hardfork::SpecId,
};

pub(super) type EvmMachine<S> = Evm<
    EvmContext<S>,
    (),
    EthInstructions<EthInterpreter, EvmContext<S>>,
    EthPrecompiles,
    EthFrame<EthInterpreter>,
>;
pub(super) type MachineError = EVMError<DbError>;

/// Ethereum's handler, except that it pays the fee as a credit, without reading the beneficiary's account.
pub(super) struct GuardedHandler<S>(std::marker::PhantomData<fn() -> S>);

impl<S> Default for GuardedHandler<S> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<S: StateAccess> Handler for GuardedHandler<S> {
    type Evm = EvmMachine<S>;
    type Error = MachineError;
    type HaltReason = HaltReason;

    fn reward_beneficiary(
        &self,
        machine: &mut Self::Evm,
        result: &mut FrameResult,
    ) -> Result<(), MachineError> {
        let context = &mut machine.ctx;
        let gas = result.gas();
        // EIP-8037's reservoir is not used gas.
        let used = gas.used().saturating_sub(gas.reservoir());
        let base_fee = u128::from(context.block().basefee());
        let price = context.tx().effective_gas_price(base_fee);
        let tip = if context.cfg().spec().is_enabled_in(SpecId::LONDON) {
            price.saturating_sub(base_fee)
        } else {
            price
        };
        let fee = U256::from(tip) * U256::from(used);
        let beneficiary: Address = context.block().beneficiary();
        context.journaled_state.pay_fee(beneficiary, fee)?;
        Ok(())
    }
}
