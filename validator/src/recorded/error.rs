//! What can be wrong with recorded blocks.

use alloy_primitives::{Address, B256};
use std::io;
use thiserror::Error;

/// Why recorded blocks cannot be read. Every message names the file or the block.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum RecordedError {
    #[error("{file}: {source}")]
    Io { file: String, source: io::Error },
    #[error("{file} is not a whole .tar.zst archive: {source}")]
    Archive { file: String, source: io::Error },
    #[error("{file} holds more than {limit_bytes} bytes; split it into smaller parts")]
    TooLarge { file: String, limit_bytes: u64 },
    #[error("{file} holds no recorded blocks: no folder in it has a block.json")]
    NoBlocks { file: String },
    #[error("{file} does not hold block {number}, which was asked for")]
    NoSuchBlock { file: String, number: u64 },
    #[error("{folder} has no {name}; a recorded block is a block.json and a pre_state.json")]
    MissingFile { folder: String, name: &'static str },
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
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum Contradiction {
    #[error("the folder is named {folder}, but the header says block {header}")]
    Number { folder: u64, header: u64 },
    /// `unknown_fields` are those that no known header has.
    #[error(
        "the header hashes to {computed}, but its hash is given as {given}; {}",
        cause(unknown_fields)
    )]
    Hash {
        given: B256,
        computed: B256,
        unknown_fields: Vec<String>,
    },
    #[error("the {of} have the root {computed}, but the header says {given}")]
    Root {
        of: &'static str,
        given: B256,
        computed: B256,
    },
    #[error("there are {of}, but the header has no root of them")]
    NoRoot { of: &'static str },
    #[error("{listed} uncles are listed, which the header's sha3Uncles contradicts")]
    Uncles { listed: usize },
    #[error("transactions[{index}] hashes to {computed}, but its hash is given as {given}")]
    TransactionHash {
        index: usize,
        given: B256,
        computed: B256,
    },
}

/// What a wrong hash comes from.
fn cause(unknown_fields: &[String]) -> String {
    if unknown_fields.is_empty() {
        return "the file is damaged, or the block is of an unknown fork".to_owned();
    }
    format!(
        "the block is of an unknown fork: this build does not know its fields {}",
        unknown_fields.join(", ")
    )
}
