use std::time::Duration;

use alloy_primitives::B256;

use super::{Answer, Counts, Ledger, Receipt, State};
use crate::transaction::Signed;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A ledger of one sender's transactions, the first `sent` of which were sent at once.
fn ledger(count: u8, sent: usize) -> Ledger {
    let signed: Vec<Signed> = (0..count)
        .map(|index| Signed {
            sender: 0,
            nonce: index.into(),
            hash: B256::repeat_byte(index),
            raw: String::new(),
        })
        .collect();
    let mut ledger = Ledger::new(&signed, 1);
    for index in 0..sent {
        ledger.due(index, ms(0));
        ledger.sent(index, ms(0));
    }
    ledger
}

fn include(ledger: &mut Ledger, byte: u8, now: Duration) {
    let receipt = Receipt {
        hash: B256::repeat_byte(byte),
        success: true,
        gas_used: 21_000,
    };
    ledger.block(1, 21_000, &[receipt], now, None);
}

fn refuse(ledger: &mut Ledger, index: usize, now: Duration) {
    ledger.answered(index, &Answer::Refused("pool is full 17".to_owned()), now);
}

#[test]
fn latency_counts_from_the_intended_time() {
    let mut ledger = ledger(1, 0);
    ledger.due(0, ms(10));
    assert!(!ledger.all_in_blocks());
    ledger.sent(0, ms(500));
    ledger.answered(0, &Answer::Accepted, ms(510));
    let receipt = Receipt {
        hash: B256::ZERO,
        success: true,
        gas_used: 21_000,
    };
    assert!(ledger.waits_for(&B256::ZERO));
    ledger.block(7, 50_000, &[receipt], ms(1010), Some(ms(910)));
    assert!(!ledger.waits_for(&B256::ZERO));
    for (histogram, expected) in [
        (&ledger.lag_us, 490_000),
        (&ledger.accepted_us, 500_000),
        (&ledger.seen_us, 900_000),
        (&ledger.included_us, 1_000_000),
    ] {
        assert!(histogram.max().abs_diff(expected) < 1_000);
    }
    // A second receipt changes nothing.
    ledger.block(7, 50_000, &[receipt], ms(2000), None);
    assert_eq!((ledger.gas, ledger.blocks.len()), (21_000, 1));
    assert_eq!(ledger.blocks[0].gas, 50_000);
    assert!(ledger.all_in_blocks());
}

#[test]
fn what_was_never_submitted_is_due_and_not_sent() {
    let mut ledger = ledger(2, 1);
    ledger.due(1, ms(5));
    assert_eq!(
        ledger.counts(),
        Counts {
            due: 2,
            sent: 1,
            waiting: 1,
            ..Counts::default()
        }
    );
}

#[test]
fn a_refused_resend_does_not_undo_an_acceptance() {
    let mut ledger = ledger(1, 1);
    ledger.answered(0, &Answer::Accepted, ms(1));
    assert_eq!(ledger.take_stalled(ms(100), ms(50)), [0]);
    assert_eq!(ledger.mark_dropped(0), [0]);
    assert_eq!(ledger.dropped, 1);
    ledger.sent(0, ms(100));
    refuse(&mut ledger, 0, ms(101));
    assert_eq!(ledger.entries[0].state, State::Accepted);
    assert_eq!((ledger.repeats, ledger.counts().sent), (1, 1));
}

#[test]
fn refused_transactions_are_resent_with_growing_delays_and_within_the_budget() {
    let mut ledger = ledger(3, 3);
    refuse(&mut ledger, 1, ms(1));
    refuse(&mut ledger, 2, ms(1));
    assert_eq!(ledger.refusals["pool is full ##"], 2);
    assert!(
        ledger.take_refused(ms(9), ms(10), 9).is_empty(),
        "too early"
    );
    assert!(ledger.take_refused(ms(10), ms(10), 0).is_empty());
    assert_eq!(ledger.take_refused(ms(10), ms(10), 1), [1]);
    assert_eq!(ledger.counts().refused, 1);
    ledger.sent(1, ms(10));
    refuse(&mut ledger, 1, ms(11));
    assert_eq!(
        ledger.take_refused(ms(25), ms(10), 9),
        [2],
        "1 has to wait twice as long"
    );
    assert_eq!(ledger.take_refused(ms(30), ms(10), 9), [1]);
}

#[test]
fn a_sender_with_progress_is_not_stalled() {
    let mut ledger = ledger(3, 3);
    assert!(ledger.take_stalled(ms(40), ms(50)).is_empty());
    include(&mut ledger, 0, ms(45));
    assert!(
        ledger.take_stalled(ms(60), ms(50)).is_empty(),
        "it has just made progress"
    );
    assert_eq!(ledger.take_stalled(ms(95), ms(50)), [1]);
    assert!(
        ledger.take_stalled(ms(150), ms(50)).is_empty(),
        "it was just queried"
    );
    assert_eq!(ledger.mark_dropped(1), [1, 2]);
    assert_eq!(ledger.in_blocks_by_sender(), [1]);
}
