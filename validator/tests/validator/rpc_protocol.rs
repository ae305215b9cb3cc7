//! JSON-RPC as such: errors, batches, limits, hostile bodies.

use crate::support::{
    Draft, Setup, TestNode, ask,
    hooked_store::{HookedStore, Hooks},
    parameters, signers,
};
use alloy_primitives::{Address, Bytes};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn code(answer: &Value) -> i64 {
    answer["error"]["code"]
        .as_i64()
        .unwrap_or_else(|| panic!("no error: {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_codes_clients_know() {
    let node = TestNode::start().await;
    for (body, expected) in [
        (r#"{"jsonrpc":"#, -32_700),
        ("", -32_700),
        ("nonsense", -32_700),
        ("[]", -32_600),
        ("7", -32_600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32_600),
        (
            r#"{"jsonrpc":"3.0","id":1,"method":"eth_chainId"}"#,
            -32_600,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"no_such"}"#, -32_601),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#,
            -32_601,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance"}"#,
            -32_602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":{}}"#,
            -32_602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["0x12"]}"#,
            -32_602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0xzz"]}"#,
            -32_602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0x02c0"]}"#,
            -32_000,
        ),
    ] {
        let answer = node.post_json(body.to_owned()).await;
        assert_eq!(code(&answer), expected, "{body}: {answer}");
        assert_eq!(answer["jsonrpc"], "2.0", "{body}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_answered_in_order_and_notifications_not_at_all() {
    let node = TestNode::start().await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"},
        {"jsonrpc": "2.0", "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": "b", "method": "no_such"},
        5,
        {"jsonrpc": "2.0", "id": null, "method": "net_version"},
    ]);
    let answer = node.post_json(batch.to_string()).await;
    let ids: Vec<_> = answer
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(ids, [json!(1), json!("b"), json!(null), json!(null)]);
    assert_eq!(answer[0]["result"], "0x539");
    assert_eq!(code(&answer[1]), -32_601);
    assert_eq!(code(&answer[2]), -32_600);
    assert_eq!(answer[3]["result"], "1337");
    let (status, text) = node
        .post(r#"[{"jsonrpc":"2.0","method":"eth_chainId"}]"#)
        .await;
    assert_eq!((status, text.as_str()), (204, ""));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_limit_the_error_says_so_and_others_are_served() {
    let node = TestNode::with(Setup {
        tune: |config| {
            config.batch_calls_max = 100;
            config.request_bytes_max = 100_000;
            config.response_bytes_max = 10_000;
        },
        ..Setup::default()
    })
    .await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["0x0", false]});
    let answer = node
        .post_json(Value::from(vec![call.clone(); 101]).to_string())
        .await;
    assert_eq!(code(&answer), -32_005);
    // The answers that still fit are given; the rest say why not.
    let answer = node
        .post_json(Value::from(vec![call; 100]).to_string())
        .await;
    let answers = answer.as_array().unwrap();
    assert_eq!(answers.len(), 100);
    assert!(answers[0]["result"].is_object());
    assert_eq!(code(&answers[99]), -32_005);
    let (status, text) = node.post(vec![b'['; 200_000]).await;
    assert_eq!(status, 413);
    assert_eq!(code(&serde_json::from_str(&text).unwrap()), -32_005);
    assert_eq!(node.ok("eth_chainId", json!([])).await, "0x539");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_json_is_refused_and_does_not_hurt() {
    let node = TestNode::start().await;
    for depth in [200, 100_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let answer = node.post_json(deep.clone()).await;
        assert!(
            matches!(code(&answer[0]), -32_600) || code(&answer) == -32_700,
            "{depth}"
        );
        let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{deep}]}}"#);
        assert_eq!(code(&node.post_json(call).await), -32_602, "{depth}");
        let filter =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{deep}]}}"#);
        assert_eq!(code(&node.post_json(filter).await), -32_602, "{depth}");
    }
    assert_eq!(node.ok("eth_chainId", json!([])).await, "0x539");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_is_let_go_and_others_are_served() {
    let node = TestNode::with(Setup {
        tune: |config| config.client_timeout = Duration::from_millis(200),
        ..Setup::default()
    })
    .await;
    let address = node.url.strip_prefix("http://").unwrap().to_owned();
    let mut silent = TcpStream::connect(&address).await.unwrap();
    let mut half = TcpStream::connect(&address).await.unwrap();
    half.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
        .await
        .unwrap();
    assert_eq!(node.ok("eth_chainId", json!([])).await, "0x539");
    let mut rest = Vec::new();
    // The server ends both: the one that never spoke and the one that stopped.
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, silent.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    rest.clear();
    tokio::time::timeout(patience, half.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(
        rest.starts_with(b"HTTP/1.1 408"),
        "{}",
        String::from_utf8_lossy(&rest)
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_burns_gas_ends_in_time() {
    let node = TestNode::with(Setup {
        tune: |config| {
            config.call_timeout = Duration::from_millis(300);
            config.gas_cap = u64::MAX / 2;
        },
        ..Setup::default()
    })
    .await;
    // JUMPDEST, PUSH0, JUMP: for ever.
    let bomb =
        json!({"to": "0x00000000000000000000000000000000000000bb", "gas": "0xffffffffffffff"});
    let overrides = json!({"0x00000000000000000000000000000000000000bb": {"code": "0x5b5f56"}});
    let (code, text) = node
        .error("eth_call", json!([bomb, "latest", overrides]))
        .await;
    assert_eq!(code, -32_000);
    assert!(text.contains("timeout"), "{text}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cors_is_answered() {
    let node = TestNode::start().await;
    let client = reqwest::Client::new();
    let preflight = client
        .request(reqwest::Method::OPTIONS, &node.url)
        .header("origin", "http://x.test")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_node_says_so_to_each_call_and_answers_light_ones() {
    let node = TestNode::with(Setup {
        tune: |config| {
            config.concurrent_executions_max = 1;
            config.call_timeout = Duration::from_millis(400);
            config.gas_cap = u64::MAX / 2;
        },
        ..Setup::default()
    })
    .await;
    let overrides = json!({"0x00000000000000000000000000000000000000bb": {"code": "0x5b5f56"}});
    let bomb =
        json!({"to": "0x00000000000000000000000000000000000000bb", "gas": "0xffffffffffffff"});
    let call = json!({"jsonrpc": "2.0", "id": "x", "method": "eth_call", "params": [bomb, "latest", overrides]});
    let bombs = futures_util::future::join_all((0..6).map(|_| node.post_json(call.to_string())));
    let light = node.ok("eth_chainId", json!([]));
    let (answers, chain_id) = tokio::join!(bombs, light);
    assert_eq!(chain_id, "0x539");
    assert!(
        answers
            .iter()
            .all(|answer| answer["id"] == "x" && answer["error"].is_object())
    );
    assert!(
        answers.iter().any(|answer| code(answer) == -32_005),
        "{answers:?}"
    );
    node.stop().await;
}

/// A state whose reads panic once that is wanted.
#[derive(Default)]
struct Panics(AtomicBool);

impl Hooks for Panics {
    fn read(&self, _: Address) {
        assert!(!self.0.load(Ordering::Relaxed), "as wanted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_call_is_its_error_and_nobody_elses() {
    let (chain, panics) = (parameters([]), Arc::new(Panics::default()));
    let hooks: Arc<dyn Hooks> = panics.clone();
    let store = Arc::new(HookedStore::new(&chain, hooks));
    let node = TestNode::on(Setup::default(), chain, Some(store)).await;
    panics.0.store(true, Ordering::Relaxed);
    let account = Address::ZERO;
    let balance = json!({"jsonrpc": "2.0", "id": "b", "method": "eth_getBalance", "params": [account, "latest"]});
    let call = json!({"jsonrpc": "2.0", "id": 4, "method": "eth_call", "params": [{"to": account}, "latest"]});
    let id = json!({"jsonrpc": "2.0", "id": 5, "method": "eth_chainId"});
    for failing in [&balance, &call] {
        let answer = node.post_json(failing.to_string()).await;
        assert_eq!(code(&answer), -32_603, "{answer}");
        assert_eq!(answer["id"], failing["id"]);
    }
    let answer = node
        .post_json(json!([id, call, balance, id]).to_string())
        .await;
    let codes: Vec<_> = (0..4)
        .map(|place| answer[place]["error"]["code"].as_i64())
        .collect();
    assert_eq!(
        codes,
        [None, Some(-32_603), Some(-32_603), None],
        "{answer}"
    );
    assert_eq!(answer[1]["id"], 4);
    // Two transactions are taken in together, and looking up their senders fails.
    let raws: Vec<_> = (0..2)
        .map(|nonce| Draft::transfer(nonce, account).sign(&signers()[0]))
        .collect();
    let send = |id: u64, raw: &Bytes| json!({"jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransaction", "params": [raw]});
    let batch = json!([send(1, &raws[0]), send(2, &raws[1])]);
    let answer = node.post_json(batch.to_string()).await;
    for (place, id) in [(0, 1), (1, 2)] {
        assert_eq!(
            (code(&answer[place]), &answer[place]["id"]),
            (-32_603, &json!(id)),
            "{answer}"
        );
    }
    panics.0.store(false, Ordering::Relaxed);
    assert_eq!(
        ask!(node, "eth_getTransactionCount", account, "latest"),
        "0x0"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_the_node_to_sign_or_sends_nothing_is_told_what_to_do() {
    let node = TestNode::start().await;
    for method in ["eth_sendTransaction", "eth_sign", "personal_sign"] {
        let (code, text) = node.error(method, json!([{}])).await;
        assert!(
            code == -32_601 && text.contains("eth_sendRawTransaction"),
            "{text}"
        );
    }
    let (_, text) = node.error("eth_noSuch", json!([])).await;
    assert_eq!(
        text,
        "the method eth_noSuch does not exist/is not available"
    );
    let (code, text) = node.error("eth_sendRawTransaction", json!(["0x"])).await;
    assert!(code == -32_000 && text.contains("empty"), "{text}");
    node.stop().await;
}
