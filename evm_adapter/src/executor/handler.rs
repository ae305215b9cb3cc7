//! Ethereum's handler, except that the fee is a credit; with and without an inspector.

use crate::machine::{DbError, EvmContext, PrecompileSet};
use alloy_primitives::{Address, U256};
use lockweave_runtime::StateAccess;
use revm::{
    context::{
        Block as _, ContextTr, Evm, FrameStack, Transaction as _,
        result::{EVMError, ExecutionResult, HaltReason},
    },
    handler::{
        EthFrame, EvmTr, FrameInitOrResult, FrameResult, FrameTr, Handler,
        evm::{ContextDbError, FrameInitResult},
        instructions::EthInstructions,
    },
    inspector::{Inspector, InspectorEvmTr, InspectorHandler},
    interpreter::interpreter::EthInterpreter,
    primitives::hardfork::SpecId,
};
use std::marker::PhantomData;

type Instructions<S> = EthInstructions<EthInterpreter, EvmContext<S>>;
type Frame = EthFrame<EthInterpreter>;
pub(super) type EvmMachine<S> = Evm<EvmContext<S>, (), Instructions<S>, PrecompileSet, Frame>;
pub(super) type MachineError = EVMError<DbError>;
type MachineResult = Result<ExecutionResult<HaltReason>, MachineError>;

/// How the interpreter runs: plainly, or with an inspector.
pub(super) trait Interpret<S: StateAccess> {
    /// Runs the transaction in the context.
    fn transaction(&mut self, machine: &mut EvmMachine<S>) -> MachineResult;

    /// Runs the system call in the context.
    fn system_call(&mut self, machine: &mut EvmMachine<S>) -> MachineResult;
}

/// Runs the interpreter without an inspector.
pub(super) struct Plain;

impl<S: StateAccess> Interpret<S> for Plain {
    fn transaction(&mut self, machine: &mut EvmMachine<S>) -> MachineResult {
        GuardedHandler::new().run(machine)
    }

    fn system_call(&mut self, machine: &mut EvmMachine<S>) -> MachineResult {
        GuardedHandler::new().run_system_call(machine)
    }
}

/// Runs the interpreter with an inspector.
pub(super) struct Inspected<'a, I>(pub(super) &'a mut I);

impl<S: StateAccess, I: Inspector<EvmContext<S>>> Interpret<S> for Inspected<'_, I> {
    fn transaction(&mut self, machine: &mut EvmMachine<S>) -> MachineResult {
        let inspector = &mut *self.0;
        GuardedHandler::new().inspect_run(&mut InspectedMachine { machine, inspector })
    }

    fn system_call(&mut self, machine: &mut EvmMachine<S>) -> MachineResult {
        let inspector = &mut *self.0;
        GuardedHandler::new().inspect_run_system_call(&mut InspectedMachine { machine, inspector })
    }
}

/// Ethereum's handler, except that it pays the fee as a credit, without reading the beneficiary's account.
struct GuardedHandler<S, M>(PhantomData<fn() -> (S, M)>);

impl<S, M> GuardedHandler<S, M> {
    const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<S, M> Handler for GuardedHandler<S, M>
where
    S: StateAccess,
    M: EvmTr<Context = EvmContext<S>, Precompiles = PrecompileSet, Frame = Frame>,
{
    type Evm = M;
    type Error = MachineError;
    type HaltReason = HaltReason;

    fn reward_beneficiary(
        &self,
        machine: &mut M,
        result: &mut FrameResult,
    ) -> Result<(), MachineError> {
        let context = machine.ctx();
        let gas = result.gas();
        // EIP-8037's reservoir is not used gas.
        let used = gas.used().saturating_sub(gas.reservoir());
        let base_fee = u128::from(context.block().basefee());
        let price = context.tx().effective_gas_price(base_fee);
        let tip = if context.cfg.spec.is_enabled_in(SpecId::LONDON) {
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

impl<S, I> InspectorHandler for GuardedHandler<S, InspectedMachine<'_, S, I>>
where
    S: StateAccess,
    I: Inspector<EvmContext<S>>,
{
    type IT = EthInterpreter;
}

/// A machine together with an inspector.
struct InspectedMachine<'a, S: StateAccess, I> {
    machine: &'a mut EvmMachine<S>,
    inspector: &'a mut I,
}

impl<S: StateAccess, I> EvmTr for InspectedMachine<'_, S, I> {
    type Context = EvmContext<S>;
    type Instructions = Instructions<S>;
    type Precompiles = PrecompileSet;
    type Frame = Frame;

    fn all(
        &self,
    ) -> (
        &EvmContext<S>,
        &Instructions<S>,
        &PrecompileSet,
        &FrameStack<Frame>,
    ) {
        self.machine.all()
    }

    fn all_mut(
        &mut self,
    ) -> (
        &mut EvmContext<S>,
        &mut Instructions<S>,
        &mut PrecompileSet,
        &mut FrameStack<Frame>,
    ) {
        self.machine.all_mut()
    }

    fn frame_init(
        &mut self,
        input: <Frame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, Frame>, ContextDbError<EvmContext<S>>> {
        self.machine.frame_init(input)
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<Frame>, ContextDbError<EvmContext<S>>> {
        self.machine.frame_run()
    }

    fn frame_return_result(
        &mut self,
        result: FrameResult,
    ) -> Result<Option<FrameResult>, ContextDbError<EvmContext<S>>> {
        self.machine.frame_return_result(result)
    }
}

impl<S: StateAccess, I: Inspector<EvmContext<S>>> InspectorEvmTr for InspectedMachine<'_, S, I> {
    type Inspector = I;

    fn all_inspector(
        &self,
    ) -> (
        &EvmContext<S>,
        &Instructions<S>,
        &PrecompileSet,
        &FrameStack<Frame>,
        &I,
    ) {
        let (context, instructions, precompiles, frames) = self.machine.all();
        (context, instructions, precompiles, frames, self.inspector)
    }

    fn all_mut_inspector(
        &mut self,
    ) -> (
        &mut EvmContext<S>,
        &mut Instructions<S>,
        &mut PrecompileSet,
        &mut FrameStack<Frame>,
        &mut I,
    ) {
        let (context, instructions, precompiles, frames) = self.machine.all_mut();
        (context, instructions, precompiles, frames, self.inspector)
    }
}
