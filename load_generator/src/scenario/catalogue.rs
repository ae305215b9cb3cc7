//! The scenarios by name.

use super::{
    mixed::Mixed,
    model::{Description, Scenario, Settings},
    workloads::{energy, erc20, lending, nft_game, supply_chain, swaps, trace, transfers, voting},
};
use crate::error::LoadError;

/// All scenarios, in the order in which they are listed.
pub const CATALOGUE: [Description; 10] = [
    transfers::SCENARIO,
    erc20::SCENARIO,
    swaps::SCENARIO,
    lending::SCENARIO,
    nft_game::SCENARIO,
    supply_chain::SCENARIO,
    voting::SCENARIO,
    energy::SCENARIO,
    MIXED,
    trace::SCENARIO,
];

/// Described here and not in its own file, because its parts come from the catalogue.
const MIXED: Description = Description {
    name: "mixed",
    does: "several of the scenarios by weight, see --mix",
    conflicts: "what its parts conflict on",
    checks: "what its parts check",
    make: |settings| Mixed::make(settings, make),
};

/// Makes the scenario with a name.
pub(crate) fn make(name: &str, settings: &Settings) -> Result<Box<dyn Scenario>, LoadError> {
    if settings.senders.is_empty() {
        return Err(LoadError::Options(
            "there must be at least one sender".to_owned(),
        ));
    }
    let description = CATALOGUE.iter().find(|one| one.name == name);
    let description = description.ok_or_else(|| {
        LoadError::Options(format!(
            "there is no scenario {name}; `lockweave-loadgen scenarios` lists them"
        ))
    })?;
    (description.make)(settings)
}
