//! While a block is being committed: the next one is executed, nobody hears of it too early, and a
//! medium that fails is waited for.

use crate::support::{
    Draft, Setup, TestNode,
    hooked_store::{HookedStore, Hooks},
    parameters, signers, single_threaded,
};
use alloy_consensus::Header;
use alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
use alloy_genesis::Genesis;
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use crossbeam_channel::Receiver;
use lockweave_validator::{
    chain::{ChainBlock, ChainParameters, execution::execute_given},
    node::{
        Node,
        consensus::{
            AcceptAll, Consensus, Decision, Finality, SoloConfig, SoloConsensus, Turn, Verdict,
            Wake,
        },
    },
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

/// The state root of the first block is not computed before an account of the second is read, at most for a
/// while.
struct Overlap {
    /// An account that only transactions of the second block use.
    account: Address,
    is_read: Mutex<bool>,
    read: Condvar,
}

impl Overlap {
    fn new(account: Address) -> Arc<Self> {
        Arc::new(Self {
            account,
            is_read: Mutex::default(),
            read: Condvar::new(),
        })
    }

    fn was_read(&self) -> bool {
        *self.is_read.lock().unwrap()
    }
}

impl Hooks for Overlap {
    fn prepare(&self, number: u64) {
        if number == 1 {
            let is_read = self.is_read.lock().unwrap();
            let waited = (self.read).wait_timeout_while(is_read, PATIENCE, |read| !*read);
            drop(waited.unwrap());
        }
    }

    fn read(&self, address: Address) {
        // Threads of the node have names of their own; the test's and the server's do not count.
        let thread = thread::current();
        let name = thread.name().unwrap_or_default();
        let is_execution = name != "block-committer" && !name.starts_with("tokio");
        if is_execution && address == self.account {
            *self.is_read.lock().unwrap() = true;
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
    let mut genesis = Genesis::clone(&parameters([]).genesis);
    genesis.gas_limit = ROOM * 21_000;
    ChainParameters::new(genesis).unwrap()
}

async fn node_on(chain: ChainParameters, hooks: Arc<dyn Hooks>) -> TestNode {
    let store: Arc<dyn ChainStore> = Arc::new(HookedStore::new(&chain, hooks));
    TestNode::on(Setup::default(), chain, Some(store)).await
}

/// Submits transactions of five senders, those of the first with the highest tip, and waits for them.
async fn send_in_order(node: &TestNode, each: u64, draft: impl Fn(u64) -> Draft) {
    let raws: Vec<Bytes> = (signers().iter().take(5).enumerate())
        .flat_map(|(rank, signer)| {
            let tip = 1_000_000_000 - u128::try_from(rank).unwrap();
            let draft = &draft;
            (0..each).map(move |nonce| {
                let draft = draft(nonce);
                Draft { tip, ..draft }.sign(signer)
            })
        })
        .collect();
    let on = Arc::clone(&node.node);
    let hashes = tokio::task::spawn_blocking(move || on.submit(&raws)).await;
    for hash in hashes.unwrap() {
        assert_eq!(node.receipt(hash.unwrap()).await["status"], "0x1");
    }
}

/// Executes every block again, one transaction after another, and compares. Returns the number of transactions.
fn check_blocks(node: &Node) -> usize {
    let (store, chain) = (node.store(), node.parameters());
    let mut included = 0;
    for number in 1..=node.head().block.number() {
        let block = store.block(number).unwrap().unwrap();
        let parent = store.block(number - 1).unwrap().unwrap();
        assert_eq!(block.header.parent_hash, parent.hash);
        let before = store.state_at(number - 1).unwrap();
        let again = execute_given(chain, &before, block.to_consensus(), &|_| {
            unreachable!("receipts have a status")
        });
        let root = store.root_after(number - 1, &again.unwrap().delta);
        assert_eq!(root.unwrap(), block.header.state_root, "block {number}");
        included += block.transactions.len();
    }
    included
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_block_is_executed_while_the_root_of_the_last_is_computed() {
    let overlap = Overlap::new(signers()[1].address());
    let hooks: Arc<dyn Hooks> = overlap.clone();
    let node = node_on(small_blocks(), hooks).await;
    send_in_order(&node, ROOM, |nonce| {
        Draft::transfer(nonce, Address::repeat_byte(9))
    })
    .await;
    assert!(
        overlap.was_read(),
        "nothing of the second block ran before the root of the first was known"
    );
    assert_eq!(check_blocks(&node.node), 5 * usize::try_from(ROOM).unwrap());
    node.stop().await;
}

/// Stores the hash of the parent twice, in slots by the block's number: as `BLOCKHASH` gives it, and as the
/// contract of EIP-2935 does.
fn parent_hash_reader() -> Bytes {
    let mut code = hex!("60 01 43 03 40 43 60 01 1b 55").to_vec();
    // The parent's number is the input of the call.
    code.extend(hex!("60 01 43 03 5f 52 60 20 5f 60 20 5f 73"));
    code.extend(HISTORY_STORAGE_ADDRESS);
    code.extend(hex!("5a fa 50 5f 51 43 60 01 1b 60 01 17 55"));
    code.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_wait_for_the_hash_of_the_last_block_where_they_read_it() {
    /// Calls that a block has room for.
    const CALLS: u64 = 10;
    let contract = Address::repeat_byte(0xcc);
    let mut genesis = Genesis::clone(&parameters([]).genesis);
    genesis.gas_limit = CALLS * 100_000;
    let account = alloy_genesis::GenesisAccount::default().with_code(Some(parent_hash_reader()));
    genesis.alloc.insert(contract, account);
    let overlap = Overlap::new(signers()[1].address());
    let hooks: Arc<dyn Hooks> = overlap.clone();
    let node = node_on(ChainParameters::new(genesis).unwrap(), hooks).await;
    send_in_order(&node, CALLS, |nonce| Draft::call(nonce, contract)).await;
    assert!(
        overlap.was_read(),
        "the second block waited for the hash of the first before it began"
    );
    let head = node.node.head();
    assert!(head.block.number() > 2);
    let hash_at = |address, slot: u64| {
        let value = head.state.slot(address, U256::from(slot)).unwrap();
        B256::from(value)
    };
    for number in 1..=head.block.number() {
        let parent = node.node.store().block(number - 1).unwrap().unwrap().hash;
        assert_eq!(hash_at(contract, 2 * number), parent);
        assert_eq!(hash_at(contract, 2 * number + 1), parent);
        assert_eq!(hash_at(HISTORY_STORAGE_ADDRESS, number - 1), parent);
    }
    check_blocks(&node.node);
    node.stop().await;
}

/// Makes blocks as fast as it can. Some of them are rejected.
struct Contested(SoloConsensus);

impl Consensus for Contested {
    fn next_turn(
        &mut self,
        parent: &Header,
        wake: &Receiver<Wake>,
        has_work: &dyn Fn() -> bool,
    ) -> Turn {
        self.0.next_turn(parent, wake, has_work)
    }

    fn is_due(&self) -> bool {
        self.0.is_due()
    }

    fn decision(&self) -> Box<dyn Decision> {
        Box::new(RejectEveryThird { proposals: 0 })
    }
}

struct RejectEveryThird {
    proposals: usize,
}

impl Decision for RejectEveryThird {
    fn propose(&mut self, _: &ChainBlock) -> Verdict {
        self.proposals += 1;
        if self.proposals.is_multiple_of(3) {
            Verdict::Rejected
        } else {
            Verdict::Accepted
        }
    }

    fn committed(&mut self, block: &ChainBlock) -> Finality {
        AcceptAll.committed(block)
    }
}

#[test]
fn what_ran_on_a_rejected_block_is_dropped() {
    let chain = small_blocks();
    let hooks = Overlap::new(signers()[1].address());
    let store: Arc<dyn ChainStore> = Arc::new(HookedStore::new(&chain, hooks));
    let solo = SoloConsensus::new(SoloConfig {
        block_time: Duration::ZERO,
        empty_block_time: None,
        beneficiary: Address::ZERO,
    });
    let node = Node::start(chain, single_threaded(), store, Box::new(Contested(solo))).unwrap();
    let transfer = |nonce| Draft::transfer(nonce, Address::repeat_byte(9));
    let raws: Vec<Bytes> = (signers().iter().take(5))
        .flat_map(|signer| (0..2 * ROOM).map(move |nonce| transfer(nonce).sign(signer)))
        .collect();
    for hash in node.submit(&raws) {
        hash.unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while node.pool().status().pending > 0 {
        assert!(Instant::now() < deadline, "transactions are left");
        thread::sleep(Duration::from_millis(2));
    }
    node.stop();
    assert_eq!(node.failure(), None);
    assert_eq!(check_blocks(&node), raws.len());
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
