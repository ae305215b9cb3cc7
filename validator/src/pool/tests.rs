//! The pool's rules, on its own.

use super::*;
use crate::chain::Envelope;
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::Signature;
use lockweave_evm_adapter::EvmTransaction;

const RICH: U256 = U256::from_limbs([u64::MAX, 1, 0, 0]);

/// A transaction with these bids, whose sender is given rather than recovered.
fn transaction(sender: u8, nonce: u64, fee: u128, tip: u128) -> PooledTransaction {
    let unsigned = TxEip1559 {
        chain_id: 1,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: tip,
        to: Address::repeat_byte(sender).into(),
        ..TxEip1559::default()
    };
    // The signature is part of the hash, so senders do not share hashes.
    let signature = Signature::new(U256::from(sender) + U256::from(1), U256::from(1), false);
    let envelope = Envelope::from(unsigned.into_signed(signature));
    PooledTransaction::new(
        EvmTransaction::new(envelope, Address::repeat_byte(sender)),
        120,
    )
}

fn pool(config: PoolConfig) -> Pool {
    Pool::new(config)
}

fn insert(pool: &Pool, transaction: PooledTransaction) -> Result<Vec<B256>, PoolError> {
    let state = SenderState {
        nonce: 0,
        balance: RICH,
    };
    pool.insert([(transaction, state)]).remove(0)
}

fn best(pool: &Pool, base_fee: u64) -> Vec<(u8, u64)> {
    let mut taken = Vec::new();
    pool.best(base_fee, |one| {
        taken.push((one.sender[0], one.nonce));
        Take::Yes
    });
    taken
}

#[test]
fn the_best_tip_goes_first_and_nonces_stay_in_order() {
    let pool = pool(PoolConfig::default());
    for (sender, nonce, tip) in [(1, 0, 5), (1, 1, 50), (2, 0, 10), (3, 0, 5), (2, 1, 1)] {
        insert(&pool, transaction(sender, nonce, 100, tip)).unwrap();
    }
    assert_eq!(best(&pool, 0), [(2, 0), (1, 0), (1, 1), (3, 0), (2, 1)]);
}

#[test]
fn who_does_not_pay_the_base_fee_waits_and_holds_up_its_own() {
    let pool = pool(PoolConfig::default());
    insert(&pool, transaction(1, 0, 10, 1)).unwrap();
    insert(&pool, transaction(1, 1, 100, 90)).unwrap();
    insert(&pool, transaction(2, 0, 20, 1)).unwrap();
    assert_eq!(best(&pool, 15), [(2, 0)]);
    assert_eq!(best(&pool, 10), [(2, 0), (1, 0), (1, 1)]);
    assert!(pool.has_executable(20) && !pool.has_executable(21));
}

#[test]
fn a_gap_is_closed_by_the_nonce_that_was_missing() {
    let pool = pool(PoolConfig::default());
    let third = transaction(1, 2, 9, 1);
    let third_hash = third.hash;
    assert_eq!(insert(&pool, third).unwrap(), Vec::<B256>::new());
    insert(&pool, transaction(1, 0, 9, 1)).unwrap();
    assert_eq!(
        pool.status(),
        PoolStatus {
            pending: 1,
            queued: 1
        }
    );
    let second = transaction(1, 1, 9, 1);
    let second_hash = second.hash;
    let inserted = insert(&pool, second).unwrap();
    assert_eq!(inserted, [second_hash, third_hash]);
    assert_eq!(pool.next_nonce(Address::repeat_byte(1)), Some(3));
}

#[test]
fn replacement_takes_ten_percent_of_both_fees() {
    let pool = pool(PoolConfig::default());
    let first = transaction(1, 0, 1000, 100);
    let first_hash = first.hash;
    insert(&pool, first).unwrap();
    for (fee, tip) in [(1099, 110), (1100, 109), (1000, 1000)] {
        let error = insert(&pool, transaction(1, 0, fee, tip)).unwrap_err();
        assert!(
            matches!(error, PoolError::Underpriced { .. }),
            "{fee} {tip}"
        );
    }
    let second = transaction(1, 0, 1100, 110);
    let second_hash = second.hash;
    insert(&pool, second).unwrap();
    assert_eq!(
        pool.status(),
        PoolStatus {
            pending: 1,
            queued: 0
        }
    );
    let reason = pool.drop_reason(first_hash);
    assert_eq!(reason, Some(DropReason::Replaced { by: second_hash }));
}

#[test]
fn the_same_and_the_used_are_refused() {
    let pool = pool(PoolConfig::default());
    insert(&pool, transaction(1, 0, 9, 1)).unwrap();
    let again = insert(&pool, transaction(1, 0, 9, 1));
    assert_eq!(again, Err(PoolError::AlreadyKnown));
    let state = SenderState {
        nonce: 7,
        balance: RICH,
    };
    let used = pool.insert([(transaction(2, 6, 9, 1), state)]).remove(0);
    assert_eq!(used, Err(PoolError::NonceTooLow { nonce: 6, next: 7 }));
}

#[test]
fn nobody_bids_more_than_he_has() {
    let pool = pool(PoolConfig::default());
    let cost = transaction(1, 0, 10, 1).cost;
    let state = SenderState {
        nonce: 0,
        balance: cost + cost - U256::from(1),
    };
    pool.insert([(transaction(1, 0, 10, 1), state)])
        .remove(0)
        .unwrap();
    let second = pool.insert([(transaction(1, 1, 10, 1), state)]).remove(0);
    assert!(matches!(second, Err(PoolError::Overdraft { .. })));
    let dear = pool.insert([(transaction(2, 0, 21, 1), state)]).remove(0);
    assert!(matches!(dear, Err(PoolError::InsufficientFunds { .. })));
}

#[test]
fn a_full_pool_drops_the_lowest_bid() {
    let pool = pool(PoolConfig {
        transactions_max: 3,
        ..PoolConfig::default()
    });
    let lowest = transaction(1, 0, 100, 1);
    let lowest_hash = lowest.hash;
    insert(&pool, lowest).unwrap();
    insert(&pool, transaction(2, 0, 100, 5)).unwrap();
    insert(&pool, transaction(3, 0, 100, 5)).unwrap();
    let low = insert(&pool, transaction(4, 0, 100, 1));
    assert_eq!(low, Err(PoolError::Full { bid: 1 }));
    insert(&pool, transaction(4, 0, 100, 2)).unwrap();
    assert_eq!(pool.drop_reason(lowest_hash), Some(DropReason::Evicted));
    assert_eq!(best(&pool, 0), [(2, 0), (3, 0), (4, 0)]);
}

#[test]
fn one_sender_cannot_fill_the_pool() {
    let pool = pool(PoolConfig {
        transactions_per_sender_max: 4,
        queued_per_sender_max: 2,
        ..PoolConfig::default()
    });
    insert(&pool, transaction(1, 5, 9, 1)).unwrap();
    insert(&pool, transaction(1, 6, 9, 1)).unwrap();
    let gapped = insert(&pool, transaction(1, 7, 9, 1));
    assert_eq!(gapped, Err(PoolError::TooManyGapped { limit: 2, next: 0 }));
    insert(&pool, transaction(1, 0, 9, 1)).unwrap();
    insert(&pool, transaction(1, 1, 9, 1)).unwrap();
    let fifth = insert(&pool, transaction(1, 2, 9, 1));
    assert_eq!(fifth, Err(PoolError::SenderFull { limit: 4 }));
    insert(&pool, transaction(2, 0, 9, 1)).unwrap();
}

#[test]
fn a_block_takes_its_own_and_what_can_never_be_in_one() {
    let pool = pool(PoolConfig::default());
    let hashes: Vec<B256> = (0..3)
        .map(|nonce| {
            let one = transaction(1, nonce, 9, 1);
            let hash = one.hash;
            insert(&pool, one).unwrap();
            hash
        })
        .collect();
    let state = SenderState {
        nonce: 2,
        balance: RICH,
    };
    // The block had the first; the second's nonce was used by a transaction from elsewhere.
    pool.advance([(Address::repeat_byte(1), state)], |hash| hash == hashes[0]);
    assert_eq!(
        pool.status(),
        PoolStatus {
            pending: 1,
            queued: 0
        }
    );
    assert_eq!(pool.drop_reason(hashes[0]), None);
    assert_eq!(pool.drop_reason(hashes[1]), Some(DropReason::NonceUsed));
    assert_eq!(best(&pool, 0), [(1, 2)]);
    pool.drop_transaction(hashes[2], DropReason::Invalid("no".to_owned()));
    assert_eq!(pool.status(), PoolStatus::default());
    assert_eq!(pool.content().len(), 0);
}

mod hostile {
    use super::super::{Admission, PoolConfig, validate};
    use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
    use alloy_eips::eip2718::Encodable2718;
    use alloy_primitives::{Address, U256};
    use alloy_signer::SignerSync;
    use lockweave_evm_adapter::{ChainSpec, SpecId};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn admission() -> Admission {
        let chain = Arc::new(ChainSpec::single_fork(1337, SpecId::PRAGUE));
        Admission::new(chain, 1, 0, 1_000_000_000)
    }

    fn signed() -> Vec<u8> {
        let signer = alloy_signer_local::PrivateKeySigner::from_bytes(&[9; 32].into()).unwrap();
        let unsigned = TxEip1559 {
            chain_id: 1337,
            gas_limit: 100_000,
            max_fee_per_gas: 10,
            to: Address::repeat_byte(4).into(),
            value: U256::from(3),
            input: vec![1; 40].into(),
            ..TxEip1559::default()
        };
        let signature = signer.sign_hash_sync(&unsigned.signature_hash()).unwrap();
        TxEnvelope::from(unsigned.into_signed(signature)).encoded_2718()
    }

    proptest! {
        /// Any bytes are refused or understood, and never do harm.
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = validate(&admission(), &PoolConfig::default(), &[bytes]);
        }

        /// A transaction with a changed byte is refused or has another hash.
        #[test]
        fn a_changed_byte_is_noticed(place in 0_usize..150, change in 1_u8..) {
            let (admission, config) = (admission(), PoolConfig::default());
            let original = signed();
            let mut changed = original.clone();
            let place = place % changed.len();
            changed[place] ^= change;
            let [accepted, other] = &validate(&admission, &config, &[original, changed])[..] else {
                panic!("two in, two out");
            };
            let accepted = accepted.as_ref().unwrap();
            if let Ok(other) = other {
                prop_assert_ne!(other.hash, accepted.hash);
            }
        }
    }
}
