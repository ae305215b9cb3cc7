//! Decoding of answers.

use alloy_primitives::{B256, U256};
use serde_json::Value;

use crate::error::LoadError;

pub(super) fn read_reply(method: &str, reply: &Value) -> Result<Value, LoadError> {
    if let Some(error) = reply.get("error").filter(|error| !error.is_null()) {
        return Err(LoadError::Rpc {
            method: method.to_owned(),
            code: error["code"].as_i64().unwrap_or_default(),
            message: error["message"].as_str().unwrap_or("nothing").to_owned(),
        });
    }
    reply
        .get("result")
        .cloned()
        .ok_or_else(|| LoadError::Protocol {
            method: method.to_owned(),
            what: "neither result nor error".to_owned(),
        })
}

/// Reads a JSON-RPC quantity (`"0x1f"`).
pub(crate) fn read_quantity(method: &str, value: &Value) -> Result<U256, LoadError> {
    value
        .as_str()
        .and_then(|text| text.strip_prefix("0x"))
        .and_then(|digits| U256::from_str_radix(digits, 16).ok())
        .ok_or_else(|| LoadError::Protocol {
            method: method.to_owned(),
            what: value.to_string(),
        })
}

/// Reads the hash, success and gas used of a receipt.
pub(crate) fn read_receipt(receipt: &Value) -> Result<(B256, bool, u64), LoadError> {
    let broken = || LoadError::Protocol {
        method: "receipt".to_owned(),
        what: receipt.to_string(),
    };
    let hash: B256 = receipt["transactionHash"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(broken)?;
    let gas_used = read_quantity("receipt", &receipt["gasUsed"])?;
    let status = read_quantity("receipt", &receipt["status"])?;
    Ok((
        hash,
        !status.is_zero(),
        u64::try_from(gas_used).map_err(|_| broken())?,
    ))
}
