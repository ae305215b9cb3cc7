//! What a run asks of the chain, and has done on it, before and after the load.

use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    access::{Access, Declarations},
    accounts::Account,
    client::{Call, Connection, read_quantity},
    error::LoadError,
    funding::fund,
    scenario::{Answers, Question, Scenario, Script, Step},
    signing::{Plan, Terms, sign},
    tracker::read_receipt,
};

/// Questions in one batch.
const QUESTIONS: usize = 50;

/// Gas limits of the steps of a deployment that are on their way at a time: they fit into one block of most chains.
/// A node that makes a block for every transaction (anvil) would leave what does not fit in its pool.
const STEPS_GAS: u64 = 15_000_000;

/// How often a block is waited for.
const POLL: Duration = Duration::from_millis(20);

/// Fees that hold while the base fee grows by `headroom`.
pub async fn terms(
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
pub async fn nonces(
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
pub async fn ask(
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
pub async fn wait_for_nonce(
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

/// Puts a scenario's contracts in place, with what is there already left alone; how many steps were still to be done.
///
/// The account that deploys is derived from the seed and everything its script says, so another scenario, other
/// settings or a newer contract have another deployer, and the deployer's nonce says how far its script has come.
pub async fn deploy(
    connection: &mut Connection,
    scenario: &mut dyn Scenario,
    senders: &[Address],
    seed: u64,
    funder: &Account,
    terms: &Terms,
    patience: Duration,
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
            "{} has done more than this scenario's script; take another --seed",
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
    let poor = [(deployer.address, needed)];
    fund(connection, funder, &poor, &terms, patience).await?;
    let mut first = done as u64;
    for steps in batches(rest) {
        carry_out(connection, &deployer, first, steps, &terms, patience).await?;
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

/// Steps in their order, as many at a time as [`STEPS_GAS`] has room for.
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

async fn carry_out(
    connection: &mut Connection,
    deployer: &Account,
    first: u64,
    steps: &[Step],
    terms: &Terms,
    patience: Duration,
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
    let end = first + steps.len() as u64;
    if !wait_for_nonce(connection, deployer.address, end, patience).await? {
        return Err(LoadError::Deployment(
            "the contracts did not get into blocks in time; raise --drain, or see whether the node makes blocks"
                .to_owned(),
        ));
    }
    let receipts: Vec<Call> = hashes
        .iter()
        .map(|hash| Call::new("eth_getTransactionReceipt", json!([hash])))
        .collect();
    for (step, receipt) in (first..).zip(connection.batch(&receipts).await?) {
        let (_, success, _) = read_receipt(&receipt?)?;
        if !success {
            return Err(LoadError::Deployment(format!("step {step} reverted")));
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
