use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn check(shard_bits: u32, operations: Vec<(u8, u16)>) {
    let index = Index::new(shard_bits, 0);
    let mut model = BTreeMap::<u64, Vec<Location>>::new();
    let mut next = 1;
    for (operation, key) in operations {
        // There are few fingerprints, so many keys share one.
        let hash = u64::from(key) << 48;
        let places = model.entry(hash).or_default();
        let location = Location::from_units(next);
        match (operation % 4, places.last().copied()) {
            (0, Some(old)) => {
                assert!(index.remove(hash, old));
                places.pop();
            }
            (1, Some(old)) => {
                assert!(index.replace(hash, old, location));
                *places.last_mut().expect("there is one") = location;
            }
            _ => {
                index.insert(hash, location);
                places.push(location);
            }
        }
        next += 1;
        let count: usize = model.values().map(Vec::len).sum();
        assert_eq!(index.len(), count as u64);
    }
    let loaded = Index::new(shard_bits, 0);
    for shard in 0..index.shard_count() {
        let mut slots = Vec::new();
        index.copy_shard(shard, &mut slots);
        let slots: Vec<u64> = (slots.chunks_exact(8))
            .map(|slot| u64::from_le_bytes(slot.try_into().expect("eight bytes")))
            .collect();
        assert!(loaded.load_shard(shard, &slots));
    }
    for (hash, places) in &model {
        for index in [&index, &loaded] {
            let mut found = index.candidates(*hash);
            found.sort_unstable();
            let mut expected = places.clone();
            expected.sort_unstable();
            assert_eq!(found, expected);
            assert_eq!(index.first_candidate(*hash).is_some(), !places.is_empty());
            assert!(!index.contains(*hash, Location::from_units(next)));
        }
    }
}

proptest! {
    #[test]
    fn the_index_is_a_map(
        shard_bits in 0_u32..3,
        operations in prop::collection::vec((any::<u8>(), 0_u16..200), 0..400),
    ) {
        check(shard_bits, operations);
    }
}

/// With the database's number of shards, and blocks that add 5,000 keys. All shards have about as
/// many keys, so they grow at about the same time; that must not happen in one block.
#[test]
fn growth_is_spread_over_many_blocks() {
    const BLOCK: u64 = 5_000;
    let index = Index::new(14, 0);
    let capacities = |index: &Index| -> Vec<(usize, usize)> {
        let table = |shard: &Shard| {
            let table = shard.0.read();
            (table.slots.len(), table.used)
        };
        index.shards.iter().map(table).collect()
    };
    let mut random = 0_u64;
    let mut key = 0;
    let mut before = Vec::new();
    let (mut moved_most, mut moved_in_all) = (0, 0);
    for block in 0..300 {
        for _ in 0..BLOCK {
            key += 1;
            // SplitMix64.
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let hash = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            index.insert(hash ^ (hash >> 31), Location::from_units(key));
        }
        let after = capacities(&index);
        // Earlier, shards are so small that all of them grow in each block.
        if block >= 100 {
            let pairs = before.iter().zip(&after);
            let grown = pairs.filter(|((old, _), (new, _))| old != new);
            let moved: usize = grown.map(|(_, (_, used))| *used).sum();
            moved_most = moved_most.max(moved as u64);
            moved_in_all += moved as u64;
        }
        before = after;
    }
    assert!(moved_in_all > key / 2, "nothing grew: {moved_in_all}");
    assert!(
        moved_most * 5 <= key,
        "a block moved {moved_most} of {key} slots"
    );
}

/// Remaining keys are found at every moment, whatever is inserted, removed, moved or grown
/// concurrently.
#[test]
fn concurrent_lookups_find_every_remaining_key() {
    let index = Index::new(2, 0);
    let hash = |key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let kept = |key: u64| Location::from_units(key + 1);
    for key in 0..500 {
        index.insert(hash(key), kept(key));
    }
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    for key in 0..500 {
                        assert!(index.contains(hash(key), kept(key)), "key {key}");
                        assert!(index.first_candidate(hash(key)).is_some());
                    }
                }
            });
        }
        for round in 1..60_u64 {
            let passing = round * 1000..round * 1000 + round * 20;
            for key in passing.clone() {
                index.insert(hash(key), kept(key));
            }
            for key in passing {
                assert!(index.remove(hash(key), kept(key)));
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(index.len(), 500);
}

#[test]
fn memory_stays_under_twenty_bytes_a_key_while_it_grows() {
    let index = Index::new(6, 0);
    let mut hash = 0_u64;
    for key in 1..=100_000_u64 {
        // Weyl's sequence spreads evenly.
        hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
        index.insert(hash, Location::from_units(key));
        if key >= 20_000 && key % 1000 == 0 {
            assert!(index.memory_bytes() < 20 * key, "at {key} keys");
        }
    }
}
