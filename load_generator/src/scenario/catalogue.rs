//! The scenarios by name, and what each does, conflicts on and checks.

use super::{
    Scenario, Settings, energy::EnergyTrade, erc20::Erc20, lending::Loans, mixed::Mixed,
    nft_game::Breeding, supply_chain::Tracking, swaps::Swaps, trace::Trace, transfers::Transfers,
    voting::Votes,
};
use crate::error::LoadError;

/// A scenario's entry.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// As `--scenario` takes it.
    pub name: &'static str,
    /// What its transactions do.
    pub does: &'static str,
    /// What they conflict on, and what an item (`--items`) is.
    pub conflicts: &'static str,
    /// What is checked at the end.
    pub checks: &'static str,
    make: fn(&Settings) -> Result<Box<dyn Scenario>, LoadError>,
}

/// All there are.
pub const CATALOGUE: [Description; 10] = [
    Description {
        name: "transfers",
        does: "pays 1 wei to a recipient",
        conflicts: "recipients' balances (an item is a recipient); only credits, which need not wait for each other",
        checks: "the recipients gained exactly what was included",
        make: Transfers::make,
    },
    Description {
        name: "erc20",
        does: "transfers 1 unit of an ERC-20 token to a holder",
        conflicts: "holders' token balances (an item is a receiving holder)",
        checks: "the holders gained what was included; all balances add up to the supply",
        make: Erc20::make,
    },
    Description {
        name: "swaps",
        does: "sells one token for the other in a constant-product pool after Uniswap V2",
        conflicts: "pools' reserves and token balances (an item is a pool; --items 1 makes all meet)",
        checks: "no pool's product of reserves fell, reserves are the pools' balances, no token came or went",
        make: Swaps::make,
    },
    Description {
        name: "lending",
        does: "deposits, borrows, repays, withdraws, moves an oracle's price, liquidates",
        conflicts: "markets' totals and prices (an item is a market), and the position that is liquidated",
        checks: "positions add up to the totals, totals to the tokens held, no token came or went",
        make: Loans::make,
    },
    Description {
        name: "nft-game",
        does: "breeds an animal with a public sire, and sells it to a standing bid",
        conflicts: "sires and bids (an item is one of each)",
        checks: "births and sales are what was included; coins only changed hands",
        make: Breeding::make,
    },
    Description {
        name: "supply-chain",
        does: "scans an item at a place; an item's history is a hash chain",
        conflicts: "items' histories (an item is an item) and places' counts",
        checks: "scans counted by item, by place and by party are what was included",
        make: Tracking::make,
    },
    Description {
        name: "voting",
        does: "votes on a proposal, or changes an earlier vote",
        conflicts: "proposals' tallies (an item is a proposal)",
        checks: "votes cast are what was included; tallies are what a recount gives",
        make: Votes::make,
    },
    Description {
        name: "energy",
        does: "sells or buys energy in a delivery period, at a price that follows supply and demand",
        conflicts: "periods' books (an item is a period)",
        checks: "energy sold and bought is the same by period and by meter; no money came or went",
        make: EnergyTrade::make,
    },
    Description {
        name: "mixed",
        does: "several of the above by weight, see --mix",
        conflicts: "whatever its parts do",
        checks: "whatever its parts check",
        make: Mixed::make,
    },
    Description {
        name: "replay",
        does: "touches what the transactions of a recorded trace touched (--trace), through a stand-in contract",
        conflicts: "what the recording conflicted on: slots, and accounts as slots (--items and heat do not apply)",
        checks: "every slot was written as often as the included transactions say",
        make: Trace::make,
    },
];

/// The scenario of a name.
pub fn make(name: &str, settings: &Settings) -> Result<Box<dyn Scenario>, LoadError> {
    if settings.senders.is_empty() {
        return Err(LoadError::Options("there must be a sender".to_owned()));
    }
    let description = CATALOGUE.iter().find(|one| one.name == name);
    let description = description.ok_or_else(|| {
        LoadError::Options(format!(
            "there is no scenario {name}; `lockweave-loadgen scenarios` lists them"
        ))
    })?;
    (description.make)(settings)
}
