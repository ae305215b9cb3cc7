//! Precompiled contracts that a call may move or replace (`movePrecompileToAddress`).

use alloy_primitives::{
    Address,
    map::{AddressSet, HashMap},
};
use revm::{
    context_interface::{Cfg, ContextTr},
    handler::{EthPrecompiles, PrecompileProvider},
    interpreter::{CallInputs, InterpreterResult},
    primitives::hardfork::SpecId,
};

/// The fork's precompiled contracts, some of them moved or removed.
#[derive(Clone, Debug)]
pub(crate) struct MovablePrecompiles {
    fork: EthPrecompiles,
    /// From the current address of a contract to its original one.
    moved: HashMap<Address, Address>,
    /// Addresses whose contract was moved or replaced.
    vacated: AddressSet,
    /// Addresses that have a contract.
    addresses: AddressSet,
}

impl MovablePrecompiles {
    /// The contracts of a fork, at their original addresses.
    pub(crate) fn of(fork: SpecId) -> Self {
        let fork = EthPrecompiles::new(fork);
        Self {
            addresses: fork.warm_addresses().clone(),
            fork,
            moved: HashMap::default(),
            vacated: AddressSet::default(),
        }
    }

    /// Whether an address has a contract.
    pub(crate) fn has(&self, address: Address) -> bool {
        self.addresses.contains(&address)
    }

    /// Removes the contract at an address and returns its original address.
    pub(crate) fn vacate(&mut self, from: Address) -> Option<Address> {
        if !self.addresses.remove(&from) {
            return None;
        }
        let origin = self.moved.remove(&from).unwrap_or(from);
        self.vacated.insert(from);
        Some(origin)
    }

    /// Places the contract from `origin` at an address, replacing any contract there.
    pub(crate) fn place(&mut self, origin: Address, to: Address) {
        self.moved.insert(to, origin);
        self.addresses.insert(to);
    }

    /// The original address of the contract at an address.
    fn origin(&self, address: Address) -> Option<Address> {
        if let Some(origin) = self.moved.get(&address) {
            return Some(*origin);
        }
        (!self.vacated.contains(&address)).then_some(address)
    }
}

impl<CTX: ContextTr<Cfg: Cfg<Spec = SpecId>>> PrecompileProvider<CTX> for MovablePrecompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        let changed = PrecompileProvider::<CTX>::set_spec(&mut self.fork, spec);
        if changed {
            // Contracts of the new fork exist, except at vacated addresses.
            let brought = self.fork.warm_addresses().iter();
            let vacated = &self.vacated;
            (self.addresses).extend(brought.filter(|address| !vacated.contains(*address)));
        }
        changed
    }

    fn run(
        &mut self,
        context: &mut CTX,
        inputs: &CallInputs,
    ) -> Result<Option<InterpreterResult>, String> {
        match self.origin(inputs.bytecode_address) {
            None => Ok(None),
            Some(origin) if origin == inputs.bytecode_address => self.fork.run(context, inputs),
            Some(origin) => {
                let elsewhere = CallInputs {
                    bytecode_address: origin,
                    ..inputs.clone()
                };
                self.fork.run(context, &elsewhere)
            }
        }
    }

    /// As in geth, the original addresses are warm.
    fn warm_addresses(&self) -> &AddressSet {
        self.fork.warm_addresses()
    }

    fn contains(&self, address: &Address) -> bool {
        self.has(*address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_moved_is_where_it_was_put_and_nowhere_else() {
        let mut precompiles = MovablePrecompiles::of(SpecId::CANCUN);
        let (first, second) = (Address::with_last_byte(1), Address::with_last_byte(2));
        let far = Address::repeat_byte(9);
        let origin = precompiles.vacate(first).unwrap();
        precompiles.place(origin, far);
        assert_eq!(precompiles.vacate(first), None);
        assert!(precompiles.has(far) && !precompiles.has(first));
        assert_eq!(precompiles.origin(far), Some(first));
        assert_eq!(precompiles.origin(first), None);
        // On top of another one, and from there away again.
        let origin = precompiles.vacate(far).unwrap();
        precompiles.place(origin, second);
        assert_eq!(precompiles.origin(second), Some(first));
        assert_eq!(precompiles.vacate(second), Some(first));
        assert!(!precompiles.has(second));
    }
}
