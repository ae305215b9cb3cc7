//! What a block may not hold, and a storage that fails for good: the node leaves out the one, and
//! says the other at once.

use crate::support::{
    Draft, Setup, TestNode, ask,
    hooked_store::{HookedStore, Hooks},
    parameters, signers, single_threaded,
};
use alloy_consensus::Header;
use alloy_genesis::Genesis;
use alloy_primitives::{Address, Bytes, U256, hex};
use alloy_rlp::Encodable as _;
use crossbeam_channel::Receiver;
use lockweave_validator::{
    chain::{ChainParameters, execution::BLOCK_BYTES_MAX},
    node::{
        Node, SubmitError,
        consensus::{Attributes, Consensus, Turn, Wake},
    },
    store::{ChainStore, StoreError},
};
use serde_json::json;
use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_mins(1);
const DEPOSIT_CONTRACT: Address = Address::repeat_byte(0xde);

/// The development chain with a deposit contract that logs whatever it is sent as a deposit.
fn with_deposits() -> ChainParameters {
    let mut genesis = Genesis::clone(&parameters([]).genesis);
    genesis.config.deposit_contract_address = Some(DEPOSIT_CONTRACT);
    // CALLDATASIZE PUSH0 PUSH0 CALLDATACOPY PUSH32 (the event) CALLDATASIZE PUSH0 LOG1
    let code = hex!(
        "36 5f 5f 37 7f 649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5 36 5f a1"
    );
    let account = alloy_genesis::GenesisAccount::default().with_code(Some(code.into()));
    genesis.alloc.insert(DEPOSIT_CONTRACT, account);
    ChainParameters::new(genesis).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_cannot_be_read_ends_nothing_but_its_transaction() {
    let node = TestNode::on(Setup::default(), with_deposits(), None).await;
    let signers = signers();
    let to = Address::repeat_byte(9);
    let malformed = |nonce| Draft {
        gas: 100_000,
        value: U256::ZERO,
        input: Bytes::from_static(&[1; 40]),
        ..Draft::transfer(nonce, DEPOSIT_CONTRACT)
    };
    let raws = [
        Draft::transfer(0, to).sign(&signers[0]),
        malformed(0).sign(&signers[1]),
        Draft::transfer(1, to).sign(&signers[1]),
        malformed(0).sign(&signers[2]),
        Draft::transfer(0, to).sign(&signers[3]),
    ];
    let on = Arc::clone(&node.node);
    let hashes = tokio::task::spawn_blocking(move || on.submit(&raws)).await;
    let hashes: Vec<_> = (hashes.unwrap().into_iter())
        .map(|hash| hash.unwrap())
        .collect();
    for good in [hashes[0], hashes[4]] {
        assert_eq!(node.receipt(good).await["status"], "0x1");
    }
    for bad in [hashes[1], hashes[3]] {
        let status = node.ok("lockweave_transactionStatus", json!([bad])).await;
        assert_eq!(status["status"], "dropped", "{status}");
        let reason = status["reason"].as_str().unwrap();
        assert!(reason.contains("deposit"), "{reason}");
    }
    // With another transaction in its place the one behind it can be included.
    let other = Draft::transfer(0, to).sign(&signers[1]);
    let hash = node.send(&other).await.unwrap();
    for hash in [hash, hashes[2]] {
        assert_eq!(node.receipt(hash).await["status"], "0x1");
    }
    assert_eq!(node.node.failure(), None);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_not_longer_than_its_encoding_may_be() {
    const COUNT: u64 = 80;
    let mut genesis = Genesis::clone(&parameters([]).genesis);
    genesis.config.osaka_time = Some(0);
    let chain = ChainParameters::new(genesis).unwrap();
    let node = TestNode::on(Setup::default(), chain, None).await;
    let signer = &signers()[0];
    let raws: Vec<Bytes> = (0..COUNT)
        .map(|nonce| {
            let draft = Draft {
                gas: 1_500_000,
                input: vec![0; 120_000].into(),
                ..Draft::transfer(nonce, Address::repeat_byte(9))
            };
            draft.sign(signer)
        })
        .collect();
    let on = Arc::clone(&node.node);
    let hashes = tokio::task::spawn_blocking(move || on.submit(&raws)).await;
    for hash in hashes.unwrap() {
        assert_eq!(node.receipt(hash.unwrap()).await["status"], "0x1");
    }
    let head = node.node.head().block.number();
    let mut longest = 0;
    for number in 1..=head {
        let block = node.node.store().block(number).unwrap().unwrap();
        longest = longest.max(block.to_consensus().length());
    }
    // All of them together are too long for one, and what fits is used.
    assert!(longest <= BLOCK_BYTES_MAX, "{longest} bytes");
    assert!(longest > BLOCK_BYTES_MAX - 130_000, "{longest} bytes");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blob_transactions_are_refused_with_what_to_do() {
    let node = TestNode::start().await;
    // The form without blobs, and the network's with them; neither is looked into.
    for raw in ["0x03c0", "0x03f87f"] {
        let (code, text) = node.error("eth_sendRawTransaction", json!([raw])).await;
        assert_eq!(code, -32_000);
        assert!(text.starts_with("transaction type not supported"), "{text}");
        assert!(text.contains("blob") && text.contains("type 0x2"), "{text}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contracts_see_the_hash_of_the_first_block() {
    let mut genesis = Genesis::clone(&parameters([]).genesis);
    let contract = Address::repeat_byte(0xcc);
    // PUSH0 BLOCKHASH NUMBER SSTORE
    let code = Bytes::from_static(&hex!("5f 40 43 55"));
    let account = alloy_genesis::GenesisAccount::default().with_code(Some(code));
    genesis.alloc.insert(contract, account);
    let node = TestNode::on(
        Setup::default(),
        ChainParameters::new(genesis).unwrap(),
        None,
    )
    .await;
    let first = node.node.head().block.hash;
    for nonce in 0..3 {
        let draft = Draft::call(nonce, contract);
        let hash = node.send(&draft.sign(&signers()[0])).await.unwrap();
        let receipt = node.receipt(hash).await;
        assert_eq!(receipt["status"], "0x1");
        let slot = receipt["blockNumber"].clone();
        let seen = ask!(node, "eth_getStorageAt", contract, slot, "latest");
        assert_eq!(seen, json!(first));
    }
    node.stop().await;
}

/// Proposes one block, and then waits for nothing but the end.
struct Once {
    proposed: bool,
}

impl Consensus for Once {
    fn next_turn(
        &mut self,
        parent: &Header,
        wake: &Receiver<Wake>,
        has_work: &dyn Fn() -> bool,
    ) -> Turn {
        loop {
            if has_work() && !self.proposed {
                self.proposed = true;
                let attributes = Attributes {
                    timestamp: parent.timestamp + 1,
                    beneficiary: Address::ZERO,
                    prev_randao: alloy_primitives::B256::ZERO,
                };
                return Turn::Propose {
                    attributes,
                    empty: false,
                };
            }
            if wake.recv() != Ok(Wake::Work) {
                return Turn::Stop;
            }
        }
    }

    /// The producer does not wait for the commit.
    fn is_due(&self) -> bool {
        true
    }
}

/// A medium that breaks.
struct Broken;

impl Hooks for Broken {
    fn commit(&self, _: u64) -> Result<(), StoreError> {
        let error = io::Error::other("input/output error");
        Err(StoreError::Failed(Arc::new(error)))
    }
}

#[test]
fn a_storage_that_breaks_is_told_at_once_and_ends_intake() {
    let mut genesis = Genesis::clone(&parameters([]).genesis);
    genesis.gas_limit = 2 * 21_000;
    let chain = ChainParameters::new(genesis).unwrap();
    let store: Arc<dyn ChainStore> = Arc::new(HookedStore::new(&chain, Arc::new(Broken)));
    let consensus = Box::new(Once { proposed: false });
    let node = Node::start(chain, single_threaded(), store, consensus).unwrap();
    let signer = &signers()[0];
    let transfer = |nonce| Draft::transfer(nonce, Address::repeat_byte(9)).sign(signer);
    // More than one block takes, so that nobody waits for the first.
    let raws: Vec<Bytes> = (0..5).map(transfer).collect();
    for result in node.submit(&raws) {
        result.unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while node.failure().is_none() {
        assert!(
            Instant::now() < deadline,
            "the node does not say that it ended"
        );
        thread::sleep(Duration::from_millis(2));
    }
    let failure = node.failure().unwrap();
    assert!(failure.contains("input/output error"), "{failure}");
    let refused = node.submit(&[transfer(5)]).remove(0);
    assert!(matches!(refused, Err(SubmitError::Stopped(_))));
    assert_eq!(node.head().block.number(), 0);
    node.stop();
}
