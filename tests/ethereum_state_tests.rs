//! Ethereum's state tests: one transaction on a given state, through locks and cells.
//!
//! Every case starts from the signed bytes of its transaction: they are decoded, the sender is recovered, and the
//! transaction runs serially with its accesses recorded, then in parallel on one worker and on four. State root, logs
//! hash and, if the fixture has a receipt, gas and status are compared with the fixture. A transaction that must be
//! refused must be refused for the fixture's reason and leave the state unchanged.
//!
//! The archive is `state_tests.tar.zst` in `LOCKWEAVE_FIXTURES`. The last line is the count.

mod conformance;

use alloy_consensus::{Header, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{Buf, Header as RlpHeader};
use conformance::{
    archive::Fixture,
    durable::{DurableChain, Sample, WithBlockHashes},
    engine::Engine,
    exception::{self, Refusal},
    fork,
    report::{Listed, Report},
    state::{self, FixtureAccount},
    suite::{self, Suite},
};
use lockweave::{
    MemoryState, StateView, Step,
    evm::{BlockContext, ChainSpec, EvmTransaction, SpecId, recover_sender},
};
use serde::Deserialize;
use std::{collections::BTreeMap, error::Error, process::ExitCode, sync::Arc};

const SUITE: Suite = Suite {
    name: "ethereum_state_tests",
    archive: "state_tests.tar.zst",
    own: (
        "own_state_tests.json",
        include_str!("conformance/own_state_tests.json"),
    ),
    sample: 16,
    notes: &[
        "All cases run in memory, one in 16 on the accounts database too; with `LOCKWEAVE_ON_DISK=1` all.",
        "Constantinople is run as Petersburg: revm has no rules for EIP-1283 (net gas metering), which no \
         public chain ever ran. The fixtures' cases of Constantinople pass by these rules.",
    ],
};

/// Cases that are known not to pass: path, test name, fork, data, gas and value index.
const LISTED: &[Listed] = &[];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateTest {
    env: Environment,
    pre: BTreeMap<Address, FixtureAccount>,
    transaction: SignedBy,
    post: BTreeMap<String, Vec<Post>>,
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Environment {
    #[serde(rename = "currentCoinbase")]
    coinbase: Address,
    #[serde(rename = "currentDifficulty")]
    difficulty: U256,
    #[serde(rename = "currentGasLimit")]
    gas_limit: U256,
    #[serde(rename = "currentNumber")]
    number: U256,
    #[serde(rename = "currentTimestamp")]
    timestamp: U256,
    #[serde(rename = "currentBaseFee")]
    base_fee: Option<U256>,
    #[serde(rename = "currentRandom")]
    random: Option<B256>,
    #[serde(rename = "currentExcessBlobGas")]
    excess_blob_gas: Option<U256>,
}

/// The sender. All other fields are in the signed bytes.
#[derive(Deserialize)]
struct SignedBy {
    sender: Option<Address>,
}

#[derive(Deserialize)]
struct Config {
    chainid: U256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Post {
    hash: B256,
    logs: B256,
    txbytes: Bytes,
    indexes: Indexes,
    #[serde(default)]
    expect_exception: Option<String>,
    #[serde(default)]
    receipt: Option<FixtureReceipt>,
}

#[derive(Deserialize)]
struct Indexes {
    data: usize,
    gas: usize,
    value: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FixtureReceipt {
    cumulative_gas_used: U256,
    status: bool,
}

fn main() -> ExitCode {
    SUITE.run(run_file)
}

/// Runs every case of a file.
fn run_file(engine: &mut Engine, file: &Fixture, sample: Sample) -> Report {
    let mut report = Report::default();
    let tests = suite::tests::<StateTest>(&mut report, file);
    for (name, test) in &tests {
        if test.post.values().all(Vec::is_empty) {
            let name = format!("{}: {name}", file.path);
            report.case(
                "unreadable",
                name,
                Err("it states no result".to_owned()),
                &[],
            );
        }
        for (fork, posts) in &test.post {
            for post in posts {
                let Indexes { data, gas, value } = post.indexes;
                let name = format!("{}: {name}: {fork}: {data}/{gas}/{value}", file.path);
                let is_durable = sample.has(&name);
                let result = suite::guarded(engine, |engine| {
                    run_case(engine, test, fork, post, is_durable)
                });
                report.case(fork, name, result, LISTED);
            }
        }
    }
    report
}

fn run_case(
    engine: &Engine,
    test: &StateTest,
    fork: &str,
    post: &Post,
    is_durable: bool,
) -> Result<(), String> {
    let spec = fork::spec(fork).ok_or_else(|| format!("the fork {fork} is not known"))?;
    let chain_id = test.config.as_ref().map_or(1, |config| config.chainid.to());
    let chain = ChainSpec::single_fork(chain_id, spec);
    let context = BlockContext::new(&chain, &header(&test.env, spec));
    let mut after = state::load(&test.pre);
    let refusal = match decode(post, spec, test.transaction.sender) {
        Ok(transaction) => {
            let steps = [Step::Transaction(transaction)];
            let mut before = after.clone();
            insert_block_hashes(&mut before, test.env.number.to());
            let view: Arc<dyn StateView> = Arc::new(before);
            let run = engine.run(&context, &steps, &view)?;
            if is_durable {
                let stored = stored_state(&chain, test).map_err(|error| error.to_string())?;
                if engine.run(&context, &steps, &stored.view)? != run {
                    return Err("on the accounts database the result differs".to_owned());
                }
            }
            match run {
                Ok(sealed) => {
                    let outcome = &sealed.outcomes[0];
                    check_receipt(post, outcome.gas_used, outcome.is_success())?;
                    equal(
                        "logs hash",
                        keccak256(alloy_rlp::encode(&outcome.logs)),
                        post.logs,
                    )?;
                    after.apply(&sealed.delta);
                    None
                }
                Err((_, invalid)) => Some(Refusal::Step(invalid)),
            }
        }
        Err(refusal) => Some(refusal),
    };
    match (&post.expect_exception, &refusal) {
        (None, None) => {}
        (Some(expected), Some(refusal)) => {
            if !exception::matches(expected, refusal) {
                return Err(format!(
                    "is to be refused for {expected}, was for {refusal:?}"
                ));
            }
        }
        (Some(expected), None) => return Err(format!("is to be refused for {expected}, was run")),
        (None, Some(refusal)) => return Err(format!("was refused: {refusal:?}")),
    }
    equal("state root", state::root(&after), post.hash)
}

fn check_receipt(post: &Post, gas_used: u64, succeeded: bool) -> Result<(), String> {
    let Some(receipt) = &post.receipt else {
        return Ok(());
    };
    equal(
        "gas used",
        U256::from(gas_used),
        receipt.cumulative_gas_used,
    )?;
    equal("status", succeeded, receipt.status)
}

fn equal<T: Copy + PartialEq + std::fmt::Display>(
    what: &str,
    ours: T,
    expected: T,
) -> Result<(), String> {
    if ours == expected {
        Ok(())
    } else {
        Err(format!("the {what} is {ours}, the fixture has {expected}"))
    }
}

/// The header of the block that the transaction is in.
fn header(env: &Environment, spec: SpecId) -> Header {
    let from = |fork, value: Option<U256>| {
        let value: u64 = value.unwrap_or_default().to();
        spec.is_enabled_in(fork).then_some(value)
    };
    let merged = spec.is_enabled_in(SpecId::MERGE);
    Header {
        number: env.number.to(),
        timestamp: env.timestamp.to(),
        beneficiary: env.coinbase,
        gas_limit: env.gas_limit.saturating_to(),
        difficulty: if merged { U256::ZERO } else { env.difficulty },
        mix_hash: env.random.unwrap_or_default(),
        base_fee_per_gas: from(SpecId::LONDON, env.base_fee),
        excess_blob_gas: from(SpecId::CANCUN, env.excess_blob_gas),
        ..Header::default()
    }
}

/// State tests have no chain: a block's hash is the hash of its decimal number.
fn block_hashes(number: u64) -> impl Iterator<Item = (u64, B256)> {
    (number.saturating_sub(256)..number).map(|earlier| (earlier, keccak256(earlier.to_string())))
}

fn insert_block_hashes(state: &mut MemoryState, number: u64) {
    for (earlier, hash) in block_hashes(number) {
        state.insert_block_hash(earlier, hash);
    }
}

/// The state before a case, in an accounts database.
struct Stored {
    view: Arc<dyn StateView>,
    /// Kept open: the view reads from it.
    _chain: DurableChain,
}

fn stored_state(chain: &ChainSpec, test: &StateTest) -> Result<Stored, Box<dyn Error>> {
    let chain = DurableChain::new(chain.clone(), &Header::default(), &test.pre)?;
    let view = WithBlockHashes {
        state: chain.state()?,
        hashes: block_hashes(test.env.number.to()).collect(),
    };
    Ok(Stored {
        view: Arc::new(view),
        _chain: chain,
    })
}

/// The transaction of a case from its signed bytes, as a node receives it.
fn decode(post: &Post, spec: SpecId, sender: Option<Address>) -> Result<EvmTransaction, Refusal> {
    let bytes = &post.txbytes;
    let envelope = TxEnvelope::decode_2718_exact(bytes).map_err(|error| {
        let creation = creating_type(bytes).map(Refusal::Creation);
        let fee = || has_large_fee(bytes).then_some(Refusal::Fee);
        let other = || Refusal::Bytes(error.to_string());
        creation.or_else(fee).unwrap_or_else(other)
    })?;
    let homestead = spec.is_enabled_in(SpecId::HOMESTEAD);
    let recovered = recover_sender(&envelope, homestead)
        .map_err(|error| Refusal::Signature(error.to_string()))?;
    match sender {
        Some(sender) if sender != recovered => Err(Refusal::Signature(format!(
            "signed by {recovered}, the fixture means {sender}"
        ))),
        _ => Ok(EvmTransaction::new(envelope, recovered)),
    }
}

/// The type of a blob or set-code transaction whose recipient, the sixth field, is empty.
fn creating_type(bytes: &[u8]) -> Option<u8> {
    let (kind @ (3 | 4), mut rest) = bytes.split_first().map(|(kind, rest)| (*kind, rest))? else {
        return None;
    };
    RlpHeader::decode(&mut rest).ok().filter(|list| list.list)?;
    for _ in 0..5 {
        let field = RlpHeader::decode(&mut rest).ok()?;
        rest.advance(field.payload_length);
    }
    (rest.first() == Some(&alloy_rlp::EMPTY_STRING_CODE)).then_some(kind)
}

/// Whether a transaction bids more than 128 bits can hold.
fn has_large_fee(bytes: &[u8]) -> bool {
    // The type, and the indices of the fee fields.
    let (kind, mut rest) = match bytes.split_first() {
        Some((kind @ 1..=4, rest)) => (*kind, rest),
        _ => (0, bytes),
    };
    let fees: &[usize] = match kind {
        0 => &[1],
        1 => &[2],
        2 | 4 => &[2, 3],
        _ => &[2, 3, 9],
    };
    if !RlpHeader::decode(&mut rest).is_ok_and(|list| list.list) {
        return false;
    }
    for field in 0.. {
        let Ok(header) = RlpHeader::decode(&mut rest) else {
            return false;
        };
        if fees.contains(&field) && !header.list && header.payload_length > 16 {
            return true;
        }
        if header.payload_length > rest.len() {
            return false;
        }
        rest.advance(header.payload_length);
    }
    false
}
