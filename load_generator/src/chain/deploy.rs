//! Deployment of a scenario's contracts.

use std::time::Duration;

use alloy_primitives::{Address, B256, TxKind, U256, keccak256};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{funding::fund, state::POLL};
use crate::{
    error::LoadError,
    rpc::{Call, Connection, read_receipt},
    scenario::{Scenario, Script, Step},
    transaction::{Access, Account, Declarations, Plan, Terms, sign},
};

/// Sum of the gas limits of the deployment steps that are in flight at a time. It fits into one block of most chains. A
/// node that makes a block for every transaction (anvil) would leave the rest in its pool.
const STEPS_GAS: u64 = 15_000_000;

/// Deploys the contracts of a scenario and returns the number of steps that were still missing.
///
/// The deployer's account is derived from the seed and from all bytes of the script. Another scenario, other settings
/// or a newer contract therefore have another deployer, and the deployer's nonce is the number of completed steps.
pub(crate) async fn deploy(
    connection: &mut Connection,
    scenario: &mut dyn Scenario,
    senders: &[Address],
    seed: u64,
    funder: &Account,
    terms: &Terms,
    timeout: Duration,
) -> Result<usize, LoadError> {
    let mut draft = Script::new(Address::ZERO, senders);
    scenario.set_up(&mut draft);
    if draft.steps().is_empty() {
        return Ok(0);
    }
    let deployer = deployer(seed, draft.steps())?;
    let mut script = Script::new(deployer.address, senders);
    scenario.set_up(&mut script);
    let done = connection
        .quantity(
            "eth_getTransactionCount",
            json!([deployer.address, "latest"]),
        )
        .await?;
    let done = usize::try_from(done).unwrap_or(usize::MAX);
    let Some(rest) = script.steps().get(done..) else {
        return Err(LoadError::Deployment(format!(
            "{} has sent more transactions than this scenario's deployment; use another --seed",
            deployer.address
        )));
    };
    if rest.is_empty() {
        return Ok(0);
    }
    let terms = Terms {
        declarations: Declarations::None,
        ..*terms
    };
    let gas: u64 = rest.iter().map(|step| step.gas_limit).sum();
    let needed = U256::from(gas) * U256::from(terms.max_fee_per_gas);
    let needed = [(deployer.address, needed)];
    fund(connection, funder, &needed, &terms, timeout).await?;
    let mut first = done as u64;
    for steps in batches(rest) {
        execute_steps(connection, &deployer, first, steps, &terms, timeout).await?;
        first += steps.len() as u64;
    }
    Ok(rest.len())
}

fn deployer(seed: u64, steps: &[Step]) -> Result<Account, LoadError> {
    let mut text = seed.to_be_bytes().to_vec();
    for step in steps {
        text.extend(keccak256(&step.input));
    }
    let label: &[u8] = b"lockweave-loadgen deployer";
    Account::from_secret(keccak256([label, &text].concat()))
}

/// Splits the steps into batches whose gas limits sum to at most [`STEPS_GAS`], but at least one step each.
fn batches(mut steps: &[Step]) -> Vec<&[Step]> {
    let mut batches = Vec::new();
    while !steps.is_empty() {
        let mut gas = 0;
        let fitting = steps.iter().take_while(|step| {
            gas += step.gas_limit;
            gas <= STEPS_GAS
        });
        let (batch, rest) = steps.split_at(fitting.count().max(1));
        batches.push(batch);
        steps = rest;
    }
    batches
}

async fn execute_steps(
    connection: &mut Connection,
    deployer: &Account,
    first: u64,
    steps: &[Step],
    terms: &Terms,
    timeout: Duration,
) -> Result<(), LoadError> {
    let mut calls = Vec::with_capacity(steps.len());
    let mut hashes: Vec<B256> = Vec::with_capacity(steps.len());
    for (nonce, step) in (first..).zip(steps) {
        let plan = Plan {
            sender: 0,
            nonce,
            to: step.to.map_or(TxKind::Create, TxKind::Call),
            value: U256::ZERO,
            input: step.input.clone(),
            gas_limit: step.gas_limit,
            access: Access::default(),
        };
        let signed = sign(&plan, terms, deployer);
        hashes.push(signed.hash);
        calls.push(Call::new("eth_sendRawTransaction", json!([signed.raw])));
    }
    for result in connection.batch(&calls).await? {
        result?;
    }
    let receipts: Vec<Call> = hashes
        .iter()
        .map(|hash| Call::new("eth_getTransactionReceipt", json!([hash])))
        .collect();
    let end = Instant::now() + timeout;
    loop {
        // Some nodes count a nonce before they return its receipt, so this waits for the receipts.
        let answers: Result<Vec<Value>, LoadError> =
            connection.batch(&receipts).await?.into_iter().collect();
        let answers = answers?;
        if !answers.iter().any(Value::is_null) {
            return all_succeeded(first, &answers);
        }
        if Instant::now() > end {
            return Err(LoadError::Deployment(
                "the contracts were not included in time; raise --drain, or check that the node makes blocks"
                    .to_owned(),
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Checks that the steps from `first` on succeeded.
fn all_succeeded(first: u64, receipts: &[Value]) -> Result<(), LoadError> {
    for (step, receipt) in (first..).zip(receipts) {
        let (_, success, _) = read_receipt(receipt)?;
        if !success {
            return Err(LoadError::Deployment(format!(
                "deployment step {step} reverted"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Bytes;

    use super::batches;
    use crate::scenario::Step;

    #[test]
    fn batches_fit_into_a_block_and_leave_nothing_out() {
        let limits = [9_000_000, 5_000_000, 5_000_000, 20_000_000, 1, 1];
        let steps = limits.map(|gas_limit| Step {
            to: None,
            input: Bytes::new(),
            gas_limit,
        });
        let sizes: Vec<usize> = batches(&steps).iter().map(|batch| batch.len()).collect();
        assert_eq!(sizes, [2, 1, 1, 2]);
        assert!(batches(&[]).is_empty());
    }
}
