//! Queries of the chain's state.

use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    error::LoadError,
    rpc::{Call, Connection, read_quantity},
    scenario::{Answers, Query},
    transaction::{Declarations, Terms},
};

/// Queries in one batch.
const QUERIES_AT_ONCE: usize = 50;

/// Time between two polls while waiting for a block.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// Reads chain id and base fee. The fees stay sufficient while the base fee grows by the factor `headroom`.
pub(crate) async fn read_terms(
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

/// The next nonces of the addresses at a block tag.
pub(crate) async fn read_nonces(
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

/// Answers at the latest block.
pub(crate) async fn query(
    connection: &mut Connection,
    queries: &[Query],
) -> Result<Answers, LoadError> {
    let mut answers = Vec::with_capacity(queries.len());
    for chunk in queries.chunks(QUERIES_AT_ONCE) {
        let calls: Vec<Call> = chunk
            .iter()
            .map(|query| match query {
                Query::Balance(address) => Call::new("eth_getBalance", json!([address, "latest"])),
                Query::View { to, input } => {
                    // Every node accepts `data`; only newer ones accept `input`.
                    Call::new("eth_call", json!([{"to": to, "data": input}, "latest"]))
                }
            })
            .collect();
        let results = connection.batch(&calls).await?;
        for (query, result) in chunk.iter().zip(results) {
            let value = result?;
            answers.push(match query {
                Query::Balance(_) => {
                    let balance = read_quantity("eth_getBalance", &value)?;
                    Bytes::from(balance.to_be_bytes::<32>())
                }
                Query::View { .. } => {
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

/// Waits until the nonce of an address reaches `nonce`. Returns false after `timeout`.
pub(crate) async fn wait_for_nonce(
    connection: &mut Connection,
    address: Address,
    nonce: u64,
    timeout: Duration,
) -> Result<bool, LoadError> {
    let end = Instant::now() + timeout;
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
