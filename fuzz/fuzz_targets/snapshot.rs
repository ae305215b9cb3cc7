//! What a peer may send as a snapshot: an offer, and a chunk of a known one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockweave_validator::{
    chain::{ChainBlock, ChainParameters, dev},
    snapshot::{Chunks, Offer, Snapshot},
    store::{ChainStore as _, MemoryStore, Retention},
};
use std::sync::{Arc, LazyLock};

/// The snapshot of a development chain with one block, and its only chunk.
static KNOWN: LazyLock<(Snapshot, Vec<u8>)> = LazyLock::new(|| {
    let accounts = (0..20).map(|byte| [byte; 20].into());
    let parameters = ChainParameters::new(dev::genesis(accounts, 0)).unwrap();
    let genesis = parameters.genesis_block().unwrap();
    let delta = parameters.genesis_delta();
    let store = MemoryStore::new(Retention::default(), genesis.clone(), &delta);
    let mut parent = genesis;
    for number in 1..=2 {
        let mut prepared = store.prepare(number, Default::default()).unwrap();
        let mut block = ChainBlock {
            header: parent.header.clone(),
            withdrawals: parent.withdrawals.clone(),
            ..ChainBlock::default()
        };
        block.header.number = number;
        block.header.parent_hash = parent.hash;
        block.header.state_root = prepared.state_root();
        block.hash = block.header.hash_slow();
        parent = block.clone();
        prepared.commit(Arc::new(block)).unwrap();
    }
    let folder = std::env::temp_dir().join(format!("lockweave-fuzz-{}", std::process::id()));
    let chunks = Chunks::create(&store, 1, &folder, |_| ()).unwrap();
    let offer = Offer::new(&store, 1, chunks.manifest().clone(), Vec::new()).unwrap();
    (offer.check().unwrap(), chunks.read(0).unwrap().unwrap())
});

fuzz_target!(|data: &[u8]| {
    if let Ok(offer) = borsh::from_slice::<Offer>(data) {
        let _ = offer.check();
    }
    let (snapshot, chunk) = &*KNOWN;
    assert!(snapshot.check_chunk(0, chunk).is_ok());
    let _ = snapshot.check_chunk(0, data);
    // Some of the right bytes with some others.
    if let [at, length, rest @ ..] = data {
        let at = usize::from(*at) * chunk.len() / 256;
        let length = usize::from(*length).min(chunk.len() - at);
        let changed = [&chunk[..at], rest, &chunk[at + length..]].concat();
        let is_right = snapshot.check_chunk(0, &changed).is_ok();
        assert_eq!(is_right, changed == *chunk);
    }
});
