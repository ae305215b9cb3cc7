//! What must hold of the state after a run of transfers.

use alloy_primitives::{Address, U256};

use crate::{client::Connection, error::LoadError, scenario::TRANSFER_VALUE};

/// Sum of the addresses' balances, in wei.
pub async fn total(connection: &mut Connection, addresses: &[Address]) -> Result<U256, LoadError> {
    Ok(connection
        .of_addresses("eth_getBalance", addresses, "latest")
        .await?
        .into_iter()
        .sum())
}

/// Recipients gained 1 wei for each included transfer, senders' nonces advanced by what is in blocks.
pub async fn check_transfers(
    connection: &mut Connection,
    recipients: &[Address],
    total_before: U256,
    included: u64,
    senders: &[(Address, u64, u64)],
) -> Result<(), LoadError> {
    let gained = total(connection, recipients)
        .await?
        .saturating_sub(total_before);
    let expected = U256::from(included) * U256::from(TRANSFER_VALUE);
    if gained != expected {
        return Err(LoadError::Invariant(format!(
            "recipients gained {gained} wei, included transfers say {expected}"
        )));
    }
    let addresses: Vec<Address> = senders.iter().map(|(address, _, _)| *address).collect();
    let nonces = connection
        .of_addresses("eth_getTransactionCount", &addresses, "latest")
        .await?;
    for ((address, first, count), nonce) in senders.iter().zip(nonces) {
        if nonce != U256::from(first + count) {
            return Err(LoadError::Invariant(format!(
                "{address} has nonce {nonce}; it started at {first} and {count} of its transactions are in blocks"
            )));
        }
    }
    Ok(())
}
