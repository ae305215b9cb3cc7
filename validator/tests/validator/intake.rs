//! Transactions that come in while a block is being published.

use crate::support::{Draft, parameters, signers};
use alloy_primitives::{Address, B256, Bloom, U256};
use crossbeam_channel::{Receiver, Sender, bounded};
use lockweave_runtime::{Account, Code, MemoryState, StateDelta, StateError, StateView};
use lockweave_validator::{
    chain::ChainBlock,
    node::{
        Node, NodeConfig,
        consensus::{SoloConfig, SoloConsensus},
    },
    pool::PoolConfig,
    store::{ChainStore, MemoryStore, PreparedCommit, Retention, StoreError, TransactionPlace},
};
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

/// Holds up one thread after it looked up an account.
struct Gate {
    thread: Mutex<Option<ThreadId>>,
    looked_up: Sender<()>,
    go_on: Receiver<()>,
}

impl Gate {
    fn pass(&self) {
        let mut held = self.thread.lock().unwrap();
        if *held == Some(thread::current().id()) {
            *held = None;
            drop(held);
            self.looked_up.send(()).unwrap();
            // A node that lets nobody in while it publishes cannot publish now: go on all the same.
            let _ = self.go_on.recv_timeout(Duration::from_millis(500));
        }
    }
}

/// A store whose states have a gate.
struct GatedStore {
    inner: MemoryStore,
    gate: Arc<Gate>,
}

struct GatedView {
    inner: Arc<dyn StateView>,
    gate: Arc<Gate>,
}

impl StateView for GatedView {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        let account = self.inner.account(address);
        self.gate.pass();
        account
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        self.inner.slot(address, slot)
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        self.inner.code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        self.inner.block_hash(number)
    }

    fn has_storage(&self, address: Address) -> Result<bool, StateError> {
        self.inner.has_storage(address)
    }
}

impl ChainStore for GatedStore {
    fn head(&self) -> Arc<ChainBlock> {
        self.inner.head()
    }

    fn oldest_block(&self) -> u64 {
        self.inner.oldest_block()
    }

    fn oldest_state(&self) -> u64 {
        self.inner.oldest_state()
    }

    fn state_at(&self, number: u64) -> Result<Arc<dyn StateView>, StoreError> {
        Ok(Arc::new(GatedView {
            inner: self.inner.state_at(number)?,
            gate: Arc::clone(&self.gate),
        }))
    }

    fn whole_state_at(&self, number: u64) -> Result<MemoryState, StoreError> {
        self.inner.whole_state_at(number)
    }

    fn block(&self, number: u64) -> Result<Option<Arc<ChainBlock>>, StoreError> {
        self.inner.block(number)
    }

    fn number_of(&self, hash: B256) -> Option<u64> {
        self.inner.number_of(hash)
    }

    fn transaction(&self, hash: B256) -> Option<TransactionPlace> {
        self.inner.transaction(hash)
    }

    fn bloom(&self, number: u64) -> Option<Bloom> {
        self.inner.bloom(number)
    }

    fn commitment(&self) -> B256 {
        self.inner.commitment()
    }

    fn prepare(
        &self,
        number: u64,
        delta: StateDelta,
    ) -> Result<Box<dyn PreparedCommit + '_>, StoreError> {
        self.inner.prepare(number, delta)
    }
}

/// Waits until something is so; whether it became so.
fn wait_for(mut is_so: impl FnMut() -> bool, patience: Duration) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > patience {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// A sender's next transaction comes in with what the state said before a block, and reaches the
/// pool after it: it must not wait for a nonce that is already used.
#[test]
fn what_comes_in_while_a_block_is_published_is_not_forgotten() {
    let parameters = parameters([]);
    let genesis = parameters.genesis_block().unwrap();
    let delta = parameters.genesis_delta();
    let (looked_up, was_looked_up) = bounded(1);
    let (release, go_on) = bounded(1);
    let gate = Arc::new(Gate {
        thread: Mutex::default(),
        looked_up,
        go_on,
    });
    let store = GatedStore {
        inner: MemoryStore::new(Retention::default(), genesis, &delta),
        gate: Arc::clone(&gate),
    };
    let config = NodeConfig {
        threads: NonZeroUsize::MIN,
        signature_threads: NonZeroUsize::MIN,
        pool: PoolConfig::default(),
        extra_data: Vec::new(),
    };
    let consensus = SoloConsensus::new(SoloConfig {
        block_time: Duration::ZERO,
        empty_block_time: None,
        beneficiary: Address::ZERO,
    });
    let node = Node::start(parameters, config, Arc::new(store), Box::new(consensus)).unwrap();
    let signer = &signers()[0];
    let [first, second] =
        [0, 1].map(|nonce| Draft::transfer(nonce, Address::repeat_byte(9)).sign(signer));

    let late = thread::spawn({
        let node = Arc::clone(&node);
        move || {
            *gate.thread.lock().unwrap() = Some(thread::current().id());
            node.submit(&[second]).remove(0).unwrap()
        }
    });
    was_looked_up
        .recv_timeout(Duration::from_secs(20))
        .expect("the late one looks up its sender");
    node.submit(&[first]).remove(0).unwrap();
    let published = || node.head().block.number() == 1 && node.pool().status().pending == 0;
    wait_for(published, Duration::from_millis(400));
    let _ = release.try_send(());
    late.join().unwrap();

    let included = || {
        let account = node.head().state.account(signer.address()).unwrap();
        account.unwrap().nonce == 2
    };
    let done = wait_for(included, Duration::from_secs(10));
    let waiting = node.pool().status();
    node.stop();
    assert!(done, "the second transaction is in no block: {waiting:?}");
}
