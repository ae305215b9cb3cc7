//! Transactions over JSON-RPC: what is refused and how, what is included and how it is told.

use crate::support::{Draft, GAS_PRICE, Setup, TestNode, ask, number, sign_declared, signers};
use alloy_primitives::{Address, U256};
use lockweave_evm_adapter::TxDeclared;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_words_clients_match_on() {
    let node = TestNode::with(Setup {
        block_time: Duration::from_hours(1),
        ..Setup::default()
    })
    .await;
    let signer = &signers()[0];
    let to = Address::repeat_byte(9);
    let first = Draft::transfer(0, to).sign(signer);
    node.send(&first).await.unwrap();
    let poor = alloy_signer_local::PrivateKeySigner::from_bytes(&[7; 32].into()).unwrap();
    let cheap = Draft {
        max_fee: GAS_PRICE + 1,
        ..Draft::transfer(0, to)
    };
    let little = Draft {
        gas: 20_999,
        ..Draft::transfer(1, to)
    };
    let much = Draft {
        gas: u64::MAX,
        ..Draft::transfer(1, to)
    };
    let upside_down = Draft {
        tip: GAS_PRICE + 1,
        ..Draft::transfer(1, to)
    };
    for (raw, expected) in [
        (first.clone(), "already known"),
        (cheap.sign(signer), "replacement transaction underpriced"),
        (
            Draft::transfer(0, to).sign(&poor),
            "insufficient funds for gas * price + value",
        ),
        (little.sign(signer), "intrinsic gas too low"),
        (much.sign(signer), "exceeds block gas limit"),
        (
            upside_down.sign(signer),
            "max priority fee per gas higher than max fee per gas",
        ),
    ] {
        let error = node.send(&raw).await.unwrap_err();
        assert_eq!(error["code"], -32_000, "{expected}");
        let text = error["message"].as_str().unwrap();
        assert!(text.starts_with(expected), "{text} is not {expected}");
    }
    let status = node.ok("txpool_status", json!([])).await;
    assert_eq!(status, json!({"pending": "0x1", "queued": "0x0"}));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_nonce_is_too_low_and_a_missing_one_is_waited_for() {
    let node = TestNode::start().await;
    let signer = &signers()[0];
    let to = Address::repeat_byte(9);
    let behind = node
        .send(&Draft::transfer(1, to).sign(signer))
        .await
        .unwrap();
    let pending = ask!(node, "eth_getTransactionCount", signer.address(), "pending");
    assert_eq!(pending, "0x0");
    node.send(&Draft::transfer(0, to).sign(signer))
        .await
        .unwrap();
    let receipt = node.receipt(behind).await;
    assert_eq!(receipt["status"], "0x1");
    let again = Draft {
        value: U256::from(2),
        ..Draft::transfer(0, to)
    };
    let error = node.send(&again.sign(signer)).await.unwrap_err();
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("nonce too low"),
        "{error}"
    );
    assert_eq!(number(&node.ok("eth_getBalance", json!([to])).await), 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contracts_are_deployed_called_traced_and_found() {
    let node = TestNode::start().await;
    let signer = &signers()[1];
    let receipt = node.deploy_counter(signer, 0).await;
    assert_eq!(receipt["status"], "0x1");
    let contract: Address = serde_json::from_value(receipt["contractAddress"].clone()).unwrap();
    let call = |nonce, value| Draft {
        gas: 100_000,
        value: U256::from(value),
        ..Draft::transfer(nonce, contract)
    };
    let called = node.send(&call(1, 0).sign(signer)).await.unwrap();
    let reverted = node.send(&call(2, 5).sign(signer)).await.unwrap();
    assert_eq!(
        node.receipt(called).await["logs"].as_array().unwrap().len(),
        1
    );
    let receipt = node.receipt(reverted).await;
    assert_eq!(
        (
            &receipt["status"],
            receipt["logs"].as_array().unwrap().len()
        ),
        (&json!("0x0"), 0)
    );
    let slot = ask!(node, "eth_getStorageAt", contract, "0x0", "latest");
    assert_eq!(number(&slot), 1);
    let logs = ask!(node, "eth_getLogs", {"fromBlock": "earliest", "address": contract});
    assert_eq!(logs.as_array().unwrap().len(), 1);
    assert_eq!(logs[0]["transactionHash"], json!(called));
    let nothing = node
        .ok(
            "eth_getLogs",
            json!([{"fromBlock": "earliest", "topics": [format!("0x{:064x}", 8)]}]),
        )
        .await;
    assert_eq!(nothing, json!([]));
    let error = node
        .call(
            "eth_call",
            json!([{"to": contract, "value": "0x5", "from": signer.address()}, "latest"]),
        )
        .await
        .unwrap_err();
    assert_eq!(
        (&error["code"], &error["data"]),
        (&json!(3), &json!("0x6e6f"))
    );
    let estimate = ask!(node, "eth_estimateGas", {"to": contract, "from": signer.address()});
    let used = number(&node.receipt(called).await["gasUsed"]);
    assert!(
        number(&estimate) < used + used / 10,
        "{estimate} for {used}"
    );
    look_inside(&node, signer.address(), contract, called, reverted, used).await;
    let historic = ask!(
        node,
        "eth_getStorageAt",
        contract,
        "0x0",
        receipt["blockNumber"]
    );
    assert_eq!(number(&historic), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_wins_and_the_replaced_says_so() {
    let node = TestNode::with(Setup {
        block_time: Duration::from_millis(1_500),
        ..Setup::default()
    })
    .await;
    let signer = &signers()[0];
    let to = Address::repeat_byte(9);
    // The first is far too cheap for a block, so it waits to be replaced.
    let cheap = Draft {
        max_fee: 1_000,
        tip: 1,
        ..Draft::transfer(0, to)
    };
    let old = node.send(&cheap.sign(signer)).await.unwrap();
    let new = node
        .send(&Draft::transfer(0, to).sign(signer))
        .await
        .unwrap();
    node.receipt(new).await;
    let status = node.ok("lockweave_transactionStatus", json!([old])).await;
    assert_eq!(status["status"], "dropped");
    assert!(
        status["reason"]
            .as_str()
            .unwrap()
            .contains(&new.to_string()),
        "{status}"
    );
    let gone = node.ok("eth_getTransactionByHash", json!([old])).await;
    assert!(gone.is_null());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_explain_themselves() {
    let node = TestNode::with(Setup {
        block_time: Duration::from_millis(300),
        ..Setup::default()
    })
    .await;
    let to = Address::repeat_byte(9);
    let mut hashes = Vec::new();
    for signer in &signers()[..4] {
        for nonce in 0..3 {
            hashes.push(
                node.send(&Draft::transfer(nonce, to).sign(signer))
                    .await
                    .unwrap(),
            );
        }
    }
    let mut explained = 0;
    let mut numbers = Vec::new();
    for hash in hashes {
        numbers.push(number(&node.receipt(hash).await["blockNumber"]));
    }
    numbers.dedup();
    for block in numbers {
        let explanation = ask!(node, "lockweave_explainBlock", format!("0x{block:x}"));
        explained += explanation["transactions"].as_u64().unwrap();
        let parallelism = explanation["attainableParallelism"].as_f64().unwrap();
        assert!((1.0..=4.0).contains(&parallelism), "{explanation}");
    }
    assert_eq!(explained, 12);
    node.stop().await;
}

/// Traces, access lists and declarations of a contract that was called.
async fn look_inside(
    node: &TestNode,
    sender: Address,
    contract: Address,
    called: alloy_primitives::B256,
    reverted: alloy_primitives::B256,
    used: u128,
) {
    let trace = ask!(node, "debug_traceTransaction", reverted, {"tracer": "callTracer"});
    assert_eq!(trace["error"], "execution reverted");
    let prestate = ask!(node, "debug_traceTransaction", called, {"tracer": "prestateTracer"});
    assert!(
        prestate.get(contract.to_string().to_lowercase()).is_some(),
        "{prestate}"
    );
    let steps = node.ok("debug_traceTransaction", json!([called])).await;
    assert_eq!(
        number(&json!(format!("0x{:x}", steps["gas"].as_u64().unwrap()))),
        used
    );
    let list = ask!(node, "eth_createAccessList", {"to": contract, "from": sender});
    assert_eq!(
        list["accessList"][0]["storageKeys"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let declared = ask!(node, "lockweave_declareAccess", {"to": contract, "from": sender});
    assert_eq!(
        declared["writes"].as_array().unwrap().len(),
        2,
        "{declared}"
    );
}

/// What `lockweave_declareAccess` gives can be signed and sent; a declaration that leaves something out
/// costs all its gas.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_sign_what_they_touch_run() {
    let node = TestNode::start().await;
    let signer = &signers()[2];
    let receipt = node.deploy_counter(signer, 0).await;
    let contract = receipt["contractAddress"].clone();
    let call = json!({"from": signer.address(), "to": contract, "gas": "0x186a0", "maxFeePerGas": "0x2540be400"});
    let declared = node.ok("lockweave_declareAccess", json!([call])).await;
    let mut unsigned: TxDeclared = serde_json::from_value(declared["transaction"].clone()).unwrap();
    let receipt = node
        .receipt(node.send(&sign_declared(&unsigned, signer)).await.unwrap())
        .await;
    assert_eq!(
        (&receipt["status"], &receipt["type"]),
        (&json!("0x1"), &json!("0x44"))
    );
    unsigned.nonce += 1;
    unsigned.writes = alloy_eips::eip2930::AccessList::default();
    let receipt = node
        .receipt(node.send(&sign_declared(&unsigned, signer)).await.unwrap())
        .await;
    assert_eq!(receipt["status"], "0x0");
    assert_eq!(number(&receipt["gasUsed"]), u128::from(unsigned.gas_limit));
    // It is told which key it did not sign for, and everywhere the same.
    let reason = &receipt["failureReason"];
    let text = reason.as_str().unwrap();
    let key = serde_json::from_value::<Address>(contract.clone()).unwrap();
    assert!(
        text.contains("read slot") && text.contains(&key.to_string()),
        "{text}"
    );
    let hash = &receipt["transactionHash"];
    let status = node.ok("lockweave_transactionStatus", json!([hash])).await;
    assert_eq!(status["failureReason"], *reason);
    let explained = node.ok("lockweave_explainBlock", json!([receipt["blockNumber"]]));
    assert_eq!(explained.await["failures"][0]["reason"], *reason);
    let touched = node.ok("eth_getBlockAccessList", json!([receipt["blockNumber"]]));
    let touched = touched.await;
    let of = |address: &Value| {
        let accounts = touched.as_array().unwrap().iter();
        let mut found = accounts.filter(|account| account["address"] == *address);
        found.next().cloned()
    };
    // It paid, and nothing else happened.
    let paid = of(&json!(signer.address())).unwrap();
    assert_eq!(paid["nonceChanges"][0]["value"], "0x3", "{touched}");
    assert_eq!(of(&contract), None, "{touched}");
    let tracer = json!({"tracer": "callTracer"});
    let trace = node.ok("debug_traceTransaction", json!([hash, tracer]));
    assert_eq!(trace.await["error"], *reason);
    let shown = ask!(node, "eth_getTransactionByHash", receipt["transactionHash"]);
    assert_eq!(shown["type"], "0x44", "{shown}");
    node.stop().await;
}
