//! Firewood's root beside one computed from all entries at once.

use super::{
    RootStoreKind, Settings,
    work::{Phase, Work},
};
use alloy_consensus::TrieAccount;
use alloy_primitives::{Address, B256, U256};
use alloy_trie::root::{state_root_unhashed, storage_root_unhashed};
use lockweave_runtime::{Account, StateDelta};
use std::{collections::BTreeMap, num::NonZeroUsize};

/// All entries.
#[derive(Default)]
struct Model {
    accounts: BTreeMap<Address, Account>,
    slots: BTreeMap<Address, BTreeMap<U256, U256>>,
}

impl Model {
    fn apply(&mut self, delta: &StateDelta) {
        for (address, account) in &delta.accounts {
            self.accounts
                .insert(*address, account.expect("no account is removed"));
        }
        for (address, slot, value) in &delta.slots {
            self.slots
                .entry(*address)
                .or_default()
                .insert(*slot, *value);
        }
    }

    fn root(&self) -> B256 {
        state_root_unhashed(self.accounts.iter().map(|(address, account)| {
            let slots = self.slots.get(address).into_iter().flatten();
            let slots = slots.map(|(slot, value)| (B256::from(*slot), *value));
            let account = TrieAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage_root: storage_root_unhashed(slots),
                code_hash: account.code_hash,
            };
            (*address, account)
        }))
    }
}

fn check(kind: RootStoreKind) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Two slots a contract on average, so that some have none and some have one.
    let mut work = Work::new(2_000, 300);
    let settings = Settings {
        threads: NonZeroUsize::new(2).expect("not zero"),
        entries: work.entries_after(3),
        trie_memory_bytes: None,
        cache_bytes: 64 << 20,
    };
    let mut store = kind.open(folder.path(), settings).expect("opens");
    let mut model = Model::default();
    for phase in Phase::ALL {
        let mut blocks = Vec::new();
        while let Some(block) = work.load(phase) {
            blocks.push(block);
        }
        for _ in 0..3 {
            blocks.push(work.block(phase));
        }
        for (number, delta) in blocks {
            let committed = store.commit(number, &delta).expect("commits");
            model.apply(&delta);
            assert_eq!(committed.root, model.root(), "block {number}");
        }
        for _ in 0..100 {
            store.prove(&work.present(phase)).expect("proves");
        }
    }
}

#[test]
fn firewood_computes_ethereums_root() {
    check(RootStoreKind::Firewood);
}

#[test]
fn ours_computes_ethereums_root() {
    check(RootStoreKind::Lockweave);
}
