//! What is wrong with a proof.

use crate::{header::MalformedHeader, validators::InvalidSet};
use alloy_primitives::B256;
use thiserror::Error;

/// Headers of a proof, at most.
pub const HEADERS_MAX: usize = 1_025;

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidProof {
    /// It has no header.
    #[error("the proof has no header; ask for the block again")]
    NoHeader,
    /// It has too many headers.
    #[error("the proof has {0} headers, more than {HEADERS_MAX}")]
    TooManyHeaders(usize),
    /// A header cannot be read.
    #[error("header {index} of the proof cannot be read: {source}")]
    MalformedHeader {
        /// Its place in the proof.
        index: usize,
        /// What is wrong with it.
        source: MalformedHeader,
    },
    /// A header is not the parent of the next one.
    #[error("header {index} of the proof does not follow the one before it")]
    NotLinked {
        /// The place of the later one in the proof.
        index: usize,
    },
    /// The last header is not that of the certificate.
    #[error("the certificate is for the block {certified}, the proof leads to {last}")]
    OtherBlock {
        /// The block of the certificate.
        certified: B256,
        /// The block of the last header.
        last: B256,
    },
    /// There is not one signature for each signer.
    #[error("the certificate has {signers} signers and {signatures} signatures")]
    SignatureCount {
        /// The number of signers.
        signers: usize,
        /// The number of signatures.
        signatures: usize,
    },
    /// Too few signed.
    #[error("{signers} validators signed, but {quorum} must")]
    TooFewSigners {
        /// The number of signers.
        signers: usize,
        /// The number that is needed.
        quorum: usize,
    },
    /// The signers are not in order, or one appears twice.
    #[error("signer {signer} of the certificate appears twice, or is out of order")]
    SignerOrder {
        /// The index of the signer.
        signer: u32,
    },
    /// There is no such validator.
    #[error("the certificate has a signature of validator {signer}, but there are {validators}")]
    UnknownSigner {
        /// The index of the signer.
        signer: u32,
        /// The number of validators.
        validators: usize,
    },
    /// A signature is not that of the signer for this block.
    #[error(
        "the signature of validator {signer} is wrong: the certificate was changed, or is one of a network with \
         another genesis or other validators"
    )]
    WrongSignature {
        /// The index of the signer.
        signer: u32,
    },
    /// The certificate's epoch is not that of its block, or is before the first one of the validators.
    #[error(
        "the certificate of block {number} is of epoch {epoch}, which is not the block's, or is before epoch {first}, \
         the first one of these validators"
    )]
    WrongEpoch {
        /// The number of the certificate's block.
        number: u64,
        /// The certificate's epoch.
        epoch: u64,
        /// The first epoch of the validators.
        first: u64,
    },
    /// The block of a handover is not the last one of its epoch.
    #[error("block {number} of a handover is not the last one of epoch {epoch}")]
    NotTheLastBlock {
        /// The number of the block.
        number: u64,
        /// The epoch of its certificate.
        epoch: u64,
    },
    /// A handover has too many trie nodes.
    #[error("a handover has {0} trie nodes, too many")]
    TooManyNodes(usize),
    /// A trie node is not there.
    #[error("the trie node {0} of a handover is missing")]
    MissingNode(B256),
    /// A trie node cannot be read.
    #[error("a trie node of a handover cannot be read: {0}")]
    Node(alloy_rlp::Error),
    /// The state has no contract for validators.
    #[error("the state of a handover has no contract for validators")]
    NoContract,
    /// The validators of a handover are no set.
    #[error("the validators of a handover are wrong: {0}")]
    Set(#[from] InvalidSet),
}
