//! Clients that mean no good: whatever they send, they get an error and others are served.

use crate::support::{Draft, Setup, TestNode, number, signers, socket::Socket};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::{
    eip2718::Encodable2718,
    eip2930::{AccessList, AccessListItem},
};
use alloy_primitives::{Address, B256, Bytes};
use alloy_signer::SignerSync;
use lockweave_validator::{chain::dev, pool::PoolConfig};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_calls_in_a_batch_are_answered_in_their_order() {
    let node = TestNode::start().await;
    let methods = ["eth_chainId", "eth_blockNumber", "no_such", "eth_gasPrice"];
    let calls: Vec<Value> = (0..10_000)
        .map(|id| json!({"jsonrpc": "2.0", "id": id, "method": methods[id % 4], "params": []}))
        .collect();
    let answers = node.post_json(Value::from(calls).to_string()).await;
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 10_000);
    for (id, answer) in answers.iter().enumerate() {
        assert_eq!(answer["id"], id);
        assert_eq!(answer["error"].is_object(), id % 4 == 2, "{answer}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_subscriptions_are_all_told() {
    let node = TestNode::start().await;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let mut socket = Socket::open(&node).await;
        for _ in 0..1_000 {
            assert!(socket.subscribe(json!(["newHeads"])).await.is_string());
        }
        sockets.push(socket);
    }
    let raw = Draft::transfer(0, Address::repeat_byte(9)).sign(&signers()[0]);
    let receipt = node.receipt(node.send(&raw).await.unwrap()).await;
    for socket in &mut sockets {
        for _ in 0..1_000 {
            let told = socket.next().await;
            assert_eq!(told["params"]["result"]["hash"], receipt["blockHash"]);
        }
    }
    assert_eq!(node.ok("eth_chainId", json!([])).await, "0x539");
    node.stop().await;
}

/// Every cut of a transaction, and random changes of its bytes: an error, or another transaction that
/// nobody can pay for; never a block with something else in it.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_transactions_are_refused() {
    let node = TestNode::start().await;
    let signer = &signers()[0];
    let raw = Draft::transfer(0, Address::repeat_byte(9)).sign(signer);
    let mut mangled: Vec<Bytes> = (0..raw.len()).map(|cut| raw.slice(..cut)).collect();
    let changes = (0..raw.len(), 1_u8..=255);
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        prop::test_runner::TestRng::deterministic_rng(prop::test_runner::RngAlgorithm::ChaCha),
    );
    for _ in 0..1_000 {
        let (place, change) = changes.new_tree(&mut runner).unwrap().current();
        let mut bytes = raw.to_vec();
        bytes[place] ^= change;
        mangled.push(bytes.into());
    }
    let calls: Vec<Value> = (mangled.iter().enumerate())
        .map(|(id, raw)| {
            json!({"jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransaction", "params": [raw]})
        })
        .collect();
    let answers = node.post_json(Value::from(calls).to_string()).await;
    for answer in answers.as_array().unwrap() {
        let text = answer["error"]["message"].as_str();
        assert!(text.is_some_and(|text| !text.is_empty()), "{answer}");
    }
    assert_eq!(
        node.receipt(node.send(&raw).await.unwrap()).await["status"],
        "0x1"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_access_lists_are_too_large_or_too_dear() {
    let node = TestNode::start().await;
    let signer = &signers()[0];
    let sign = |keys: usize, gas_limit| -> Bytes {
        let unsigned = TxEip1559 {
            chain_id: dev::CHAIN_ID,
            gas_limit,
            max_fee_per_gas: 10_000_000_000,
            to: Address::repeat_byte(9).into(),
            access_list: AccessList(vec![AccessListItem {
                address: Address::repeat_byte(7),
                storage_keys: vec![B256::with_last_byte(1); keys],
            }]),
            ..TxEip1559::default()
        };
        let signature = signer.sign_hash_sync(&unsigned.signature_hash()).unwrap();
        TxEnvelope::from(unsigned.into_signed(signature))
            .encoded_2718()
            .into()
    };
    for (keys, gas, expected) in [
        (100_000, 30_000_000, "oversized data"),
        (3_000, 1_000_000, "intrinsic gas too low"),
    ] {
        let refused = node.send(&sign(keys, gas)).await.unwrap_err();
        let text = refused["message"].as_str().unwrap();
        assert!(text.contains(expected), "{text}");
    }
    let list = json!([{"address": Address::ZERO, "storageKeys": vec![B256::ZERO; 100_000]}]);
    let call = json!({"to": Address::ZERO, "accessList": list, "gas": "0x5208"});
    let (code, text) = node.error("eth_call", json!([call])).await;
    assert!(code == -32_000 && text.contains("gas"), "{text}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_nonces_from_one_sender_leaves_room_for_others() {
    let node = TestNode::with(Setup {
        block_time: Duration::from_millis(200),
        pool: PoolConfig {
            transactions_max: 100,
            transactions_per_sender_max: 50,
            queued_per_sender_max: 20,
            ..PoolConfig::default()
        },
        ..Setup::default()
    })
    .await;
    let [flooder, other] = [&signers()[0], &signers()[1]];
    // Behind a gap, so that no block takes them.
    let mut refused = 0;
    for nonce in 1..=200 {
        let raw = Draft::transfer(nonce, Address::repeat_byte(9)).sign(flooder);
        if let Err(error) = node.send(&raw).await {
            let text = error["message"].as_str().unwrap();
            assert!(text.contains("nonce gap"), "{text}");
            refused += 1;
        }
    }
    assert_eq!(refused, 180);
    let status = node.ok("txpool_status", json!([])).await;
    assert_eq!(number(&status["queued"]), 20);
    let raw = Draft::transfer(0, Address::repeat_byte(9)).sign(other);
    let receipt = node.receipt(node.send(&raw).await.unwrap()).await;
    assert_eq!(receipt["status"], "0x1");
    node.stop().await;
}
