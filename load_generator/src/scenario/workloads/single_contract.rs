//! What scenarios with one contract share.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;

use super::tokens::{ADDRESSES_AT_ONCE, view};
use crate::{
    error::LoadError,
    random::Picker,
    scenario::model::{Action, Query, Scenario, Settings, item_count},
    transaction::Access,
};

/// The contract of a scenario, its callers and the choice of items.
pub(super) struct SingleContract {
    /// Address of the contract; zero until it is part of the deployment.
    pub(super) address: Address,
    /// The sending accounts.
    pub(super) senders: Vec<Address>,
    /// Chooses items.
    pub(super) picker: Picker,
}

impl SingleContract {
    /// `default` items unless the settings say otherwise, at most `bound`.
    pub(super) fn new(
        settings: &Settings,
        default: usize,
        bound: usize,
    ) -> Result<Self, LoadError> {
        let items = item_count(settings, default, bound)?;
        Ok(Self {
            address: Address::ZERO,
            senders: settings.senders.clone(),
            picker: Picker::new(items, settings.hotness)?,
        })
    }

    /// The scenario that `wrap` makes of a contract with these bounds.
    pub(super) fn scenario<S: Scenario + 'static>(
        settings: &Settings,
        default: usize,
        bound: usize,
        wrap: fn(Self) -> S,
    ) -> Result<Box<dyn Scenario>, LoadError> {
        Ok(Box::new(wrap(Self::new(settings, default, bound)?)))
    }

    /// A query by a view call of the contract.
    pub(super) fn view(&self, call: &impl SolCall) -> Query {
        view(self.address, call)
    }

    /// A call of the contract.
    pub(super) fn call(
        &self,
        sender: usize,
        input: Vec<u8>,
        gas_limit: u64,
        access: Access,
    ) -> Action {
        Action::call(sender, self.address, input, gas_limit, access)
    }

    /// The senders in parts that fit into one view call each.
    pub(super) fn sender_parts(&self) -> std::slice::Chunks<'_, Address> {
        self.senders.chunks(ADDRESSES_AT_ONCE)
    }

    /// All items in ranges from first to end, with `length` items each.
    pub(super) fn ranges(&self, length: usize) -> impl Iterator<Item = (U256, U256)> {
        let end = self.picker.items();
        (0..end)
            .step_by(length)
            .map(move |first| (U256::from(first), U256::from(end.min(first + length))))
    }
}
