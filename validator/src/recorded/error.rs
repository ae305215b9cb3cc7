//! What can be wrong with recorded blocks.

use alloy_primitives::{Address, B256};
use std::{fmt, io};
use thiserror::Error;

/// Why recorded blocks cannot be read. Every message names the file or the block.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum RecordedError {
    #[error("{file}: {source}")]
    Io {
        file: String,
        source: io::Error,
    },
    #[error("{file} is not a whole .tar.zst archive: {source}")]
    Archive {
        file: String,
        source: io::Error,
    },
    #[error("{file} holds more than {limit_bytes} bytes; split it into smaller parts")]
    TooLarge {
        file: String,
        limit_bytes: u64,
    },
    #[error("{file} holds no recorded blocks: no folder in it has a block.json")]
    NoBlocks {
        file: String,
    },
    #[error("{file} does not hold block {number}, which was asked for")]
    NoSuchBlock {
        file: String,
        number: u64,
    },
    #[error("{folder} has no {name}; a recorded block is a block.json and a pre_state.json")]
    MissingFile {
        folder: String,
        name: &'static str,
    },
    #[error("block {number} is recorded twice, in {first} and in {second}")]
    Duplicate {
        number: u64,
        first: String,
        second: String,
    },
    #[error("{file}: {source}")]
    Json {
        file: String,
        source: serde_json::Error,
    },
    #[error("{file}: {part}: {source}")]
    Part {
        file: String,
        part: String,
        source: serde_json::Error,
    },
    #[error(
        "{file}: transactions[{index}] has type {transaction_type}, which no fork known to this \
         build has"
    )]
    TransactionType {
        file: String,
        index: usize,
        transaction_type: String,
    },
    #[error("{file}: {contradiction}")]
    Contradiction {
        file: String,
        contradiction: Contradiction,
    },
    #[error("block {number}: account {address} has code {hash}, which no codes.json holds")]
    MissingCode {
        number: u64,
        address: Address,
        hash: B256,
    },
    #[error("{file}: the code recorded as {named} hashes to {actual}")]
    WrongCode {
        file: String,
        named: B256,
        actual: B256,
    },
}

/// How a block contradicts itself.
#[derive(Debug)]
pub enum Contradiction {
    /// The folder is named after another block.
    Number {
        /// As the folder's name has it.
        folder: u64,
        /// As the header has it.
        header: u64,
    },
    /// The header does not hash to the block's hash.
    Hash {
        /// As the file has it.
        given: B256,
        /// Keccak-256 of the header's RLP.
        computed: B256,
        /// Fields that no known header has.
        unknown_fields: Vec<String>,
    },
    /// The body's items do not hash to the root in the header.
    Root {
        /// What the root is over.
        of: &'static str,
        /// As the header has it; `None` where the header has no such root.
        given: Option<B256>,
        /// Root of the items in the file.
        computed: B256,
    },
    /// Uncle hashes are listed where the header has none, or the other way round.
    Uncles {
        /// How many are listed.
        listed: usize,
    },
    /// A transaction's own hash is not the hash of its content.
    TransactionHash {
        /// The transaction's place in the block.
        index: usize,
        /// As the file has it.
        given: B256,
        /// Keccak-256 of the transaction's EIP-2718 bytes.
        computed: B256,
    },
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { folder, header } => write!(
                f,
                "the folder is named {folder}, but the header says block {header}"
            ),
            Self::Hash {
                given,
                computed,
                unknown_fields,
            } => {
                write!(
                    f,
                    "the header hashes to {computed}, but its hash is given as {given}; "
                )?;
                if unknown_fields.is_empty() {
                    f.write_str("the file is damaged, or the block is of an unknown fork")
                } else {
                    write!(
                        f,
                        "the block is of an unknown fork: this build does not know its fields {}",
                        unknown_fields.join(", ")
                    )
                }
            }
            Self::Root {
                of,
                given: Some(given),
                computed,
            } => write!(
                f,
                "the {of} have the root {computed}, but the header says {given}"
            ),
            Self::Root {
                of, given: None, ..
            } => write!(f, "there are {of}, but the header has no root of them"),
            Self::Uncles { listed } => write!(
                f,
                "{listed} uncles are listed, which the header's sha3Uncles contradicts"
            ),
            Self::TransactionHash {
                index,
                given,
                computed,
            } => write!(
                f,
                "transactions[{index}] hashes to {computed}, but its hash is given as {given}"
            ),
        }
    }
}
