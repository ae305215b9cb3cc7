//! Gives the senders what they will spend. Idempotent: who has enough gets nothing.

use std::time::Duration;

use alloy_primitives::{Bytes, U256};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    accounts::Account,
    client::{Call, Connection},
    error::LoadError,
    scenario::TRANSFER_GAS,
    signing::{Plan, Terms, sign},
};

/// Transfers per batch.
const BATCH: usize = 50;

/// Tops up each sender to `needed` wei; how many needed it. Waits at most `patience` for the blocks.
pub async fn fund(
    connection: &mut Connection,
    funder: &Account,
    senders: &[Account],
    needed: U256,
    terms: &Terms,
    patience: Duration,
) -> Result<usize, LoadError> {
    let addresses: Vec<_> = senders.iter().map(|sender| sender.address).collect();
    let balances = connection
        .of_addresses("eth_getBalance", &addresses, "latest")
        .await?;
    let poor: Vec<_> = addresses
        .iter()
        .zip(balances)
        .filter(|(_, balance)| *balance < needed)
        .collect();
    if poor.is_empty() {
        return Ok(0);
    }
    let missing: U256 = poor.iter().map(|(_, balance)| needed - *balance).sum();
    let fee = U256::from(terms.max_fee_per_gas) * U256::from(TRANSFER_GAS) * U256::from(poor.len());
    let has = connection
        .of_addresses("eth_getBalance", &[funder.address], "latest")
        .await?[0];
    if has < missing + fee {
        return Err(LoadError::Funding(format!(
            "the funder {} has {has} wei and needs {}; name a richer one with --funder-key or --funder-mnemonic",
            funder.address,
            missing + fee
        )));
    }
    let first = connection
        .quantity(
            "eth_getTransactionCount",
            json!([funder.address, "pending"]),
        )
        .await?;
    let mut calls = Vec::with_capacity(poor.len());
    let mut nonce = first;
    for (address, balance) in &poor {
        let plan = Plan {
            sender: 0,
            nonce,
            to: **address,
            value: needed - *balance,
            input: Bytes::new(),
            gas_limit: TRANSFER_GAS,
        };
        calls.push(Call::new(
            "eth_sendRawTransaction",
            json!([sign(&plan, terms, funder).raw]),
        ));
        nonce += 1;
    }
    let end = Instant::now() + patience;
    for batch in calls.chunks(BATCH) {
        for result in connection.batch(batch).await? {
            result?;
        }
    }
    while connection
        .quantity("eth_getTransactionCount", json!([funder.address, "latest"]))
        .await?
        < nonce
    {
        if Instant::now() > end {
            return Err(LoadError::Funding(
                "the transfers to the senders did not get into blocks in time".to_owned(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(poor.len())
}
