//! Plain transfers of ether.

use alloy_primitives::{Address, Bytes, U256};

use crate::{
    error::LoadError,
    random::{Picker, RandomSource},
    scenario::model::{
        Action, Answers, Description, Query, Scenario, Settings, check_sum_growth, item_count,
    },
    scenario::script::Script,
    transaction::{Access, TRANSFER_GAS, recipients},
};

/// The entry of the catalogue.
pub(in crate::scenario) const SCENARIO: Description = Description {
    name: "transfers",
    does: "pays 1 wei to a recipient",
    conflicts: "recipients' balances (an item is a recipient); only credits, which commute",
    checks: "the recipients gained exactly the included amount",
    make: Transfers::make,
};

struct Transfers {
    recipients: Vec<Address>,
    picker: Picker,
}

impl Transfers {
    fn make(settings: &Settings) -> Result<Box<dyn Scenario>, LoadError> {
        let items = item_count(settings, 1024, 100_000)?;
        Ok(Box::new(Self {
            recipients: recipients(settings.seed, u32::try_from(items).unwrap_or(u32::MAX)),
            picker: Picker::new(items, settings.hotness)?,
        }))
    }
}

impl Scenario for Transfers {
    fn kinds(&self) -> Vec<String> {
        vec!["transfer".to_owned()]
    }

    fn set_up(&mut self, _: &mut Script<'_>) {}

    fn queries(&self) -> Vec<Query> {
        let all = self.recipients.iter();
        all.map(|address| Query::Balance(*address)).collect()
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        Action {
            sender: turn,
            kind: 0,
            to: self.recipients[self.picker.pick(random)],
            value: U256::ONE,
            input: Bytes::new(),
            gas_limit: TRANSFER_GAS,
            access: Access::default(),
            units: 1,
        }
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        let all = 0..self.recipients.len();
        let both = (before, after);
        check_sum_growth("the recipients' balance", both, &all, 0, included[0])
    }
}
