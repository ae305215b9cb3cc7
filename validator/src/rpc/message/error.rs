//! JSON-RPC errors, with the codes clients know.

use crate::{node::SubmitError, store::StoreError};
use alloy_primitives::{Bytes, hex};
use lockweave_runtime::StateError;
use serde::Serialize;
use serde_json::Value;

pub(crate) mod code {
    /// The text is not JSON.
    pub(crate) const PARSE: i64 = -32_700;
    /// The JSON is not a request.
    pub(crate) const INVALID_REQUEST: i64 = -32_600;
    /// No such method.
    pub(crate) const METHOD_NOT_FOUND: i64 = -32_601;
    /// The parameters do not fit the method.
    pub(crate) const INVALID_PARAMS: i64 = -32_602;
    /// The node failed.
    pub(crate) const INTERNAL: i64 = -32_603;
    /// The request cannot be fulfilled: geth's code for all other errors.
    pub(crate) const SERVER: i64 = -32_000;
    /// There is no state to answer from yet (EIP-1474).
    pub(crate) const UNAVAILABLE: i64 = -32_002;
    /// Over a limit (EIP-1474).
    pub(crate) const LIMIT: i64 = -32_005;
    /// A call was reverted; `data` is its output.
    pub(crate) const REVERTED: i64 = 3;
}

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RpcError {
    pub(crate) code: i64,
    /// What is wrong, and what to do.
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Value>,
}

impl RpcError {
    /// An error without data.
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The parameters do not fit the method.
    pub(crate) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_PARAMS, message)
    }

    /// The request cannot be fulfilled.
    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::new(code::SERVER, message)
    }

    /// The node failed.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(code::INTERNAL, message)
    }

    /// Over a limit.
    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(code::LIMIT, message)
    }

    /// The requested block does not exist.
    pub(crate) fn block_not_found() -> Self {
        Self::server("header not found")
    }

    /// A call was reverted with this output.
    pub(crate) fn reverted(output: &Bytes) -> Self {
        let message = match revert_reason(output) {
            Some(reason) => format!("execution reverted: {reason}"),
            None => "execution reverted".to_owned(),
        };
        Self {
            code: code::REVERTED,
            message,
            data: Some(Value::String(hex::encode_prefixed(output))),
        }
    }
}

/// The text of `Error(string)` or `Panic(uint256)`.
pub(crate) fn revert_reason(output: &[u8]) -> Option<String> {
    let (selector, body) = output.split_first_chunk::<4>()?;
    match selector {
        // Error(string): offset, length, bytes.
        [0x08, 0xc3, 0x79, 0xa0] => {
            let length = usize::try_from(u64::from_be_bytes(body.get(56..64)?.try_into().ok()?));
            let text = body.get(64..64_usize.checked_add(length.ok()?)?)?;
            Some(String::from_utf8_lossy(text).into_owned())
        }
        [0x4e, 0x48, 0x7b, 0x71] => Some(
            match body.get(31)? {
                0x01 => "assert(false)",
                0x11 => "arithmetic underflow or overflow",
                0x12 => "division or modulo by zero",
                0x21 => "enum overflow",
                0x22 => "invalid encoded storage byte array accessed",
                0x31 => "out-of-bounds array access; popping on an empty array",
                0x32 => "out-of-bounds access of an array or bytesN",
                0x41 => "out of memory",
                0x51 => "uninitialized function",
                _ => "unknown panic code",
            }
            .to_owned(),
        ),
        _ => None,
    }
}

impl From<StoreError> for RpcError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::UnknownBlock { .. } => Self::block_not_found(),
            StoreError::Backend(_) => Self::internal(error.to_string()),
            _ => Self::server(error.to_string()),
        }
    }
}

impl From<StateError> for RpcError {
    fn from(error: StateError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<SubmitError> for RpcError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::State(_) => Self::internal(error.to_string()),
            _ => Self::server(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::bytes;

    #[test]
    fn reasons_are_read_and_nonsense_is_not() {
        let text = bytes!(
            "08c379a0"
            "0000000000000000000000000000000000000000000000000000000000000020"
            "0000000000000000000000000000000000000000000000000000000000000003"
            "6e6f210000000000000000000000000000000000000000000000000000000000"
        );
        assert_eq!(revert_reason(&text).as_deref(), Some("no!"));
        let lies = bytes!(
            "08c379a0"
            "0000000000000000000000000000000000000000000000000000000000000020"
            "000000000000000000000000000000000000000000000000ffffffffffffffff"
        );
        assert_eq!(revert_reason(&lies), None);
        assert_eq!(revert_reason(&[1, 2, 3]), None);
    }
}
