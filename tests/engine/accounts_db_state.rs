//! The engine has the same results on the accounts database as on a state in memory.

use crate::{
    mainnet_blocks,
    support::{Case, STAGES, WORKERS, generate},
};
use alloy_primitives::{Address, KECCAK256_EMPTY, U256};
use lockweave::{
    ChainSpec, EvmExecutor, MemoryState, SealedBlock, StateView, Step,
    accounts_db::{CheckpointMode, Db, Options, StateItem},
    evm::EvmBlock,
    runtime::{Account, SerialState, StateDelta, execute_serially, receipts},
};
use lockweave_validator::{recorded::RecordedBlocks, replay::prepare_block};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
};

fn open(folder: &Path) -> Db {
    let options = Options {
        segment_bytes: 1 << 20,
        shard_bits: 4,
        checkpoint_mode: CheckpointMode::Manual,
        threads: 2,
        ..Options::default()
    };
    Db::open(folder, options).expect("a database")
}

/// A state in memory as the changes that create it.
fn genesis(state: &MemoryState) -> StateDelta {
    let mut delta = StateDelta::default();
    let mut known = BTreeSet::new();
    for (address, account) in state.accounts() {
        delta.accounts.push((address, Some(*account)));
        delta.slots.extend(
            state
                .slots(address)
                .map(|(slot, value)| (address, slot, value)),
        );
        if account.code_hash != KECCAK256_EMPTY && known.insert(account.code_hash) {
            delta
                .codes
                .extend(state.code(account.code_hash).expect("in memory"));
        }
    }
    delta
}

type Contents = (BTreeMap<Address, Account>, BTreeMap<(Address, U256), U256>);

fn contents_of_memory(state: &MemoryState) -> Contents {
    let accounts: BTreeMap<_, _> = (state.accounts())
        .map(|(address, account)| (address, *account))
        .collect();
    let slots = accounts.keys().flat_map(|address| {
        let slots = state.slots(*address);
        slots.map(|(slot, value)| ((*address, slot), value))
    });
    let slots = slots.collect();
    (accounts, slots)
}

fn contents_of(db: &Db) -> Contents {
    let (mut accounts, mut slots) = Contents::default();
    for item in db.reader_latest().expect("a block").items() {
        match item.expect("readable") {
            StateItem::Account(address, account) => {
                accounts.insert(address, account);
            }
            StateItem::Slot(address, slot, value) => {
                slots.insert((address, slot), value);
            }
        }
    }
    (accounts, slots)
}

fn run_serially(block: &EvmBlock, steps: &[Step], view: Arc<dyn StateView>) -> SealedBlock {
    let mut executor = EvmExecutor::<SerialState>::new(block.context());
    let mut state = SerialState::new(view, block.context().rules());
    execute_serially(&mut executor, &mut state, steps).expect("sound steps")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_blocks_end_the_same_on_both_states(case in generate::case(50)) {
        let folder = tempfile::tempdir().expect("a folder");
        let db = open(folder.path());
        let mut memory = generate::state();
        db.commit(0, &genesis(&memory), &[]).expect("room on the disk");
        let (steps, sets, expected) = case.record();
        let on_db = Case { view: Arc::new(db.reader_latest().expect("a block")), ..case.clone() };
        let serial = run_serially(&case.block, &steps, Arc::clone(&on_db.view));
        prop_assert_eq!(&serial, &expected);
        for (stage, workers) in STAGES.iter().zip(WORKERS) {
            match on_db.run(stage, &steps, &sets) {
                Ok(found) => prop_assert_eq!(&found, &expected, "{} workers", workers),
                Err((task, error)) => prop_assert!(false, "step {}: {}", task, error),
            }
        }
        db.commit(1, &expected.delta, &[]).expect("room on the disk");
        memory.apply(&expected.delta);
        prop_assert_eq!(contents_of(&db), contents_of_memory(&memory));
        let reader = db.reader_latest().expect("a block");
        let recomputed = db.recompute(|_, _| {}).expect("readable");
        prop_assert_eq!(recomputed.state_root, reader.state_root());
        db.undo_to(0).expect("a retained block");
        prop_assert_eq!(contents_of(&db), contents_of_memory(&generate::state()));
    }
}

#[test]
fn recorded_blocks_have_the_same_receipts_on_both_states() {
    let Some(archive) = mainnet_blocks::archive() else {
        return;
    };
    let mut count = 0;
    for recorded in RecordedBlocks::open(&archive, None).expect("a sound archive") {
        let recorded = recorded.expect("a sound block");
        let number = recorded.header.number;
        let mut memory = recorded.state.clone();
        let threads = NonZeroUsize::MIN.saturating_add(3);
        let (block, view) =
            prepare_block(&ChainSpec::mainnet(), recorded, threads).expect("a sound block");
        let folder = tempfile::tempdir().expect("a folder");
        let db = open(folder.path());
        let mut first = db
            .prepare(number - 1, &genesis(&memory))
            .expect("sound changes");
        for ancestor in number.saturating_sub(256)..number - 1 {
            if let Some(hash) = memory.block_hash(ancestor).expect("in memory") {
                first.add_ancestor(ancestor, hash);
            }
        }
        let parent = block.header().parent_hash;
        db.commit_prepared(first, parent, &[])
            .expect("room on the disk");
        let expected = run_serially(&block, block.steps(), view);
        let on_db: Arc<dyn StateView> = Arc::new(db.reader_latest().expect("a block"));
        let case = Case {
            block: block.clone(),
            view: Arc::clone(&on_db),
        };
        let found = run_serially(&block, block.steps(), on_db);
        assert_eq!(
            receipts(found.outcomes.clone()),
            receipts(expected.outcomes.clone()),
            "block {number}"
        );
        assert_eq!(found, expected, "block {number}");
        let (steps, sets, recorded) = case.record();
        assert_eq!(recorded, expected, "block {number}");
        let stage = STAGES.last().expect("there are stages");
        let parallel = case.run(stage, &steps, &sets);
        assert_eq!(parallel.ok().as_ref(), Some(&expected), "block {number}");
        db.commit_prepared(
            db.prepare(number, &expected.delta).expect("sound changes"),
            block.header().hash_slow(),
            &[],
        )
        .expect("room on the disk");
        memory.apply(&expected.delta);
        assert_eq!(
            contents_of(&db),
            contents_of_memory(&memory),
            "block {number}"
        );
        count += 1;
    }
    println!("{count} blocks are the same");
}
