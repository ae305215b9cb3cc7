//! Keccak-256 of 4096 messages of a length, by implementation. The time is that of one message.

use alloy_primitives::{B256, keccak256};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lockweave_state_trie::keccak::{Implementation, Messages};
use std::hint::black_box;
use std::time::Instant;

const COUNT: u32 = 4096;
/// A leaf, a branch with few children, and one with all.
const LENGTHS: [(&str, usize); 3] = [("leaf", 110), ("small branch", 330), ("full branch", 532)];

fn message(index: u32, length: usize) -> Vec<u8> {
    let seed = keccak256(index.to_le_bytes());
    seed.iter().copied().cycle().take(length).collect()
}

fn keccak(criterion: &mut Criterion) {
    for (name, length) in LENGTHS {
        let mut group = criterion.benchmark_group(format!("keccak/{name}"));
        let list: Vec<_> = (0..COUNT).map(|index| message(index, length)).collect();
        let mut messages = Messages::default();
        for message in &list {
            messages.push(message);
        }
        let mut hashes = Vec::new();
        for implementation in Implementation::ALL {
            if !implementation.is_available() {
                eprintln!("this processor lacks {implementation:?}");
                continue;
            }
            let id = BenchmarkId::from_parameter(format!("{implementation:?}"));
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|times| {
                    let start = Instant::now();
                    for _ in 0..times {
                        hashes.clear();
                        black_box(&messages).hash_with(implementation, &mut hashes);
                        black_box(&hashes);
                    }
                    start.elapsed() / COUNT
                });
            });
        }
        let push = BenchmarkId::from_parameter("push only");
        group.bench_function(push, |bencher| {
            bencher.iter_custom(|times| {
                let start = Instant::now();
                for _ in 0..times {
                    messages.clear();
                    for message in black_box(&list) {
                        messages.push(message);
                    }
                    black_box(&messages);
                }
                start.elapsed() / COUNT
            });
        });
        group.bench_function(
            BenchmarkId::from_parameter("alloy, one by one"),
            |bencher| {
                bencher.iter_custom(|times| {
                    let start = Instant::now();
                    for _ in 0..times {
                        let hashes: Vec<B256> = black_box(&list).iter().map(keccak256).collect();
                        black_box(&hashes);
                    }
                    start.elapsed() / COUNT
                });
            },
        );
        group.finish();
    }
}

criterion_group!(benches, keccak);
criterion_main!(benches);
