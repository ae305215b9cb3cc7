//! Proofs that a block of a Lockweave network is final, checked with the validators' public keys alone.
//!
//! A node answers `lockweave_getFinality` with a [`FinalityProof`]: a [`Certificate`], which is the signatures of a
//! quorum of the validators under a block, and the headers from the block in question to that one.
//! [`FinalityProof::verify`] checks it and returns the block's number, hash and state root. The genesis file names the
//! validators, so a light client trusts that file and no node. With the state root it can check proofs of accounts and
//! slots (`eth_getProof`).
//!
//! ```
//! use alloy_primitives::{b256, hex};
//! use lockweave_finality::{FinalityProof, ValidatorSet};
//!
//! // Both are in the network's genesis file.
//! let genesis_hash = b256!("1111111111111111111111111111111111111111111111111111111111111111");
//! let keys = [
//!     hex!("478b8e507e0bb2b18c0f9e0824769e8562d10df9abe2e774896f82b4b4405266"),
//!     hex!("5925ba86e2189444a6c3b437b25d2ef35daecd1abf82c5fb36060f9fc0af428c"),
//!     hex!("ec8924090e507c2d8371d2fb0bf965d553e6e5756aeec6c274df3801cf2b49b9"),
//!     hex!("edd0f6de342a1e6a7236d6244f23d83eedfcecd059a386c85055701498e77033"),
//! ];
//! let validators = ValidatorSet::new(genesis_hash, keys)?;
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
//! with [`ValidatorSet::namespace`], so a certificate holds for one genesis and one set of validators. Signatures are
//! checked by the rules of ZIP-215, as validators check them.
//!
//! **What it does not know:** sockets, files, consensus, the contents of blocks.
#![forbid(unsafe_code)]

mod certificate;
mod error;
mod header;
mod proof;
mod validators;

pub use certificate::Certificate;
pub use error::{HEADERS_MAX, InvalidProof};
pub use header::MalformedHeader;
pub use proof::{FinalBlock, FinalityProof};
pub use validators::{InvalidSet, VALIDATORS_MAX, ValidatorSet};
