//! The precompiled contracts of an executor: a fork's, and an embedder's own.

use super::precompiles::fast_precompiles;
use alloy_primitives::Address;
use revm::{
    context::{Cfg, ContextTr, JournalTr as _, LocalContextTr as _},
    handler::{EthPrecompiles, PrecompileProvider, precompile_output_to_interpreter_result},
    interpreter::{CallInputs, InterpreterResult},
    precompile::{Precompile, Precompiles},
    primitives::{AddressSet, hardfork::SpecId},
};

/// A fork's precompiled contracts, and custom ones that take precedence.
#[derive(Clone, Debug)]
pub(crate) struct PrecompileSet {
    fork: EthPrecompiles,
    /// Whether faster contracts replace revm's.
    is_fast: bool,
    custom: Precompiles,
    /// Addresses of both, if there are custom contracts.
    addresses: AddressSet,
}

impl PrecompileSet {
    /// The fork's contracts.
    pub(crate) fn new(spec: SpecId) -> Self {
        Self {
            fork: EthPrecompiles::new(spec),
            is_fast: false,
            custom: Precompiles::default(),
            addresses: AddressSet::default(),
        }
    }

    /// Switches to another fork.
    pub(crate) fn set_fork(&mut self, spec: SpecId) {
        self.fork = if self.is_fast {
            fast_precompiles(spec)
        } else {
            EthPrecompiles::new(spec)
        };
        self.set_addresses();
    }

    /// Replaces revm's contracts by faster ones.
    pub(crate) fn make_fast(&mut self) {
        self.is_fast = true;
        self.set_fork(self.fork.spec);
    }

    /// Adds custom contracts, which replace those at the same addresses.
    pub(crate) fn extend(&mut self, custom: impl IntoIterator<Item = Precompile>) {
        self.custom.extend(custom);
        self.set_addresses();
    }

    /// Addresses of all contracts.
    pub(crate) fn addresses(&self) -> &AddressSet {
        if self.custom.is_empty() {
            self.fork.warm_addresses()
        } else {
            &self.addresses
        }
    }

    /// Addresses of the custom contracts.
    pub(crate) const fn custom_addresses(&self) -> &AddressSet {
        self.custom.addresses_set()
    }

    fn set_addresses(&mut self) {
        if !self.custom.is_empty() {
            let all = self
                .fork
                .precompiles
                .addresses()
                .chain(self.custom.addresses());
            self.addresses = all.copied().collect();
        }
    }
}

impl<C: ContextTr> PrecompileProvider<C> for PrecompileSet {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: <C::Cfg as Cfg>::Spec) -> bool {
        let spec = spec.into();
        let changes = spec != self.fork.spec;
        if changes {
            self.set_fork(spec);
        }
        changes
    }

    fn run(
        &mut self,
        context: &mut C,
        inputs: &CallInputs,
    ) -> Result<Option<InterpreterResult>, String> {
        let Some(precompile) = self.custom.get(&inputs.bytecode_address) else {
            return self.fork.run(context, inputs);
        };
        let gas_limit = inputs.gas_limit;
        let output =
            precompile.execute(&inputs.input.as_bytes(context), gas_limit, inputs.reservoir);
        let output = output.map_err(|error| error.to_string())?;
        // As revm does: the transaction's result carries the error of a contract that it calls directly.
        if let Some(reason) = output.halt_reason()
            && !reason.is_oog()
            && context.journal().depth() == 1
        {
            let reason = reason.to_string();
            context.local_mut().set_precompile_error_context(reason);
        }
        Ok(Some(precompile_output_to_interpreter_result(
            output, gas_limit,
        )))
    }

    fn warm_addresses(&self) -> &AddressSet {
        self.addresses()
    }

    fn contains(&self, address: &Address) -> bool {
        self.fork.contains(address) || self.custom.contains(address)
    }
}
