//! Whether a transaction is refused for the reason that the fixture names.

use lockweave::evm::InvalidStep;
use revm::context::result::InvalidTransaction as Invalid;

/// Why a fixture's transaction is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Its bytes are not a transaction.
    Bytes(String),
    /// A transaction with blobs or authorizations and without a recipient, which its encoding does not allow.
    Creation(u8),
    /// It bids more than 2^128 - 1 wei a unit of gas, which no account can pay and its type here cannot hold.
    Fee,
    /// Its signature is invalid, or by another account than the fixture's sender.
    Signature(String),
    /// It is invalid in the block.
    Step(InvalidStep),
}

/// Whether one of the exceptions (`A|B`) names `refusal`.
pub(crate) fn matches(exceptions: &str, refusal: &Refusal) -> bool {
    exceptions.split('|').any(|exception| {
        let name = exception
            .rsplit_once('.')
            .map_or(exception, |(_, name)| name);
        match refusal {
            Refusal::Bytes(_) => is_bytes_kind(name),
            Refusal::Creation(3) => name == "TYPE_3_TX_CONTRACT_CREATION",
            Refusal::Creation(_) => name == "TYPE_4_TX_CONTRACT_CREATION",
            Refusal::Fee => is_fee_kind(name) || name == "INSUFFICIENT_ACCOUNT_FUNDS",
            Refusal::Signature(_) => is_signature_kind(name),
            Refusal::Step(InvalidStep::Transaction(invalid)) => is_kind(name, invalid),
            Refusal::Step(_) => false,
        }
    })
}

/// Whether an exception is about bytes that are not a transaction.
pub(crate) fn is_bytes_kind(name: &str) -> bool {
    name.starts_with("RLP_")
        || is_fee_kind(name)
        || matches!(
            name,
            "ADDRESS_TOO_SHORT"
                | "ADDRESS_TOO_LONG"
                | "NONCE_OVERFLOW"
                | "GASLIMIT_OVERFLOW"
                | "VALUE_OVERFLOW"
                | "TYPE_NOT_SUPPORTED"
                | "TYPE_4_INVALID_AUTHORIZATION_FORMAT"
                | "TYPE_4_INVALID_AUTHORITY_SIGNATURE"
                | "TYPE_4_INVALID_AUTHORITY_SIGNATURE_S_TOO_HIGH"
        )
}

/// Whether an exception is about fees above the limit of their type.
fn is_fee_kind(name: &str) -> bool {
    matches!(
        name,
        "GASPRICE_OVERFLOW" | "PRIORITY_OVERFLOW" | "GASLIMIT_PRICE_PRODUCT_OVERFLOW"
    )
}

/// Whether an exception is about a signature.
pub(crate) fn is_signature_kind(name: &str) -> bool {
    matches!(
        name,
        "INVALID_SIGNATURE_VRS" | "EC_RECOVERY_FAIL" | "INVALID_CHAINID"
    )
}

/// Whether this exception names revm's refusal of a transaction.
pub(crate) fn is_kind(name: &str, invalid: &Invalid) -> bool {
    match name {
        "INSUFFICIENT_ACCOUNT_FUNDS" => matches!(
            invalid,
            Invalid::LackOfFundForMaxFee { .. } | Invalid::OverflowPaymentInTransaction
        ),
        "GASLIMIT_PRICE_PRODUCT_OVERFLOW" => {
            matches!(invalid, Invalid::OverflowPaymentInTransaction)
        }
        "INSUFFICIENT_MAX_FEE_PER_GAS" => matches!(invalid, Invalid::GasPriceLessThanBasefee),
        "PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS" | "PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS_2" => {
            matches!(invalid, Invalid::PriorityFeeGreaterThanMaxFee)
        }
        "INTRINSIC_GAS_TOO_LOW" => matches!(invalid, Invalid::CallGasCostMoreThanGasLimit { .. }),
        "INTRINSIC_GAS_BELOW_FLOOR_GAS_COST" => {
            matches!(invalid, Invalid::GasFloorMoreThanGasLimit { .. })
        }
        "GAS_ALLOWANCE_EXCEEDED" => matches!(invalid, Invalid::CallerGasLimitMoreThanBlock),
        "GAS_LIMIT_EXCEEDS_MAXIMUM" => matches!(invalid, Invalid::TxGasLimitGreaterThanCap { .. }),
        "INITCODE_SIZE_EXCEEDED" => matches!(invalid, Invalid::CreateInitCodeSizeLimit),
        "SENDER_NOT_EOA" => matches!(invalid, Invalid::RejectCallerWithCode),
        "NONCE_IS_MAX" | "NONCE_TOO_BIG" => matches!(invalid, Invalid::NonceOverflowInTransaction),
        "NONCE_MISMATCH_TOO_HIGH" => matches!(invalid, Invalid::NonceTooHigh { .. }),
        "NONCE_MISMATCH_TOO_LOW" => matches!(invalid, Invalid::NonceTooLow { .. }),
        "INVALID_CHAINID" => matches!(invalid, Invalid::InvalidChainId),
        "TYPE_1_TX_PRE_FORK" => matches!(invalid, Invalid::Eip2930NotSupported),
        "TYPE_2_TX_PRE_FORK" => matches!(invalid, Invalid::Eip1559NotSupported),
        "TYPE_3_TX_PRE_FORK" | "TYPE_3_TX_ZERO_BLOBS_PRE_FORK" => {
            matches!(invalid, Invalid::Eip4844NotSupported)
        }
        "TYPE_3_TX_CONTRACT_CREATION" => matches!(invalid, Invalid::BlobCreateTransaction),
        "TYPE_NOT_SUPPORTED" => matches!(
            invalid,
            Invalid::Eip2930NotSupported
                | Invalid::Eip1559NotSupported
                | Invalid::Eip4844NotSupported
                | Invalid::Eip7702NotSupported
        ),
        "TYPE_4_TX_PRE_FORK" => matches!(invalid, Invalid::Eip7702NotSupported),
        "TYPE_3_TX_ZERO_BLOBS" => matches!(invalid, Invalid::EmptyBlobs),
        "TYPE_3_TX_INVALID_BLOB_VERSIONED_HASH" => {
            matches!(invalid, Invalid::BlobVersionNotSupported)
        }
        "TYPE_3_TX_BLOB_COUNT_EXCEEDED" | "TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED" => {
            matches!(invalid, Invalid::TooManyBlobs { .. })
        }
        "INSUFFICIENT_MAX_FEE_PER_BLOB_GAS" => {
            matches!(invalid, Invalid::BlobGasPriceGreaterThanMax { .. })
        }
        "TYPE_4_EMPTY_AUTHORIZATION_LIST" => matches!(invalid, Invalid::EmptyAuthorizationList),
        _ => false,
    }
}
