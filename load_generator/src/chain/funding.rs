//! Gives accounts what they will spend. Idempotent: who has enough gets nothing.

use std::time::Duration;

use alloy_primitives::{Address, Bytes, U256};
use serde_json::json;

use super::state::wait_for_nonce;
use crate::{
    error::LoadError,
    rpc::{Call, Connection},
    transaction::TRANSFER_GAS,
    transaction::{Access, Account, Declarations, Plan, Terms, sign},
};

/// Transfers per batch.
const BATCH: usize = 50;

/// Tops up each account to what it needs, in wei; how many needed it. Waits at most `patience` for the blocks.
pub(crate) async fn fund(
    connection: &mut Connection,
    funder: &Account,
    needed: &[(Address, U256)],
    terms: &Terms,
    patience: Duration,
) -> Result<usize, LoadError> {
    let addresses: Vec<Address> = needed.iter().map(|(address, _)| *address).collect();
    let balances = connection
        .of_addresses("eth_getBalance", &addresses, "latest")
        .await?;
    let missing: Vec<(Address, U256)> = needed
        .iter()
        .zip(balances)
        .filter(|((_, needed), balance)| balance < needed)
        .map(|((address, needed), balance)| (*address, *needed - balance))
        .collect();
    if missing.is_empty() {
        return Ok(0);
    }
    let sum: U256 = missing.iter().map(|(_, amount)| *amount).sum();
    let gas = U256::from(TRANSFER_GAS) * U256::from(missing.len());
    let costs = sum + gas * U256::from(terms.max_fee_per_gas);
    let has = connection
        .of_addresses("eth_getBalance", &[funder.address], "latest")
        .await?[0];
    if has < costs {
        return Err(LoadError::Funding(format!(
            "the funder {} has {has} wei and needs {costs}; name a richer one with --funder-key or --funder-mnemonic, or send less",
            funder.address,
        )));
    }
    let first = connection
        .quantity(
            "eth_getTransactionCount",
            json!([funder.address, "pending"]),
        )
        .await?;
    let terms = Terms {
        declarations: Declarations::None,
        ..*terms
    };
    let transfers: Vec<Call> = (first..)
        .zip(&missing)
        .map(|(nonce, (address, amount))| {
            let plan = Plan {
                sender: 0,
                nonce,
                to: (*address).into(),
                value: *amount,
                input: Bytes::new(),
                gas_limit: TRANSFER_GAS,
                access: Access::default(),
            };
            let signed = sign(&plan, &terms, funder);
            Call::new("eth_sendRawTransaction", json!([signed.raw]))
        })
        .collect();
    // Nodes bound how many transactions of one account may wait, so each batch passes before the next.
    let mut nonce = first;
    for batch in transfers.chunks(BATCH) {
        for result in connection.batch(batch).await? {
            result?;
        }
        nonce += batch.len() as u64;
        if !wait_for_nonce(connection, funder.address, nonce, patience).await? {
            return Err(LoadError::Funding(
                "the transfers to the senders did not get into blocks in time; raise --drain, or see whether the node makes blocks"
                    .to_owned(),
            ));
        }
    }
    Ok(missing.len())
}
