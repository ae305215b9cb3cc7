//! Snapshots of states of all shapes: made, sent over, put into a new data folder, compared.

use super::{
    Chunks, InvalidSnapshot, Manifest, Offer, Restore, SnapshotError,
    chunk::{Chunk, ChunkSlot, ChunkStorage},
    create::{Placed, split},
    manifest::{ChunkInfo, SLOT_PATH_MAX, root_of},
};
use crate::{
    chain::{ChainBlock, ChainParameters, dev},
    store::{ChainStore, Datadir, DurableStore, Retention},
};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::Nibbles;
use lockweave_accounts_db::StateItem;
use lockweave_runtime::{Account, Code, StateDelta};
use lockweave_state_trie::MemoryTrie;
use proptest::prelude::*;
use std::{collections::BTreeSet, sync::Arc};
use tempfile::TempDir;

const PROOF: &[u8] = b"what proves the next block final";

/// A chain on disk whose state is `state`, and a number of empty blocks.
struct Chain {
    folder: TempDir,
    store: DurableStore,
    parameters: ChainParameters,
}

fn parameters() -> ChainParameters {
    ChainParameters::new(dev::genesis([Address::repeat_byte(1)], 0)).unwrap()
}

fn open(folder: &TempDir, parameters: &ChainParameters) -> DurableStore {
    let datadir = Datadir::open(folder.path()).unwrap();
    if datadir.parameters().unwrap().is_none() {
        datadir.init(parameters).unwrap();
    }
    DurableStore::open(datadir, parameters, Retention::default()).unwrap()
}

impl Chain {
    fn new(state: &StateDelta, blocks: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let parameters = parameters();
        let store = open(&folder, &parameters);
        for number in 1..=blocks {
            let delta = match number {
                1 => state.clone(),
                _ => StateDelta::default(),
            };
            commit(&store, delta);
        }
        Self {
            folder,
            store,
            parameters,
        }
    }

    /// The snapshot of the last block but one.
    fn snapshot(&self) -> (Chunks, Offer) {
        let number = self.store.head().number() - 1;
        let folder = self.folder.path().join("snapshot");
        let chunks = Chunks::create(&self.store, number, &folder, |_| ()).unwrap();
        let manifest = chunks.manifest().clone();
        let offer = Offer::new(&self.store, number, manifest, PROOF.to_vec()).unwrap();
        (chunks, offer)
    }
}

/// Adds a block with these changes and no transactions.
fn commit(store: &DurableStore, delta: StateDelta) {
    let parent = store.head();
    let number = parent.number() + 1;
    let mut prepared = store.prepare(number, delta).unwrap();
    let header = Header {
        parent_hash: parent.hash,
        number,
        state_root: prepared.state_root(),
        withdrawals_root: None,
        ..Header::default()
    };
    let block = ChainBlock {
        hash: header.hash_slow(),
        header,
        transactions: Vec::new(),
        ommers: Vec::new(),
        withdrawals: None,
        receipts: Vec::new(),
        receipt_roots: Vec::new(),
        access: Vec::new(),
        failures: Vec::new(),
    };
    prepared.commit(Arc::new(block)).unwrap();
}

fn items(store: &DurableStore, number: u64) -> BTreeSet<String> {
    let mut items = BTreeSet::new();
    let visit = &mut |item: StateItem| items.insert(format!("{item:?}"));
    store.visit_state(number, visit).unwrap();
    items
}

/// Puts a snapshot into a new folder, interrupted many times, and compares everything.
fn restore(chain: &Chain, chunks: &Chunks, offer: &Offer) {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder, &chain.parameters));
    let datadir = Datadir::open(folder.path()).unwrap();
    let begin = || {
        let snapshot = offer.clone().check().unwrap();
        Restore::open(&datadir, offer, snapshot, 1 << 20).unwrap()
    };
    let mut restore = begin();
    let mut interrupted = BTreeSet::new();
    while let Some(bytes) = chunks.read(restore.next()).unwrap() {
        let index = restore.next();
        let chunk = restore.snapshot().check_chunk(index, &bytes).unwrap();
        restore.add(chunk).unwrap();
        if index % 7 == 0 && interrupted.insert(index) {
            drop(restore);
            restore = begin();
            assert!(restore.next() <= index + 1);
        }
    }
    restore.finish(&datadir).unwrap();
    drop(datadir);
    let finalization = || Datadir::finalization(folder.path()).unwrap();
    assert_eq!(finalization().as_deref(), Some(PROOF));
    let store = open(&folder, &chain.parameters);
    let number = chain.store.head().number() - 1;
    assert_eq!(
        store.head().hash,
        chain.store.block(number).unwrap().unwrap().hash
    );
    assert_eq!(items(&store, number), items(&chain.store, number));
    assert_eq!(store.oldest_state(), number);
    assert_eq!(store.oldest_block(), number);
    // The next block can be executed: the hashes and codes are there.
    let (state, expected) = (store.state_at(number), chain.store.state_at(number));
    let (state, expected) = (state.unwrap(), expected.unwrap());
    for back in number.saturating_sub(255).max(1)..=number {
        let hash = expected.block_hash(back).unwrap();
        assert!(hash.is_some());
        assert_eq!(state.block_hash(back).unwrap(), hash, "block {back}");
    }
    let visit = &mut |item| {
        if let StateItem::Account(_, account) = item
            && account.code_hash != KECCAK256_EMPTY
        {
            let code = state.code(account.code_hash).unwrap().unwrap();
            assert_eq!(keccak256(code.bytes()), account.code_hash);
        }
        true
    };
    store.visit_state(number, visit).unwrap();
    drop((state, expected));
    commit(&store, StateDelta::default());
    assert_eq!(store.head().hash, chain.store.head().hash);
    // Whatever else is opened later, the proof stays.
    drop(store);
    drop(open(&folder, &chain.parameters));
    assert!(finalization().is_some());
}

/// A state of `accounts` accounts, each with `slots` slots, and a code for every third.
fn state(accounts: u64, slots: u64, code_bytes: usize) -> StateDelta {
    let mut delta = StateDelta::default();
    for index in 0..accounts {
        let address = Address::from_word(keccak256(index.to_be_bytes()));
        let code = Arc::new(Code::new(Bytes::from(vec![
            index.to_le_bytes()[0];
            code_bytes
        ])));
        let has_code = index % 3 == 0 && code_bytes > 0;
        let account = Account {
            nonce: index,
            balance: U256::from(index) << 100,
            code_hash: if has_code {
                code.hash()
            } else {
                KECCAK256_EMPTY
            },
        };
        delta.accounts.push((address, Some(account)));
        if has_code && delta.codes.iter().all(|known| known.hash() != code.hash()) {
            delta.codes.push(code);
        }
        let slots = (0..slots).map(|slot| (address, U256::from(slot), U256::from(slot + 1) << 77));
        delta.slots.extend(slots);
    }
    delta
}

#[test]
fn a_small_state_is_one_chunk() {
    let chain = Chain::new(&state(20, 3, 100), 3);
    let (chunks, offer) = chain.snapshot();
    assert_eq!(chunks.manifest().count(), 1);
    restore(&chain, &chunks, &offer);
}

#[test]
fn a_large_state_is_many_chunks() {
    // Some codes are as large as they may be.
    let chain = Chain::new(&state(3_000, 5, 24_576), 5);
    let (chunks, offer) = chain.snapshot();
    let count = chunks.manifest().count();
    assert!(count > 16, "{count}");
    restore(&chain, &chunks, &offer);
}

#[test]
fn an_account_with_many_slots_has_chunks_of_its_own() {
    let mut delta = state(100, 0, 0);
    let owner = delta.accounts[50].0;
    let slots = (0..100_000).map(|slot| (owner, U256::from(slot), U256::from(slot + 7)));
    delta.slots.extend(slots);
    let chain = Chain::new(&delta, 300);
    let (chunks, offer) = chain.snapshot();
    let manifest = chunks.manifest();
    let slots = manifest.chunks.iter().filter(|chunk| chunk.owner.is_some());
    assert!(slots.count() >= 4);
    restore(&chain, &chunks, &offer);
}

/// What a peer that lies can do to an offer and its chunks.
#[test]
fn lies_are_found() {
    let chain = Chain::new(&state(2_000, 5, 10_000), 5);
    let (chunks, offer) = chain.snapshot();
    let snapshot = offer.clone().check().unwrap();
    let bytes = chunks.read(2).unwrap().unwrap();
    // Another chunk than the one that was asked for.
    assert!(snapshot.check_chunk(1, &bytes).is_err());
    // A balance, a missing account, a code that no account has.
    let lie = |change: &dyn Fn(&mut Chunk)| {
        let mut chunk: Chunk = borsh::from_slice(&bytes).unwrap();
        change(&mut chunk);
        let bytes = borsh::to_vec(&chunk).unwrap();
        snapshot.check_chunk(2, &bytes).map(drop)
    };
    let of_accounts = |change: &dyn Fn(&mut Vec<_>, &mut Vec<Vec<u8>>)| {
        lie(&|chunk| match chunk {
            Chunk::Accounts { accounts, codes } => change(accounts, codes),
            Chunk::Slots { .. } => unreachable!("there are none"),
        })
    };
    of_accounts(&|_, _| ()).unwrap();
    assert!(of_accounts(&|accounts, _| accounts[0].balance[31] ^= 1).is_err());
    assert!(of_accounts(&|accounts, _| drop(accounts.remove(0))).is_err());
    assert!(of_accounts(&|accounts, _| accounts.swap(0, 1)).is_err());
    assert!(of_accounts(&|accounts, _| accounts.push(accounts[0].clone())).is_err());
    assert!(of_accounts(&|_, codes| drop(codes.pop())).is_err());
    assert!(of_accounts(&|_, codes| codes.push(vec![1, 2, 3])).is_err());
    let no_slots = of_accounts(&|accounts, _| accounts[0].storage = ChunkStorage::Here(vec![]));
    assert!(no_slots.is_err());
    let apart = of_accounts(&|accounts, _| accounts[0].storage = ChunkStorage::Apart([1; 32]));
    assert!(apart.is_err());
    // The list.
    let lie = |change: &dyn Fn(&mut Manifest)| {
        let mut offer = offer.clone();
        change(&mut offer.manifest);
        offer.check().map(drop)
    };
    lie(&|_| ()).unwrap();
    assert!(lie(&|manifest| manifest.chunks.clear()).is_err());
    assert!(lie(&|manifest| drop(manifest.chunks.pop())).is_err());
    assert!(lie(&|manifest| manifest.chunks[1].root[0] ^= 1).is_err());
    assert!(lie(&|manifest| manifest.chunks[1].path.push(16)).is_err());
    assert!(lie(&|manifest| manifest.chunks[1].path.push(3)).is_err());
    assert!(lie(&|manifest| manifest.chunks.swap(0, 1)).is_err());
    assert!(lie(&|manifest| manifest.chunks[1].path = vec![1; 65]).is_err());
    // Bytes that were cut or changed.
    for at in (0..bytes.len()).step_by(bytes.len() / 50) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        assert!(snapshot.check_chunk(2, &changed).is_err(), "byte {at}");
    }
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        assert!(snapshot.check_chunk(2, &bytes[..cut]).is_err());
    }
    let encoded = borsh::to_vec(&offer).unwrap();
    for at in (0..encoded.len()).step_by(7) {
        let mut changed = encoded.clone();
        changed[at] ^= 0x10;
        let Ok(changed) = borsh::from_slice::<Offer>(&changed) else {
            continue;
        };
        // Not checked here: the proof, the sizes of chunks, and which block the next one is.
        if let Ok(checked) = changed.check() {
            assert_eq!(checked.hash(), snapshot.hash());
            assert_eq!(checked.hashes, snapshot.hashes);
        }
    }
}

/// Slots whose account was not there yet.
#[test]
fn chunks_out_of_order_are_refused() {
    let mut delta = state(10, 0, 0);
    let owner = delta.accounts[5].0;
    let slots = (0..20_000).map(|slot| (owner, U256::from(slot), U256::from(slot + 7)));
    delta.slots.extend(slots);
    let chain = Chain::new(&delta, 3);
    let (chunks, mut offer) = chain.snapshot();
    let is_first = |chunk: &ChunkInfo| chunk.owner.is_some();
    let first = offer.manifest.chunks.iter().position(is_first).unwrap();
    (offer.manifest.chunks).sort_by_key(|chunk| chunk.owner.is_none());
    let folder = tempfile::tempdir().unwrap();
    let datadir = Datadir::open(folder.path()).unwrap();
    let snapshot = offer.clone().check().unwrap();
    let mut restore = Restore::open(&datadir, &offer, snapshot, 1 << 20).unwrap();
    let bytes = chunks.read(first).unwrap().unwrap();
    let chunk = restore.snapshot().check_chunk(0, &bytes).unwrap();
    let result = restore.add(chunk);
    let expected =
        SnapshotError::Invalid(InvalidSnapshot::Manifest("slots come before their account"));
    assert_eq!(result.unwrap_err().to_string(), expected.to_string());
}

#[test]
fn an_interrupted_restore_of_another_snapshot_is_removed() {
    let chain = Chain::new(&state(2_000, 5, 10_000), 5);
    let (chunks, offer) = chain.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let datadir = Datadir::open(folder.path()).unwrap();
    let mut restore =
        Restore::open(&datadir, &offer, offer.clone().check().unwrap(), 1 << 20).unwrap();
    for index in 0..chunks.manifest().count() / 2 {
        let bytes = chunks.read(index).unwrap().unwrap();
        let chunk = restore.snapshot().check_chunk(index, &bytes).unwrap();
        restore.add(chunk).unwrap();
    }
    drop(restore);
    assert_eq!(Restore::interrupted(&datadir), Some(offer.clone()));
    let mut other = offer;
    other.finalization.push(1);
    let restore = Restore::open(&datadir, &other, other.clone().check().unwrap(), 1 << 20);
    assert_eq!(restore.unwrap().next(), 0);
    Restore::discard(&datadir).unwrap();
    assert_eq!(Restore::interrupted(&datadir), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The manifest's root is that of the trie, whatever the keys have in common and wherever they are cut.
    #[test]
    fn the_roots_of_parts_make_the_root_of_the_whole(
        names in prop::collection::btree_set(any::<[u8; 2]>(), 1..200),
        size in 1_usize..40,
    ) {
        check_parts(&names, size);
    }
}

struct Slot {
    key: B256,
    slot: ChunkSlot,
}

impl Placed for Slot {
    fn key(&self) -> &B256 {
        &self.key
    }

    fn bytes(&self) -> usize {
        1
    }
}

/// Cuts a trie of slots into parts of at most `size` slots, and compares the root.
fn check_parts(names: &BTreeSet<[u8; 2]>, size: usize) {
    let owner = Address::repeat_byte(9);
    let mut delta = StateDelta::default();
    delta.accounts.push((owner, Some(Account::default())));
    let mut slots = Vec::new();
    for name in names {
        let (slot, value) = (B256::left_padding_from(name), U256::from(7));
        delta.slots.push((owner, slot.into(), value));
        slots.push(Slot {
            key: keccak256(slot),
            slot: ChunkSlot {
                slot: slot.0,
                value: value.to_be_bytes(),
            },
        });
    }
    slots.sort_unstable_by_key(|slot| slot.key);
    let parts = split(
        &slots,
        0..slots.len(),
        Nibbles::default(),
        size,
        SLOT_PATH_MAX,
    );
    let chunks = parts.into_iter().map(|(path, range)| {
        let chunk = Chunk::Slots {
            owner: owner.into_array(),
            slots: slots[range].iter().map(|slot| slot.slot).collect(),
        };
        ChunkInfo {
            owner: Some(owner.into_array()),
            path: path.to_vec(),
            root: chunk.content(&path).unwrap().root.0,
            bytes: 0,
        }
    });
    let chunks: Vec<_> = chunks.collect();
    let proof = MemoryTrie::of(&delta).unwrap().proof(owner, &[]).unwrap();
    assert_eq!(root_of(&chunks), Some(proof.storage_root));
}
