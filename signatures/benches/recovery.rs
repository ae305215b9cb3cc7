//! Recoveries one by one and in batches.

use alloy_primitives::{B256, keccak256};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lockweave_signatures::{Signed, recover, recover_one};
use secp256k1::{Message, SecretKey, ecdsa::RecoverableSignature};

fn signed(count: u64) -> Vec<Signed> {
    (0..count)
        .map(|index| {
            let hash = keccak256(index.to_be_bytes());
            let key = SecretKey::from_secret_bytes(keccak256(hash).0).expect("below the order");
            let signature =
                RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &key);
            let (id, bytes) = signature.serialize_compact();
            Signed {
                hash,
                r: B256::from_slice(&bytes[..32]),
                s: B256::from_slice(&bytes[32..]),
                odd: id.to_u8() == 1,
            }
        })
        .collect()
}

fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery");
    for count in [1, 2, 4, 8, 16, 64, 256] {
        let signed = signed(count);
        group.throughput(Throughput::Elements(count));
        group.bench_with_input(
            BenchmarkId::new("one by one", count),
            &signed,
            |bencher, signed| {
                bencher.iter(|| signed.iter().map(recover_one).collect::<Vec<_>>());
            },
        );
        group.bench_with_input(
            BenchmarkId::new("together", count),
            &signed,
            |bencher, signed| {
                bencher.iter(|| recover(signed));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, recovery);
criterion_main!(benches);
