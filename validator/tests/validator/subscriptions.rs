//! Subscriptions over WebSocket, and filters over HTTP.

use crate::support::{Draft, Setup, TestNode, ask, signers, socket::Socket};
use alloy_primitives::Address;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn heads_logs_and_pending_transactions_are_told() {
    let node = TestNode::start().await;
    let signer = &signers()[0];
    let receipt = node.deploy_counter(signer, 0).await;
    let contract = receipt["contractAddress"].clone();
    let mut socket = Socket::open(&node).await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    let logs = socket
        .subscribe(json!(["logs", {"address": contract}]))
        .await;
    let other = socket
        .subscribe(json!(["logs", {"address": Address::ZERO}]))
        .await;
    let pending = socket.subscribe(json!(["newPendingTransactions"])).await;
    assert_eq!(
        [&heads, &logs, &other, &pending]
            .iter()
            .filter(|id| id.is_string())
            .count(),
        4
    );
    let call = Draft::call(1, serde_json::from_value(contract).unwrap());
    let hash = json!(node.send(&call.sign(signer)).await.unwrap());
    // Three notifications, in whatever order.
    let mut seen = std::collections::BTreeMap::new();
    while seen.len() < 3 {
        let message = socket.next().await;
        let id = message["params"]["subscription"]
            .as_str()
            .unwrap()
            .to_owned();
        seen.insert(id, message["params"]["result"].clone());
    }
    assert_eq!(seen[pending.as_str().unwrap()], hash);
    assert_eq!(seen[logs.as_str().unwrap()]["transactionHash"], hash);
    assert_eq!(seen[heads.as_str().unwrap()]["number"], "0x2");
    assert_eq!(
        socket.call("eth_unsubscribe", json!([heads])).await["result"],
        true
    );
    assert_eq!(
        socket.call("eth_unsubscribe", json!([heads])).await["result"],
        false
    );
    let hash = json!(
        node.send(&Draft::transfer(2, Address::ZERO).sign(signer))
            .await
            .unwrap()
    );
    assert_eq!(socket.notified(&pending).await, hash);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_of_a_connection_are_bounded_and_end_with_it() {
    let node = TestNode::with(Setup {
        tune: |config| config.subscriptions_per_connection_max = 3,
        ..Setup::default()
    })
    .await;
    let mut socket = Socket::open(&node).await;
    for _ in 0..3 {
        assert!(socket.subscribe(json!(["newHeads"])).await.is_string());
    }
    let refused = socket.call("eth_subscribe", json!(["newHeads"])).await;
    assert_eq!(refused["error"]["code"], -32_005);
    let unknown = socket.call("eth_subscribe", json!(["weather"])).await;
    assert_eq!(unknown["error"]["code"], -32_602);
    drop(socket);
    let mut another = Socket::open(&node).await;
    assert_eq!(
        another.call("eth_chainId", json!([])).await["result"],
        "0x539"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_tell_what_came_since_the_last_poll() {
    let node = TestNode::with(Setup {
        tune: |config| config.filters_max = 3,
        ..Setup::default()
    })
    .await;
    let signer = &signers()[0];
    let blocks = node.ok("eth_newBlockFilter", json!([])).await;
    let pending = node.ok("eth_newPendingTransactionFilter", json!([])).await;
    let logs = ask!(node, "eth_newFilter", {"fromBlock": "0x0"});
    let (code, _) = node.error("eth_newBlockFilter", json!([])).await;
    assert_eq!(code, -32_005);
    let create = Draft::create_counter(0);
    let created = node.send(&create.sign(signer)).await.unwrap();
    let receipt = node.receipt(created).await;
    let call = Draft::call(
        1,
        serde_json::from_value(receipt["contractAddress"].clone()).unwrap(),
    );
    let called = node.send(&call.sign(signer)).await.unwrap();
    let receipt = node.receipt(called).await;
    let changes = |id| node.ok("eth_getFilterChanges", json!([id]));
    let hashes = changes(&blocks).await;
    assert_eq!(hashes[1], receipt["blockHash"]);
    assert_eq!(changes(&blocks).await, json!([]));
    assert_eq!(changes(&pending).await, json!([created, called]));
    assert_eq!(changes(&logs).await.as_array().unwrap().len(), 1);
    assert_eq!(changes(&logs).await, json!([]));
    let all = node.ok("eth_getFilterLogs", json!([logs])).await;
    assert_eq!(all[0]["transactionHash"], json!(called));
    assert_eq!(node.ok("eth_uninstallFilter", json!([logs])).await, true);
    assert_eq!(node.ok("eth_uninstallFilter", json!([logs])).await, false);
    let (code, text) = node.error("eth_getFilterChanges", json!([logs])).await;
    assert_eq!((code, text.as_str()), (-32_000, "filter not found"));
    node.stop().await;
}
