//! What can be wrong with recorded blocks.

use alloy_primitives::{Address, B256};
use std::{fmt, io};
use thiserror::Error;

/// Why recorded blocks cannot be read. Every message names the file or the block.
#[derive(Debug, Error)]
pub enum RecordedError {
    /// A file or folder cannot be opened or read.
    #[error("{file}: {source}")]
    Io {
        /// The file or folder.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The path is a file, but not a whole `.tar.zst` archive.
    #[error("{file} is not a whole .tar.zst archive: {source}")]
    Archive {
        /// The archive.
        file: String,
        /// The decoder's error.
        source: io::Error,
    },
    /// More data than replay keeps in memory.
    #[error("{file} holds more than {limit_bytes} bytes; split it into smaller parts")]
    TooLarge {
        /// The archive, folder or file.
        file: String,
        /// The most that is read.
        limit_bytes: u64,
    },
    /// Nothing to replay.
    #[error("{file} holds no recorded blocks: no folder in it has a block.json")]
    NoBlocks {
        /// The archive or folder.
        file: String,
    },
    /// A requested block is missing.
    #[error("{file} does not hold block {number}, which was asked for")]
    NoSuchBlock {
        /// The archive or folder.
        file: String,
        /// The block's number.
        number: u64,
    },
    /// A block's folder lacks one of its two files.
    #[error("{folder} has no {name}; a recorded block is a block.json and a pre_state.json")]
    MissingFile {
        /// The block's folder.
        folder: String,
        /// The file it lacks.
        name: &'static str,
    },
    /// Two folders hold the same block.
    #[error("block {number} is recorded twice, in {first} and in {second}")]
    Duplicate {
        /// The block's number.
        number: u64,
        /// One folder.
        first: String,
        /// The other.
        second: String,
    },
    /// A file is not the JSON that belongs there.
    #[error("{file}: {source}")]
    Json {
        /// The file.
        file: String,
        /// The parser's error, with line and column.
        source: serde_json::Error,
    },
    /// A part of a block does not have the form it must have.
    #[error("{file}: {part}: {source}")]
    Part {
        /// The file.
        file: String,
        /// Which part, such as `header` or `transactions[3]`.
        part: String,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A transaction of a type that no known fork has.
    #[error(
        "{file}: transactions[{index}] has type {transaction_type}, which no fork known to this \
         build has"
    )]
    TransactionType {
        /// The block's file.
        file: String,
        /// The transaction's place in the block.
        index: usize,
        /// The type as the file has it.
        transaction_type: String,
    },
    /// A block contradicts itself, so the file is damaged or of a fork that is not known.
    #[error("{file}: {contradiction}")]
    Contradiction {
        /// The block's file.
        file: String,
        /// What contradicts what.
        contradiction: Contradiction,
    },
    /// An account names code that was not recorded.
    #[error("block {number}: account {address} has code {hash}, which no codes.json holds")]
    MissingCode {
        /// The block's number.
        number: u64,
        /// The account.
        address: Address,
        /// Its code hash.
        hash: B256,
    },
    /// Code was recorded under a hash that is not its own.
    #[error("{file}: the code recorded as {named} hashes to {actual}")]
    WrongCode {
        /// The file of codes.
        file: String,
        /// The hash it is recorded under.
        named: B256,
        /// Keccak-256 of its bytes.
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
