//! While a block is being committed: the next one is executed, nobody hears of it too early, and a
//! medium that fails is waited for.

use crate::support::{
    Draft, Setup, TestNode,
    hooked_store::{HookedStore, Hooks},
    parameters, signers,
};
use alloy_primitives::{Address, Bytes};
use lockweave_validator::{
    chain::ChainParameters,
    store::{ChainStore, StoreError},
};
use serde_json::json;
use std::{
    io,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// Transfers that a block of the test has room for.
const ROOM: u64 = 50;

/// The first commit waits until the second block reads, at most for a while.
#[derive(Default)]
struct Overlap {
    /// The first block was executed and prepared: the next read belongs to the second.
    is_prepared: AtomicBool,
    has_read: Mutex<bool>,
    read: Condvar,
}

impl Hooks for Overlap {
    fn prepare(&self, _: u64) {
        self.is_prepared.store(true, Ordering::Release);
    }

    fn commit(&self, number: u64) -> Result<(), StoreError> {
        if number == 1 {
            let has_read = self.has_read.lock().unwrap();
            let waited = (self.read).wait_timeout_while(has_read, PATIENCE, |read| !*read);
            drop(waited.unwrap());
        }
        Ok(())
    }

    fn read(&self) {
        // Threads of the node have names of their own; the test's and the server's do not count.
        let thread = thread::current();
        let name = thread.name().unwrap_or_default();
        let is_execution = name != "block-committer" && !name.starts_with("tokio");
        if is_execution && self.is_prepared.load(Ordering::Acquire) {
            *self.has_read.lock().unwrap() = true;
            self.read.notify_all();
        }
    }
}

/// A medium that is full until somebody makes room.
struct Full {
    is_full: AtomicBool,
}

impl Hooks for Full {
    fn commit(&self, _: u64) -> Result<(), StoreError> {
        if self.is_full.load(Ordering::Acquire) {
            let error = io::Error::from(io::ErrorKind::StorageFull);
            return Err(StoreError::Backend(Arc::new(error)));
        }
        Ok(())
    }
}

fn small_blocks() -> ChainParameters {
    let mut genesis = parameters([]).genesis;
    genesis.gas_limit = ROOM * 21_000;
    ChainParameters::new(genesis).unwrap()
}

async fn node_on(chain: ChainParameters, hooks: Arc<dyn Hooks>) -> TestNode {
    let store: Arc<dyn ChainStore> = Arc::new(HookedStore::new(&chain, hooks));
    TestNode::on(Setup::default(), chain, Some(store)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_block_is_executed_while_the_last_is_committed() {
    let overlap = Arc::new(Overlap::default());
    let hooks: Arc<dyn Hooks> = overlap.clone();
    let node = node_on(small_blocks(), hooks).await;
    let signers = signers();
    let count = ROOM * 3;
    let raws: Vec<Bytes> = (0..count)
        .map(|turn| {
            let signer = &signers[usize::try_from(turn % 5).unwrap()];
            let to = signers[usize::try_from((turn + 1) % 5).unwrap()].address();
            Draft::transfer(turn / 5, to).sign(signer)
        })
        .collect();
    let (on, all) = (Arc::clone(&node.node), raws.clone());
    let hashes = tokio::task::spawn_blocking(move || on.submit(&all)).await;
    for hash in hashes.unwrap() {
        assert_eq!(node.receipt(hash.unwrap()).await["status"], "0x1");
    }
    assert!(
        *overlap.has_read.lock().unwrap(),
        "nothing of the second block ran while the first was committed"
    );
    let mut included = 0;
    for number in 1..=node.node.head().block.number() {
        let block = node.node.store().block(number).unwrap().unwrap();
        let parent = node.node.store().block(number - 1).unwrap().unwrap();
        assert_eq!(block.header.parent_hash, parent.hash);
        included += block.transactions.len() as u64;
    }
    assert_eq!(included, count);
    node.stop().await;
}

/// Waits until the node reports that its storage fails.
async fn storage_failure(node: &TestNode) {
    let deadline = Instant::now() + PATIENCE;
    while node.node.storage_failure().is_none() {
        assert!(
            Instant::now() < deadline,
            "the node does not say what is wrong"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_medium_that_fails_is_waited_for_and_reads_are_served() {
    let full = Arc::new(Full {
        is_full: AtomicBool::new(true),
    });
    let hooks: Arc<dyn Hooks> = full.clone();
    let node = node_on(parameters([]), hooks).await;
    let signer = &signers()[0];
    let raw = Draft::transfer(0, Address::repeat_byte(9)).sign(signer);
    let hash = node.send(&raw).await.unwrap();
    storage_failure(&node).await;
    // Nothing is told of the block, and everything else is answered.
    let receipt = node.ok("eth_getTransactionReceipt", json!([hash])).await;
    assert!(receipt.is_null());
    assert_eq!(node.ok("eth_blockNumber", json!([])).await, "0x0");
    let status = node.ok("lockweave_transactionStatus", json!([hash])).await;
    assert_eq!(status["status"], "waiting");
    full.is_full.store(false, Ordering::Release);
    assert_eq!(node.receipt(hash).await["status"], "0x1");
    assert_eq!(node.node.storage_failure(), None);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_medium_fails_still_stops() {
    let is_full = AtomicBool::new(true);
    let node = node_on(parameters([]), Arc::new(Full { is_full })).await;
    let raw = Draft::transfer(0, Address::repeat_byte(9)).sign(&signers()[0]);
    node.send(&raw).await.unwrap();
    storage_failure(&node).await;
    tokio::time::timeout(PATIENCE, node.stop())
        .await
        .expect("it stops");
}
