//! Proofs that a block of a Lockweave network is final, checked with the validators' public keys alone.
//!
//! A node answers `lockweave_getFinality` with a [`FinalityProof`]: a [`Certificate`], which is the signatures of a
//! quorum of the validators under a block, and the headers from the block in question to that one.
//! [`FinalityProof::verify`] checks it and returns the block's number, hash and state root. With the state root a light
//! client can check proofs of accounts and slots (`eth_getProof`).
//!
//! Who validates is state: a [contract] holds the keys. The first ones are in the genesis file, so a light client trusts
//! that file and no node. They change at the end of an epoch, a fixed number of blocks. Each change is a [`Handover`]:
//! the old validators make the epoch's last block final, and the new ones are in the state after it.
//!
//! ```
//! use alloy_primitives::{b256, hex};
//! use lockweave_finality::{FinalityProof, Network, ValidatorSet};
//!
//! // All of it is in the network's genesis file.
//! let network = Network {
//!     id: b256!("1111111111111111111111111111111111111111111111111111111111111111"),
//!     epoch_blocks: 10_000.try_into()?,
//! };
//! let keys = [
//!     hex!("478b8e507e0bb2b18c0f9e0824769e8562d10df9abe2e774896f82b4b4405266"),
//!     hex!("5925ba86e2189444a6c3b437b25d2ef35daecd1abf82c5fb36060f9fc0af428c"),
//!     hex!("ec8924090e507c2d8371d2fb0bf965d553e6e5756aeec6c274df3801cf2b49b9"),
//!     hex!("edd0f6de342a1e6a7236d6244f23d83eedfcecd059a386c85055701498e77033"),
//! ];
//! let validators = ValidatorSet::new(network, keys)?;
//!
//! // The result of `lockweave_getFinality`.
//! let json = include_str!("../tests/proof.json");
//! let proof: FinalityProof = serde_json::from_str(json)?;
//! let block = proof.verify(&validators)?;
//! assert_eq!(block.number, 7);
//!
//! // Nothing can be changed.
//! let mut forged = proof;
//! forged.certificate.view += 1;
//! assert!(forged.verify(&validators).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **What is signed:** Ed25519 signatures over the votes of commonware's simplex that make a block final. They begin
//! with [`ValidatorSet::namespace`], so a certificate holds for one network. Signatures are checked by the rules of
//! ZIP-215, as validators check them.
//!
//! **What must be trusted:** more than two thirds of each set of validators, also after they left: they could sign another
//! chain from their time on, and validators that left can no longer be punished. A client that was away for months should
//! get a recent set from somebody it trusts.
//!
//! **What it does not know:** sockets, files, consensus, the contents of blocks.
#![forbid(unsafe_code)]

mod certificate;
pub mod contract;
mod error;
mod final_block;
mod handover;
mod header;
mod proof;
mod trie;
mod validators;

pub use certificate::Certificate;
pub use error::{HEADERS_MAX, InvalidProof};
pub use final_block::FinalBlock;
pub use handover::Handover;
pub use header::MalformedHeader;
pub use proof::FinalityProof;
pub use validators::{InvalidSet, Network, VALIDATORS_MAX, ValidatorSet};
