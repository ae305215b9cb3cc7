//! `eth_simulateV1` on a chain of this node's own: what it says comes true.

use crate::support::{BENEFICIARY, Draft, GAS_PRICE, Setup, TestNode, ask, parameters, signers};
use alloy_genesis::Genesis;
use alloy_primitives::{Address, Bytes, U64, U128};
use lockweave_validator::{
    chain::ChainParameters,
    store::{ChainStore, Datadir, DurableStore, MemoryStore, Retention},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// No system contracts: they write the block's time, which a simulation cannot know.
fn shanghai() -> ChainParameters {
    let mut genesis = Genesis::clone(&parameters([]).genesis);
    genesis.config.cancun_time = None;
    genesis.config.prague_time = None;
    ChainParameters::new(genesis).unwrap()
}

/// A transfer, a contract, a call of it.
fn drafts() -> Vec<Draft> {
    let own = signers()[0].address();
    let create = Draft::create_counter(1);
    let call = Draft::call(2, own.create(1));
    vec![Draft::transfer(0, Address::repeat_byte(9)), create, call]
}

fn simulated(draft: &Draft) -> Value {
    let overrides = json!({"feeRecipient": BENEFICIARY});
    json!({"blockOverrides": overrides, "calls": [{
        "from": signers()[0].address(),
        "to": draft.to.to(),
        "nonce": U64::from(draft.nonce),
        "gas": U64::from(draft.gas),
        "value": draft.value,
        "input": Bytes::clone(&draft.input),
        "maxFeePerGas": U128::from(GAS_PRICE),
        "maxPriorityFeePerGas": U128::from(draft.tip),
    }]})
}

async fn roots_come_true(store: Arc<dyn ChainStore>) {
    let node = TestNode::on(Setup::default(), shanghai(), Some(store)).await;
    let calls: Vec<_> = drafts().iter().map(simulated).collect();
    let payload = json!({"blockStateCalls": calls, "validation": true});
    let before = node.ok("eth_simulateV1", json!([payload, "latest"])).await;
    for (draft, block) in drafts().into_iter().zip(before.as_array().unwrap()) {
        assert_eq!(block["calls"][0]["status"], "0x1", "{block}");
        let hash = node.send(&draft.sign(&signers()[0])).await.unwrap();
        let number = &node.receipt(hash).await["blockNumber"];
        assert_eq!(*number, block["number"]);
        let made = ask!(node, "eth_getBlockByNumber", number, false);
        assert_eq!(made["stateRoot"], block["stateRoot"], "block {number}");
    }
    // The same on a block of the past, where the whole state is summed up.
    let again = node.ok("eth_simulateV1", json!([payload, "0x0"])).await;
    for place in 0..3 {
        assert_eq!(again[place]["stateRoot"], before[place]["stateRoot"]);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_state_roots_come_true_in_memory() {
    let chain = shanghai();
    let (genesis, delta) = (chain.genesis_block().unwrap(), chain.genesis_delta());
    let store = MemoryStore::new(Retention::default(), genesis, &delta);
    roots_come_true(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_state_roots_come_true_on_disk() {
    let (chain, folder) = (shanghai(), tempfile::tempdir().unwrap());
    let datadir = Datadir::open(folder.path()).unwrap();
    datadir.init(&chain).unwrap();
    let store = DurableStore::open(datadir, &chain, Retention::default()).unwrap();
    roots_come_true(Arc::new(store)).await;
}
