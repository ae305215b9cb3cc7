//! One file for each scenario: its calls, its queries and its invariant.
//!
//! Three files are used by the others: `single_contract` (what scenarios with one contract share), `tokens` (ERC-20
//! tokens) and `contracts` (bindings of the compiled contracts).

pub(super) mod energy;
pub(super) mod erc20;
pub(super) mod lending;
pub(super) mod nft_game;
pub(super) mod supply_chain;
pub(super) mod swaps;
pub(super) mod trace;
pub(super) mod transfers;
pub(super) mod voting;

mod single_contract;
mod tokens;

mod contracts;
