//! Blocks of transactions that declare nothing: simulations are taken as executions, and who leaves
//! its set is repaired within the block.

use crate::support::{Draft, Setup, TestNode, number, parameters, signers};
use alloy_genesis::{Genesis, GenesisAccount};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use lockweave_validator::chain::{ChainParameters, execution::execute_given};
use serde_json::{Value, json};
use std::{ops::Range, sync::Arc};

const CONTRACT: Address = Address::repeat_byte(0xcc);
/// Where the list of callers begins.
const LIST: u64 = 1_000;

fn with_contract(code: &[u8]) -> ChainParameters {
    let mut genesis = Genesis::clone(&parameters([]).genesis);
    let account = GenesisAccount::default().with_code(Some(Bytes::copy_from_slice(code)));
    genesis.alloc.insert(CONTRACT, account);
    ChainParameters::new(genesis).unwrap()
}

fn call_of(nonce: u64) -> Draft {
    Draft {
        gas: 400_000,
        value: U256::ZERO,
        input: vec![1; 7].into(),
        ..Draft::transfer(nonce, CONTRACT)
    }
}

/// Short blocks would run in order, where nobody leaves a set.
fn under_locks() -> Setup {
    Setup {
        sequential_below: 0,
        ..Setup::default()
    }
}

/// Calls of the contract by every signer with these nonces, handed over at once; their receipts.
async fn call(node: &TestNode, nonces: Range<u64>) -> Vec<Value> {
    send(node, nonces, call_of).await
}

/// Transactions by every signer with these nonces, handed over at once; their receipts.
async fn send(node: &TestNode, nonces: Range<u64>, draft: fn(u64) -> Draft) -> Vec<Value> {
    let signers = signers();
    let raws: Vec<Bytes> = nonces
        .flat_map(|nonce| signers.iter().map(move |signer| (nonce, signer)))
        .map(|(nonce, signer)| draft(nonce).sign(signer))
        .collect();
    let on = Arc::clone(&node.node);
    let hashes = tokio::task::spawn_blocking(move || on.submit(&raws)).await;
    let mut receipts = Vec::new();
    for hash in hashes.unwrap() {
        receipts.push(node.receipt(hash.unwrap()).await);
    }
    receipts
}

/// Runs every block again, one transaction after another, and holds the receipts against each other.
fn check_serially(node: &TestNode, parameters: &ChainParameters) {
    let store = node.node.store();
    for number in 1..=store.head().number() {
        let block = store.block(number).unwrap().unwrap();
        let before = store.state_at(number - 1).unwrap();
        let again = execute_given(parameters, &before, block.to_consensus(), &|_| {
            Ok(B256::ZERO)
        })
        .unwrap();
        assert_eq!(again.block.receipts, block.receipts, "block {number}");
    }
}

async fn slot(node: &TestNode, slot: u64) -> U256 {
    let at = json!([CONTRACT, format!("{slot:#x}"), "latest"]);
    let value: B256 = serde_json::from_value(node.ok("eth_getStorageAt", at).await).unwrap();
    value.into()
}

/// What the runs of all blocks counted.
async fn counted(node: &TestNode, name: &str) -> u64 {
    let mut total = 0;
    for number in 1..=node.node.head().block.number() {
        let block = json!([format!("{number:#x}")]);
        let explained = node.ok("lockweave_explainBlock", block).await;
        total += explained["run"][name].as_u64().unwrap();
    }
    total
}

#[tokio::test(flavor = "multi_thread")]
async fn simulations_that_hold_are_the_executions() {
    // CALLDATASIZE CALLER SSTORE
    let parameters = with_contract(&hex!("36 33 55"));
    let node = TestNode::on(under_locks(), parameters.clone(), None).await;
    for receipt in call(&node, 0..2).await {
        assert_eq!(receipt["status"], "0x1");
    }
    check_serially(&node, &parameters);
    // Every sender's first transaction, at least: the second waits for a nonce.
    assert!(counted(&node, "simulationsTaken").await >= 10);
    let simulated = counted(&node, "setsBySimulation").await;
    assert!(simulated >= 10);
    assert!(simulated + counted(&node, "setsByTemplate").await >= 20);
    assert_eq!(counted(&node, "violations").await, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_payments_need_no_locks() {
    let parameters = parameters([]);
    let setup = Setup {
        payments_from: 1,
        ..Setup::default()
    };
    let node = TestNode::on(setup, parameters.clone(), None).await;
    let pay = |nonce| Draft::transfer(nonce, CONTRACT);
    let receipts = send(&node, 0..8, pay).await;
    check_serially(&node, &parameters);
    let paid = counted(&node, "paymentsWithoutLocks").await;
    assert_eq!(paid, receipts.len() as u64);
    let first = node.ok("lockweave_explainBlock", json!(["0x1"])).await;
    // What payments touched is known all the same.
    assert!(
        !first["hottestKeys"].as_array().unwrap().is_empty(),
        "{first}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_whose_keys_follow_from_each_other_come_to_what_they_would_one_by_one() {
    // A list that callers append themselves to: SLOAD(0) says where, so no simulation is right but
    // the first. PUSH0 SLOAD CALLER DUP2 PUSH2 LIST ADD SSTORE PUSH1 1 ADD PUSH0 SSTORE
    let parameters = with_contract(&hex!("5f 54 33 81 61 03e8 01 55 6001 01 5f 55"));
    let node = TestNode::on(under_locks(), parameters.clone(), None).await;
    let mut receipts = call(&node, 0..6).await;
    receipts.sort_by_key(|receipt| {
        (
            number(&receipt["blockNumber"]),
            number(&receipt["transactionIndex"]),
        )
    });
    assert_eq!(slot(&node, 0).await, U256::from(receipts.len()));
    for (place, receipt) in (LIST..).zip(&receipts) {
        assert_eq!(receipt["status"], "0x1");
        let caller: Address = serde_json::from_value(receipt["from"].clone()).unwrap();
        assert_eq!(
            slot(&node, place).await,
            U256::from_be_slice(caller.as_slice())
        );
    }
    check_serially(&node, &parameters);
    let extended = counted(&node, "setsExtended").await;
    assert!(extended + counted(&node, "violations").await > 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_is_wrong_is_mended() {
    // With input: CALLDATASIZE CALLER PUSH0 SLOAD ISZERO PUSH1 14 JUMPI NOT JUMPDEST SSTORE, so the key is
    // the caller while slot 0 holds nothing, and then its complement. Without: PUSH1 5 PUSH0 SSTORE. And before
    // either PUSH3 30000 PUSH0 KECCAK256 POP, so that the calls of one caller cost enough to be looked at.
    let code = hex!(
        "62 030000 5f 20 50 36 15 60 18 57 36 33 5f 54 15 60 15 57 19 5b 55 00 5b 60 05 5f 55"
    );
    let parameters = with_contract(&code);
    let node = TestNode::on(under_locks(), parameters.clone(), None).await;
    for receipt in call(&node, 0..12).await {
        assert_eq!(receipt["status"], "0x1");
    }
    assert!(counted(&node, "setsByTemplate").await >= 50);
    assert_eq!(counted(&node, "violations").await, 0);
    let turn = Draft {
        gas: 400_000,
        value: U256::ZERO,
        ..Draft::transfer(12, CONTRACT)
    };
    let hashes = node.node.submit(&[turn.sign(&signers()[0])]);
    node.receipt(*hashes[0].as_ref().unwrap()).await;
    let mut nonces = [12; 10];
    nonces[0] = 13;
    // The first of each caller at last: whichever it is, all others of that caller can run at once.
    let raws = |later: Range<u64>| -> Vec<Bytes> {
        let callers = signers().into_iter().zip(nonces);
        let calls = callers.flat_map(|(signer, nonce)| {
            let calls = later.clone().map(move |later| call_of(nonce + later));
            calls.map(move |call| call.sign(&signer))
        });
        calls.collect()
    };
    let mut hashes = node.node.submit(&raws(1..40));
    hashes.append(&mut node.node.submit(&raws(0..1)));
    for hash in hashes {
        let receipt = node.receipt(hash.unwrap()).await;
        assert_eq!(receipt["status"], "0x1");
    }
    for signer in signers() {
        let key = !U256::from_be_slice(signer.address().as_slice());
        let at = json!([CONTRACT, format!("{key:#x}"), "latest"]);
        let value: B256 = serde_json::from_value(node.ok("eth_getStorageAt", at).await).unwrap();
        assert_eq!(U256::from_be_bytes(value.0), U256::from(7));
    }
    let extended = counted(&node, "setsExtended").await;
    assert!(extended + counted(&node, "violations").await > 0);
    check_serially(&node, &parameters);
    node.stop().await;
}
