//! Transactions that come in while a block is being published.

use crate::support::{
    Draft,
    hooked_store::{HookedStore, Hooks},
    parameters, signers, single_threaded,
};
use alloy_primitives::Address;
use crossbeam_channel::{Receiver, Sender, bounded};
use lockweave_validator::node::{
    Node,
    consensus::{SoloConfig, SoloConsensus},
};
use std::{
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

impl Hooks for Gate {
    fn was_read(&self) {
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
    let (looked_up, was_looked_up) = bounded(1);
    let (release, go_on) = bounded(1);
    let gate = Arc::new(Gate {
        thread: Mutex::default(),
        looked_up,
        go_on,
    });
    let store = HookedStore::new(&parameters, Arc::clone(&gate) as Arc<dyn Hooks>);
    let consensus = SoloConsensus::new(SoloConfig {
        block_time: Duration::ZERO,
        empty_block_time: None,
        beneficiary: Address::ZERO,
    });
    let node = Node::start(
        parameters,
        single_threaded(),
        Arc::new(store),
        Box::new(consensus),
    )
    .unwrap();
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
