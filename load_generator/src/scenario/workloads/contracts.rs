//! Bindings of the compiled contracts in `contracts/artefacts`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "generated from the artefacts; the sources in contracts/ have the documentation"
)]

use alloy_sol_types::sol;

sol!(Token, "contracts/artefacts/Token.json");
sol!(Pool, "contracts/artefacts/Pool.json");
sol!(Lending, "contracts/artefacts/Lending.json");
sol!(NftGame, "contracts/artefacts/NftGame.json");
sol!(SupplyChain, "contracts/artefacts/SupplyChain.json");
sol!(Voting, "contracts/artefacts/Voting.json");
sol!(EnergyMarket, "contracts/artefacts/EnergyMarket.json");
sol!(Mirror, "contracts/artefacts/Mirror.json");
