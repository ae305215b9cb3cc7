//! Queries of the chain's state.

use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    error::LoadError,
    rpc::{Call, Connection, read_quantity},
    scenario::{Answers, Question},
    transaction::{Declarations, Terms},
};

/// Questions in one batch.
const QUESTIONS: usize = 50;

/// How often a block is waited for.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// Fees that hold while the base fee grows by `headroom`.
pub(crate) async fn terms(
    connection: &mut Connection,
    headroom: u32,
    declarations: Declarations,
) -> Result<Terms, LoadError> {
    let chain_id = connection.quantity("eth_chainId", json!([])).await?;
    let block = connection
        .call("eth_getBlockByNumber", json!(["latest", false]))
        .await?;
    let base_fee = match &block["baseFeePerGas"] {
        Value::Null => 0,
        value => read_quantity("eth_getBlockByNumber", value)?.saturating_to::<u128>(),
    };
    let max_priority_fee_per_gas = 1_000_000_000;
    let max_fee_per_gas = base_fee
        .saturating_mul(headroom.into())
        .saturating_add(max_priority_fee_per_gas);
    Ok(Terms {
        chain_id,
        max_fee_per_gas,
        max_priority_fee_per_gas,
        declarations,
    })
}

/// The next nonces of the addresses, in the state of a block tag.
pub(crate) async fn nonces(
    connection: &mut Connection,
    addresses: &[Address],
    tag: &str,
) -> Result<Vec<u64>, LoadError> {
    let values = connection
        .of_addresses("eth_getTransactionCount", addresses, tag)
        .await?;
    Ok(values
        .into_iter()
        .map(|value| value.saturating_to())
        .collect())
}

/// Answers of the latest state.
pub(crate) async fn ask(
    connection: &mut Connection,
    questions: &[Question],
) -> Result<Answers, LoadError> {
    let mut answers = Vec::with_capacity(questions.len());
    for some in questions.chunks(QUESTIONS) {
        let calls: Vec<Call> = some
            .iter()
            .map(|question| match question {
                Question::Balance(address) => {
                    Call::new("eth_getBalance", json!([address, "latest"]))
                }
                Question::View { to, input } => {
                    // `data` is understood by every node, `input` by newer ones only.
                    Call::new("eth_call", json!([{"to": to, "data": input}, "latest"]))
                }
            })
            .collect();
        let results = connection.batch(&calls).await?;
        for (question, result) in some.iter().zip(results) {
            let value = result?;
            answers.push(match question {
                Question::Balance(_) => {
                    let balance = read_quantity("eth_getBalance", &value)?;
                    Bytes::from(balance.to_be_bytes::<32>())
                }
                Question::View { .. } => {
                    serde_json::from_value(value).map_err(|error| LoadError::Protocol {
                        method: "eth_call".to_owned(),
                        what: error.to_string(),
                    })?
                }
            });
        }
    }
    Ok(Answers(answers))
}

/// Waits until an address has sent all its transactions below `nonce`; whether it did in time.
pub(crate) async fn wait_for_nonce(
    connection: &mut Connection,
    address: Address,
    nonce: u64,
    patience: Duration,
) -> Result<bool, LoadError> {
    let end = Instant::now() + patience;
    loop {
        let is = connection
            .quantity("eth_getTransactionCount", json!([address, "latest"]))
            .await?;
        if is >= nonce {
            return Ok(true);
        }
        if Instant::now() > end {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
}
