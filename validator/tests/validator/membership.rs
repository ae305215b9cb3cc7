//! A network of processes whose validators change while it runs.

use crate::support::{
    Draft,
    process::{PATIENCE, Process, output, validator},
    signers,
};
use alloy_primitives::{Address, Bytes};
use alloy_sol_types::{SolCall as _, sol};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::Output,
    thread,
    time::{Duration, Instant},
};

sol! {
    function remove(bytes32 key);
}

fn network(arguments: &[&str], dir: &Path) -> Output {
    output(
        validator()
            .arg("network")
            .args(arguments)
            .arg("--dir")
            .arg(dir),
    )
}

/// The JSON that a command prints.
fn printed(done: &Output) -> Value {
    assert!(done.status.success(), "{done:?}");
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Starts nodes, all at the same time: each waits for others.
fn start<const N: usize>(dir: &Path, names: [&str; N]) -> [Process; N] {
    let one = |name: &str| {
        let mut command = validator();
        command.args([
            "run",
            "--log.filter",
            "error",
            "--threads",
            "1",
            "--network",
        ]);
        Process::spawn(command.arg(dir.join(name).join("network.toml")))
    };
    thread::scope(|scope| {
        let started = names.map(|name| scope.spawn(move || one(name)));
        started.map(|started| started.join().unwrap())
    })
}

async fn status(node: &Process) -> Value {
    let status = node.call("lockweave_networkStatus", json!([])).await;
    status.expect("the node answers")
}

async fn height(node: &Process) -> u64 {
    status(node).await["height"].as_u64().unwrap()
}

/// Waits until what a node says of the network is so.
async fn wait_until(node: &Process, what: &str, is_so: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status(node).await;
        if is_so(&status) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_validator_is_added_and_another_one_removed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = &folder.path().join("net");
    let init = ["init", "--validators", "4", "--epoch-blocks", "8", "--json"];
    let made = printed(&network(&init, dir));
    let added = printed(&network(&["add", "--name", "fifth", "--json"], dir));
    let again = network(&["add", "--name", "fifth"], dir);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("fifth"));

    let names = ["validator-0", "validator-1", "validator-2", "validator-3"];
    let nodes = start(dir, names);
    let first_key = made["nodes"][0]["key"].as_str().unwrap();
    let remove = removeCall {
        key: first_key.parse().unwrap(),
    };
    let contract: Address = added["to"].as_str().unwrap().parse().unwrap();
    let add: Bytes = added["data"].as_str().unwrap().parse().unwrap();
    let mut last = Value::Null;
    for (nonce, input) in (0..).zip([add, remove.abi_encode().into()]) {
        let call = Draft {
            input,
            gas: 500_000,
            ..Draft::call(nonce, contract)
        };
        let raw = call.sign(&signers()[0]);
        last = (nodes[1].call("eth_sendRawTransaction", json!([raw])).await).unwrap();
    }
    let receipt = nodes[1].receipt(&last).await;
    assert_eq!(receipt["status"], "0x1");

    let [fifth] = start(dir, ["fifth"]);
    wait_until(&fifth, "the fifth validates", |status| {
        status["validator"] == true
    })
    .await;
    wait_until(&nodes[0], "the first follows", |status| {
        status["validator"] == false
    })
    .await;
    let key = added["key"].clone();
    wait_until(&nodes[2], "the others know the fifth", |status| {
        let mut peers = status["peers"].as_array().unwrap().iter();
        let fifth = peers.find(|peer| peer["key"] == key);
        fifth.is_some_and(|peer| peer["validator"] == true && peer["connected"] == true)
    })
    .await;
    // Of the four that validate now, one is killed: the quorum of three needs the vote of the new one.
    let [first, second, third, fourth] = nodes;
    first.kill();
    second.kill();
    let reached = height(&fifth).await;
    let goes_on = |status: &Value| status["height"].as_u64().unwrap() > reached + 10;
    wait_until(&third, "the others go on", goes_on).await;

    // The genesis alone proves a block of the new validators final.
    let proof = third
        .call("lockweave_getFinality", json!(["latest"]))
        .await
        .unwrap();
    assert_eq!(proof["handovers"].as_array().unwrap().len(), 1);
    let file = folder.path().join("proof.json");
    fs::write(&file, proof.to_string()).unwrap();
    let genesis = dir.join("genesis.json");
    let mut command = validator();
    let checked = command
        .arg("verify-certificate")
        .arg("--genesis")
        .arg(genesis);
    let checked = output(checked.arg(&file));
    assert!(checked.status.success(), "{checked:?}");

    // What a node knows of the validators outlives it.
    fifth.kill();
    let stopped = height(&fourth).await;
    let [fifth] = start(dir, ["fifth"]);
    let is_back = |status: &Value| {
        status["validator"] == true && status["height"].as_u64().unwrap() > stopped + 10
    };
    wait_until(&fifth, "the fifth is back", is_back).await;
}
