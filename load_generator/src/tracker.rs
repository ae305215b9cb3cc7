//! Follows the chain and enters what is in its blocks.

use std::{sync::Arc, time::Duration};

use alloy_primitives::B256;
use serde_json::{Value, json};

use crate::{
    client::{Call, Connection, read_quantity},
    error::LoadError,
    sender::Shared,
};

/// Time between two questions for the head. Part of every inclusion latency, so it is short.
const POLL: Duration = Duration::from_millis(20);

/// Blocks fetched in one batch.
const BLOCKS_AT_ONCE: u64 = 8;

/// Follows from block `next` on, until it is aborted. A failed question is asked again at the next poll: the run's
/// own end bounds the trying.
pub async fn follow(mut connection: Connection, mut next: u64, shared: Arc<Shared>) {
    loop {
        // Errors are transient or end in "lost"; either way the summary says so.
        if let Ok(head) = connection.quantity("eth_blockNumber", json!([])).await {
            while next <= head {
                let last = head.min(next + BLOCKS_AT_ONCE - 1);
                match enter_blocks(&mut connection, next, last, &shared).await {
                    Ok(()) => next = last + 1,
                    Err(_) => break,
                }
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn enter_blocks(
    connection: &mut Connection,
    first: u64,
    last: u64,
    shared: &Shared,
) -> Result<(), LoadError> {
    let method = "eth_getBlockReceipts";
    let calls: Vec<Call> = (first..=last)
        .map(|number| Call::new(method, json!([format!("0x{number:x}")])))
        .collect();
    let answers = connection.batch(&calls).await?;
    let now = shared.start.elapsed();
    for answer in answers {
        let answer = answer?;
        let receipts = answer.as_array().ok_or_else(|| LoadError::Protocol {
            method: method.to_owned(),
            what: "no receipts of a block below the head".to_owned(),
        })?;
        let mut ledger = shared.ledger();
        for receipt in receipts {
            let (hash, success, gas_used) = read_receipt(receipt)?;
            ledger.receipt(&hash, success, gas_used, now);
        }
    }
    shared.ended.notify_one();
    Ok(())
}

/// Hash, whether it succeeded, gas used.
pub fn read_receipt(receipt: &Value) -> Result<(B256, bool, u64), LoadError> {
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
