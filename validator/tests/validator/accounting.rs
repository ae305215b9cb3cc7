//! Books: over thousands of transactions from many senders, with reverts, replacements and nonce gaps,
//! every one ends in exactly one block or is refused with a reason, balances and fees agree to
//! the wei, and what is on disk is what executing the chain again comes to.

use crate::support::{
    Draft, GAS_PRICE, Setup, TestNode, parameters,
    process::{output, validator},
    signers,
};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer_local::PrivateKeySigner;
use lockweave_runtime::StateView;
use lockweave_validator::store::{Datadir, DurableStore, Retention};
use serde_json::json;
use std::{collections::BTreeSet, env, str::FromStr, sync::Arc, time::Duration};

fn asked<T: FromStr>(name: &str, default: T) -> T {
    let asked = env::var(name).ok();
    asked
        .and_then(|count| count.parse().ok())
        .unwrap_or(default)
}

/// `LOCKWEAVE_SENDERS` asks for more.
fn sender_count() -> u16 {
    asked("LOCKWEAVE_SENDERS", 40)
}

/// Nonces of each sender in a round.
const EACH: u64 = 60;

/// `LOCKWEAVE_ROUNDS` asks for more.
fn round_count() -> u64 {
    asked("LOCKWEAVE_ROUNDS", 1)
}

fn senders() -> Vec<PrivateKeySigner> {
    (1..=sender_count())
        .map(|number| {
            let mut key = [0; 32];
            key[4..6].copy_from_slice(&number.to_be_bytes());
            PrivateKeySigner::from_bytes(&key.into()).unwrap()
        })
        .collect()
}

fn total(state: &dyn StateView, who: &BTreeSet<Address>) -> U256 {
    let balance = |address: &Address| state.account(*address).unwrap().unwrap_or_default().balance;
    who.iter().map(balance).sum()
}

/// What a sender sends in a round, in nonce order; some nonces twice, the second time with higher bids.
fn transactions(
    round: u64,
    place: usize,
    senders: &[PrivateKeySigner],
    contracts: &[Address],
) -> Vec<Bytes> {
    let fees = Address::repeat_byte(0xbe);
    let mut raws = Vec::new();
    for nonce in round * EACH..(round + 1) * EACH {
        let call = |gas, value, contract: usize| Draft {
            gas,
            value: U256::from(value),
            ..Draft::transfer(nonce, contracts[contract])
        };
        let draft = match (nonce + place as u64) % 6 {
            0 => Draft::transfer(nonce, senders[(place + 1) % senders.len()].address()),
            1 => call(100_000, 0, 1),
            2 => call(100_000, 0, 0),
            // It reverts.
            3 => call(100_000, 1, 0),
            // Too little gas: it halts, and costs what it has.
            4 => call(22_000, 0, 1),
            _ => Draft::transfer(nonce, fees),
        };
        raws.push(draft.sign(&senders[place]));
        if nonce % 10 == 9 {
            // It may be replaced, or be too late; either way it is told.
            let replacement = Draft {
                max_fee: GAS_PRICE * 2,
                tip: 2_000_000_000,
                value: U256::from(2),
                ..Draft::transfer(nonce, fees)
            };
            raws.push(replacement.sign(&senders[place]));
        }
    }
    // In no order: gaps open and close.
    raws.rotate_left(place % 7);
    raws
}

/// Sends everything in batches; the hashes that were taken, and how many were not.
async fn send_all(
    node: &TestNode,
    round: u64,
    senders: &[PrivateKeySigner],
    contracts: &[Address],
) -> (BTreeSet<B256>, usize) {
    let (mut sent, mut refused) = (BTreeSet::new(), 0);
    for place in 0..senders.len() {
        let calls: Vec<_> = transactions(round, place, senders, contracts)
            .into_iter()
            .map(|raw| json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw]}))
            .collect();
        let answers = node.post_json(json!(calls).to_string()).await;
        for answer in answers.as_array().unwrap() {
            if let Ok(hash) = serde_json::from_value(answer["result"].clone()) {
                sent.insert(hash);
            } else {
                let text = answer["error"]["message"].as_str().unwrap();
                assert!(text.starts_with("nonce too low"), "{text}");
                refused += 1;
            }
        }
    }
    (sent, refused)
}

/// Two counters: everybody writes the same slots.
async fn deploy_counters(node: &TestNode) -> Vec<Address> {
    let deployer = &signers()[0];
    let mut contracts = Vec::new();
    for nonce in 0..2 {
        let receipt = node.deploy_counter(deployer, nonce).await;
        contracts.push(serde_json::from_value(receipt["contractAddress"].clone()).unwrap());
    }
    contracts
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transaction_and_every_wei_is_accounted_for() {
    let senders = senders();
    let chain = parameters(senders.iter().map(PrivateKeySigner::address));
    let setup = Setup {
        block_time: Duration::from_millis(50),
        ..Setup::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let datadir = Datadir::open(folder.path()).unwrap();
    datadir.init(&chain).unwrap();
    let store = DurableStore::open(datadir, &chain, Retention::everything()).unwrap();
    let node = TestNode::on(setup, chain, Some(Arc::new(store))).await;
    let contracts = deploy_counters(&node).await;
    let mut everybody: BTreeSet<Address> = senders.iter().map(PrivateKeySigner::address).collect();
    everybody.extend(signers().iter().map(PrivateKeySigner::address));
    everybody.extend(contracts.iter().copied());
    everybody.insert(Address::repeat_byte(0xbe));
    let before = total(&*node.node.head().state, &everybody);
    let first_block = node.node.head().block.number();

    let (mut sent, mut refused) = (BTreeSet::new(), 0);
    let nonces = round_count() * EACH;
    for round in 0..round_count() {
        let (hashes, late) = send_all(&node, round, &senders, &contracts).await;
        sent.extend(hashes);
        refused += late;
        let empty = json!({"pending": "0x0", "queued": "0x0"});
        for _ in 0..4_000 {
            if node.ok("txpool_status", json!([])).await == empty {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert!(refused <= sent.len() / 10);

    let head = node.node.head();
    let mut included = BTreeSet::new();
    let mut burnt = U256::ZERO;
    for number in first_block + 1..=head.block.number() {
        let block = node.node.store().block(number).unwrap().unwrap();
        let base_fee = U256::from(block.header.base_fee_per_gas.unwrap());
        burnt += base_fee * U256::from(block.header.gas_used);
        for transaction in &block.transactions {
            assert!(included.insert(transaction.hash()), "twice in a block");
        }
    }
    let mut dropped = 0;
    for hash in sent.difference(&included) {
        let status = node.ok("lockweave_transactionStatus", json!([hash])).await;
        assert_eq!(status["status"], "dropped", "{hash}: {status}");
        dropped += 1;
    }
    assert_eq!(included.len() + dropped, sent.len());
    // Every nonce was used once, by one of the two that had it.
    for signer in &senders {
        let account = head.state.account(signer.address()).unwrap().unwrap();
        assert_eq!(account.nonce, nonces);
    }
    assert_eq!(included.len() as u64, u64::from(sender_count()) * nonces);
    assert_eq!(total(&*head.state, &everybody) + burnt, before);
    println!(
        "{} taken, of which {dropped} were replaced or too late, and {refused} refused; {} in blocks {} to {}",
        sent.len(),
        included.len(),
        first_block + 1,
        head.block.number(),
    );
    drop(head);
    node.stop().await;
    let verified = output(validator().args(["verify", "--datadir"]).arg(folder.path()));
    let text = String::from_utf8_lossy(&verified.stdout);
    assert!(
        verified.status.success() && text.starts_with("right: "),
        "{text}"
    );
    print!("{text}");
}
