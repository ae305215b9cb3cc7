//! Funding of accounts. Idempotent: an account with a sufficient balance receives nothing.

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

/// Tops up each account to the given balance in wei; waits at most `timeout` for inclusion. Returns the number of
/// accounts that were funded.
pub(crate) async fn fund(
    connection: &mut Connection,
    funder: &Account,
    needed: &[(Address, U256)],
    terms: &Terms,
    timeout: Duration,
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
            "the funder {} has {has} wei and needs {costs}; choose another one with --funder-key or --funder-mnemonic, or send less",
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
    // Nodes limit the number of pending transactions of an account, so each batch is included before the next is sent.
    let mut nonce = first;
    for batch in transfers.chunks(BATCH) {
        for result in connection.batch(batch).await? {
            result?;
        }
        nonce += batch.len() as u64;
        if !wait_for_nonce(connection, funder.address, nonce, timeout).await? {
            return Err(LoadError::Funding(
                "the transfers to the senders were not included in time; raise --drain, or check that the node makes blocks"
                    .to_owned(),
            ));
        }
    }
    Ok(missing.len())
}
