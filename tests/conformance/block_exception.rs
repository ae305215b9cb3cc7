//! Which of our refusals of a block is of the kind that a fixture's exception names.

use crate::conformance::exception::{self, is_kind};
use alloy_primitives::B256;
use lockweave::engine::{EngineError, InvalidAccessList};
use lockweave::evm::{EvmBlockError, InvalidStep};
use lockweave_validator::chain::{
    execution::InvalidBlock, header::InvalidHeader, ommers::InvalidOmmer,
};

/// Why a fixture's block is refused.
#[derive(Debug)]
pub(crate) enum BlockRefusal {
    /// Its bytes are no block.
    Rlp(alloy_rlp::Error),
    /// Its parent is not among the blocks before it.
    UnknownParent,
    /// Its header does not follow from its parent's.
    Header(InvalidHeader),
    /// It does not come to what its header says.
    Block(InvalidBlock),
    /// It is right, but not by the access list that came with it.
    List(EngineError),
    /// Its header commits to another state.
    StateRoot,
}

impl BlockRefusal {
    /// Whether the header has another root of transactions than the body.
    pub(crate) fn is_transactions_root(&self) -> bool {
        matches!(
            self,
            Self::Block(InvalidBlock::Header {
                field: "transactionsRoot",
                ..
            })
        )
    }
}

/// Whether `refusal` is what one of the exceptions (`A|B`) means.
pub(crate) fn matches(exceptions: &str, refusal: &BlockRefusal) -> bool {
    exceptions.split('|').any(|exception| {
        let (kind, name) = exception.split_once('.').unwrap_or(("", exception));
        match (kind, refusal) {
            ("TransactionException", BlockRefusal::Block(invalid)) => {
                is_transaction_kind(name, invalid)
            }
            ("TransactionException", BlockRefusal::Rlp(_)) => is_rlp_kind(name),
            (_, BlockRefusal::Rlp(_)) => {
                name.starts_with("RLP_") || name == "INCORRECT_BLOCK_FORMAT"
            }
            (_, BlockRefusal::UnknownParent) => {
                matches!(name, "UNKNOWN_PARENT" | "UNKNOWN_PARENT_ZERO")
            }
            (_, BlockRefusal::Header(invalid)) => is_header_kind(name, invalid),
            (_, BlockRefusal::Block(invalid)) => is_block_kind(name, invalid),
            (_, BlockRefusal::List(error)) => is_list_kind(name, error),
            (_, BlockRefusal::StateRoot) => name == "INVALID_STATE_ROOT",
        }
    })
}

/// What is wrong with a list that came with a block and to which its header commits. One that says
/// something else than what happens may also make a step impossible.
fn is_list_kind(name: &str, error: &EngineError) -> bool {
    match error {
        EngineError::List(InvalidAccessList::TooLarge { .. }) => {
            name == "BLOCK_ACCESS_LIST_GAS_LIMIT_EXCEEDED"
        }
        EngineError::List(InvalidAccessList::Malformed(_)) => {
            name == "INCORRECT_BLOCK_FORMAT" || is_wrong_list(name)
        }
        EngineError::List(_) | EngineError::Step { .. } => is_wrong_list(name),
        _ => false,
    }
}

/// The names of a list that is not the block's. Which entry is too much or missing shows in the list
/// alone; against the header it is another hash.
fn is_wrong_list(name: &str) -> bool {
    matches!(
        name,
        "INVALID_BAL_HASH"
            | "INVALID_BLOCK_ACCESS_LIST"
            | "INVALID_BAL_EXTRA_ACCOUNT"
            | "INVALID_BAL_MISSING_ACCOUNT"
    )
}

/// A transaction whose bytes are none: the decoder refuses it before any rule does.
fn is_rlp_kind(name: &str) -> bool {
    exception::is_bytes_kind(name)
        || matches!(
            name,
            "TYPE_3_TX_WITH_FULL_BLOBS"
                | "TYPE_3_TX_CONTRACT_CREATION"
                | "TYPE_4_TX_CONTRACT_CREATION"
        )
}

fn is_transaction_kind(name: &str, invalid: &InvalidBlock) -> bool {
    match invalid {
        InvalidBlock::Signature { .. } => exception::is_signature_kind(name),
        InvalidBlock::GasLimit { .. } => name == "GAS_ALLOWANCE_EXCEEDED",
        InvalidBlock::Sidecar { .. } => name == "TYPE_3_TX_WITH_FULL_BLOBS",
        InvalidBlock::Blobs { .. } => {
            name == "TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED"
                || name == "TYPE_3_TX_BLOB_COUNT_EXCEEDED"
        }
        InvalidBlock::Step {
            source: InvalidStep::Transaction(invalid),
            ..
        } => is_kind(name, invalid),
        _ => false,
    }
}

fn is_header_kind(name: &str, invalid: &InvalidHeader) -> bool {
    match invalid {
        InvalidHeader::Number { .. } => name == "INVALID_BLOCK_NUMBER",
        InvalidHeader::Parent { .. } => {
            matches!(name, "UNKNOWN_PARENT" | "UNKNOWN_PARENT_ZERO")
        }
        InvalidHeader::Timestamp { .. } => name == "INVALID_BLOCK_TIMESTAMP_OLDER_THAN_PARENT",
        InvalidHeader::ExtraData { .. } => name == "EXTRA_DATA_TOO_BIG",
        InvalidHeader::GasLimitTooLarge { .. } => name == "GASLIMIT_TOO_BIG",
        InvalidHeader::GasLimit { .. } => name == "INVALID_GASLIMIT",
        InvalidHeader::GasUsed { .. } => {
            matches!(name, "GAS_USED_OVERFLOW" | "INVALID_GAS_USED_ABOVE_LIMIT")
        }
        InvalidHeader::BaseFee { .. } => name == "INVALID_BASEFEE_PER_GAS",
        InvalidHeader::ExcessBlobGas { .. } => name == "INCORRECT_EXCESS_BLOB_GAS",
        // Since the merge a hash that is not that of no uncles is wrong by itself.
        InvalidHeader::Ommers => matches!(
            name,
            "IMPORT_IMPOSSIBLE_UNCLES_OVER_PARIS" | "INVALID_UNCLES_HASH"
        ),
        InvalidHeader::ProofOfWork => matches!(
            name,
            "IMPORT_IMPOSSIBLE_DIFFICULTY_OVER_PARIS"
                | "IMPORT_IMPOSSIBLE_PARIS_WRONG_POW"
                | "INVALID_DIFFICULTY"
        ),
        InvalidHeader::Difficulty { .. } => matches!(
            name,
            "INVALID_DIFFICULTY" | "IMPORT_IMPOSSIBLE_PARIS_WRONG_POS"
        ),
    }
}

fn is_block_kind(name: &str, invalid: &InvalidBlock) -> bool {
    match invalid {
        InvalidBlock::Header { field, .. } => match *field {
            "transactionsRoot" => name == "INVALID_TRANSACTIONS_ROOT",
            "sha3Uncles" => name == "INVALID_UNCLES_HASH",
            "withdrawalsRoot" => name == "INVALID_WITHDRAWALS_ROOT",
            "blobGasUsed" => name == "INCORRECT_BLOB_GAS_USED",
            "gasUsed" => name == "INVALID_GAS_USED",
            "receiptsRoot" => name == "INVALID_RECEIPTS_ROOT",
            "logsBloom" => name == "INVALID_LOG_BLOOM",
            "requestsHash" => name == "INVALID_REQUESTS",
            _ => false,
        },
        InvalidBlock::AccessList(InvalidAccessList::TooLarge { .. }) => {
            name == "BLOCK_ACCESS_LIST_GAS_LIMIT_EXCEEDED"
        }
        // No list came with the block, so there is nothing but another hash.
        InvalidBlock::AccessList(_) => is_wrong_list(name) || name == "INCORRECT_BLOCK_FORMAT",
        InvalidBlock::Ommers(invalid) => is_ommer_kind(name, invalid),
        InvalidBlock::GasLimit { .. } => name == "GAS_USED_OVERFLOW",
        InvalidBlock::NoWithdrawals => {
            matches!(name, "RLP_WITHDRAWALS_NOT_READ" | "INCORRECT_BLOCK_FORMAT")
        }
        InvalidBlock::Size { .. } => name == "RLP_BLOCK_LIMIT_EXCEEDED",
        InvalidBlock::Blobs { .. } => name == "BLOB_GAS_USED_ABOVE_LIMIT",
        InvalidBlock::Sidecar { .. } => name == "RLP_STRUCTURES_ENCODING",
        InvalidBlock::Deposit(_) => name == "INVALID_DEPOSIT_EVENT_LAYOUT",
        InvalidBlock::Step {
            source: InvalidStep::SystemCall { .. },
            ..
        } => name == "SYSTEM_CONTRACT_CALL_FAILED" || name == "SYSTEM_CONTRACT_EMPTY",
        InvalidBlock::Layout(
            EvmBlockError::MissingField { field, .. } | EvmBlockError::UnknownFork { field, .. },
        ) => match name {
            // A client that knows the fork's fields alone comes to another hash.
            "INCORRECT_BLOCK_FORMAT" | "INVALID_BLOCK_HASH" => true,
            "INVALID_BAL_HASH" | "INVALID_BLOCK_ACCESS_LIST" => *field == "blockAccessListHash",
            _ => false,
        },
        InvalidBlock::Layout(EvmBlockError::DistantOmmer { .. }) => {
            name == "UNCLE_PARENT_INCORRECT"
        }
        _ => false,
    }
}

fn is_ommer_kind(name: &str, invalid: &InvalidOmmer) -> bool {
    match invalid {
        InvalidOmmer::TooMany { .. } => name == "TOO_MANY_UNCLES",
        InvalidOmmer::Again { .. } => matches!(name, "UNCLE_IN_CHAIN" | "UNCLE_IS_BROTHER"),
        InvalidOmmer::Ancestor { .. } => {
            matches!(name, "UNCLE_IS_ANCESTOR" | "UNCLE_IN_CHAIN")
        }
        InvalidOmmer::Parent { .. } => matches!(
            name,
            "UNCLE_PARENT_INCORRECT" | "UNCLE_UNKNOWN_PARENT" | "UNCLE_IS_BROTHER"
        ),
        InvalidOmmer::Header { source, .. } => is_header_kind(name, source),
    }
}

/// A block that was taken, or why it was not.
pub(crate) type Taken = Result<B256, BlockRefusal>;
