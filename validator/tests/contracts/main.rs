//! The contracts in revm: who validates, evidence against validators, and the example of staking.

mod chain;
mod ed25519;
mod evidence;
mod interface;
mod members;
mod signers;
mod staking;
