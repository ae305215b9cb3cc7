//! While a block is being committed: the next one is executed, nobody hears of it too early, and a
//! medium that fails is waited for.

use crate::support::{
    Draft, Setup, TestNode,
    hooked_store::{HookedStore, OnCommit, OnRead},
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
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// Transfers that a block of the test has room for.
const ROOM: u64 = 50;

/// A commit that waits until the next block reads, at most for a while.
#[derive(Default)]
struct Overlap {
    commits: Mutex<bool>,
    read: Condvar,
    seen: AtomicBool,
}

impl Overlap {
    fn on_commit(&self, number: u64) {
        if number != 1 {
            return;
        }
        let mut commits = self.commits.lock().unwrap();
        *commits = true;
        let is_waiting = |_: &mut bool| !self.seen.load(Ordering::Acquire);
        let waited = self.read.wait_timeout_while(commits, PATIENCE, is_waiting);
        *waited.unwrap().0 = false;
    }

    /// Threads of the node have names of their own; the test's and the server's do not count.
    fn on_read(&self) {
        let name = thread::current().name().unwrap_or_default().to_owned();
        let is_execution = name != "block-committer" && !name.starts_with("tokio");
        if is_execution && *self.commits.lock().unwrap() {
            self.seen.store(true, Ordering::Release);
            self.read.notify_all();
        }
    }
}

fn small_blocks() -> ChainParameters {
    let mut genesis = parameters([]).genesis;
    genesis.gas_limit = ROOM * 21_000;
    ChainParameters::new(genesis).unwrap()
}

async fn node_on(chain: ChainParameters, on_commit: OnCommit, on_read: OnRead) -> TestNode {
    let store: Arc<dyn ChainStore> = Arc::new(HookedStore::new(&chain, on_commit, on_read));
    TestNode::on(Setup::default(), chain, Some(store)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_block_is_executed_while_the_last_is_committed() {
    let overlap = Arc::new(Overlap::default());
    let (committing, reading) = (Arc::clone(&overlap), Arc::clone(&overlap));
    let on_commit = Box::new(move |number| {
        committing.on_commit(number);
        Ok(())
    });
    let node = node_on(
        small_blocks(),
        on_commit,
        Arc::new(move || reading.on_read()),
    )
    .await;
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
        overlap.seen.load(Ordering::Acquire),
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

#[tokio::test(flavor = "multi_thread")]
async fn a_medium_that_fails_is_waited_for_and_reads_are_served() {
    let failures = Arc::new(AtomicU64::new(0));
    let (counting, is_full) = (Arc::clone(&failures), Arc::new(AtomicBool::new(true)));
    let full = Arc::clone(&is_full);
    let on_commit = Box::new(move |_| {
        if full.load(Ordering::Acquire) {
            counting.fetch_add(1, Ordering::AcqRel);
            let error = io::Error::from(io::ErrorKind::StorageFull);
            return Err(StoreError::Backend(Arc::new(error)));
        }
        Ok(())
    });
    let node = node_on(parameters([]), on_commit, Arc::new(|| {})).await;
    let signer = &signers()[0];
    let raw = Draft::transfer(0, Address::repeat_byte(9)).sign(signer);
    let hash = node.send(&raw).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while node.node.storage_failure().is_none() {
        assert!(
            Instant::now() < deadline,
            "the node does not say what is wrong"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Nothing is told of the block, and everything else is answered.
    let receipt = node.ok("eth_getTransactionReceipt", json!([hash])).await;
    assert!(receipt.is_null());
    assert_eq!(node.ok("eth_blockNumber", json!([])).await, "0x0");
    let status = node.ok("lockweave_transactionStatus", json!([hash])).await;
    assert_eq!(status["status"], "waiting");
    is_full.store(false, Ordering::Release);
    assert_eq!(node.receipt(hash).await["status"], "0x1");
    assert_eq!(node.node.storage_failure(), None);
    assert!(failures.load(Ordering::Acquire) >= 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_medium_fails_still_stops() {
    let on_commit = Box::new(|_| {
        let error = io::Error::from(io::ErrorKind::StorageFull);
        Err(StoreError::Backend(Arc::new(error)))
    });
    let node = node_on(parameters([]), on_commit, Arc::new(|| {})).await;
    let raw = Draft::transfer(0, Address::repeat_byte(9)).sign(&signers()[0]);
    node.send(&raw).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while node.node.storage_failure().is_none() {
        assert!(
            Instant::now() < deadline,
            "the node does not say what is wrong"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::timeout(PATIENCE, node.stop())
        .await
        .expect("it stops");
}
