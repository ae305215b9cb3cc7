//! Metrics and health, as an operator's tools read them.

use crate::support::{Draft, process::Process, signers};
use alloy_primitives::Address;
use prometheus_parse::{Scrape, Value as Sample};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

/// The names of the metrics in an expression of the dashboard.
fn metrics_in(expression: &str) -> impl Iterator<Item = &str> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    expression
        .split(move |character| !is_part(character))
        .filter(|word| word.starts_with("lockweave_"))
}

/// Every query of the dashboard.
fn queries() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/validator.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(folder).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_prometheus_and_the_dashboard_asks_for_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--metrics", "--metrics.port", "0"];
    let node = Process::start_with(folder.path(), "0", &options);
    let signer = &signers()[0];
    for nonce in 0..3 {
        let raw = Draft::transfer(nonce, Address::repeat_byte(9)).sign(signer);
        let sent = node.call("eth_sendRawTransactionSync", json!([raw]));
        assert_eq!(sent.await.unwrap()["status"], "0x1");
    }
    let from_banner = |start: &str| {
        let rest = node.banner.split(start).nth(1).expect(&node.banner);
        let url: String = rest
            .chars()
            .take_while(|end| !", \n".contains(*end))
            .collect();
        url
    };
    let fetch = |url: String| async move { reqwest::get(url).await.unwrap() };
    let health = fetch(from_banner("health on ")).await;
    assert_eq!(health.status(), 200);
    // And on the RPC port, which every node has.
    let health = fetch(format!("{}/health", node.url.trim_end_matches('/'))).await;
    assert_eq!(health.status(), 200);
    let text = fetch(from_banner("Metrics on "))
        .await
        .text()
        .await
        .unwrap();
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let has = |name: &str| {
        let mut samples = scrape.samples.iter();
        samples.find(|sample| sample.metric == name)
    };
    let count = |name: &str| match has(name).map(|sample| &sample.value) {
        Some(Sample::Counter(value) | Sample::Gauge(value)) => *value,
        other => panic!("{name} is {other:?}"),
    };
    assert!((count("lockweave_transactions_total") - 3.0).abs() < 0.1);
    assert!((count("lockweave_head_block") - 3.0).abs() < 0.1);
    assert!(count("lockweave_process_resident_bytes") > 1e6);
    // A histogram's buckets are samples of the metric without the suffix.
    let base = |name: &str| {
        let suffixes = ["_bucket", "_count", "_sum"].iter();
        let mut bases = suffixes.filter_map(|suffix| name.strip_suffix(suffix));
        bases.next().unwrap_or(name).to_owned()
    };
    let queries = queries();
    let asked: BTreeSet<String> = (queries.iter())
        .flat_map(|query| metrics_in(query))
        .map(base)
        .collect();
    assert!(asked.len() > 15, "{asked:?}");
    let known: BTreeSet<String> = (scrape.samples.iter())
        .map(|sample| base(&sample.metric))
        .collect();
    let missing: Vec<_> = asked.difference(&known).collect();
    assert!(missing.is_empty(), "no such metrics: {missing:?}");
    node.terminate();
}

/// A call that may take half a minute does not hold up the end of the node.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_ends_while_calls_run() {
    let folder = tempfile::tempdir().unwrap();
    let options = [
        "--http.call-timeout",
        "30000",
        "--http.gas-cap",
        "1000000000000000",
    ];
    let node = Process::start_with(folder.path(), "0", &options);
    let address = Address::repeat_byte(0xaa).to_string();
    // JUMPDEST, PUSH0, JUMP: for ever.
    let endless = json!([
        {"to": address, "gas": "0x38d7ea4c68000"},
        "latest",
        {&address: {"code": "0x5b5f56"}}
    ]);
    let answered = node.call("eth_call", endless);
    let answered = tokio::time::timeout(Duration::from_millis(500), answered).await;
    assert!(answered.is_err(), "it is to be at work: {answered:?}");
    let asked = Instant::now();
    node.terminate();
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}
