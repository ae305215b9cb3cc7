//! How large this node's proposals may be.
//!
//! A view is lost if its proposal is not built, sent and checked in time, and its transactions are proposed again in
//! the next view. If leaders proposed all that fits into a block, a backlog would stop the network. So a
//! leader starts with small blocks, and measures: how long its own full blocks take to be final decides the next
//! size.

use alloy_primitives::B256;
use std::time::{Duration, SystemTime};

/// The gas limits in the first proposal may add up to this: a thousand transfers.
const GAS_AT_START: u64 = 21_000_000;
/// The gas limits may always add up to this.
const GAS_MIN: u64 = 2_100_000;

/// A proposal of this node whose fate is not known.
#[derive(Clone, Copy, Debug)]
struct Pending {
    hash: B256,
    began: SystemTime,
    gas_limits: u64,
}

/// Decides what the gas limits of a proposal's transactions may add up to.
#[derive(Debug)]
pub(super) struct ProposalSize {
    gas: u64,
    target: Duration,
    pending: Option<Pending>,
}

impl ProposalSize {
    /// Full blocks shall be final within `target` of the start of their execution.
    pub(super) const fn new(target: Duration) -> Self {
        Self {
            gas: GAS_AT_START,
            target,
            pending: None,
        }
    }

    /// What the gas limits may add up to now. `is_alive` tells whether a block is final or may still be.
    pub(super) fn next(&mut self, is_alive: impl Fn(B256) -> bool) -> u64 {
        if let Some(lost) = self.pending.take_if(|last| !is_alive(last.hash)) {
            self.gas = (self.gas.min(lost.gas_limits) / 2).max(GAS_MIN);
        }
        self.gas
    }

    /// Notes a proposal. `gas_limits` is what the gas limits of its transactions add up to.
    pub(super) const fn note_proposal(&mut self, hash: B256, began: SystemTime, gas_limits: u64) {
        self.pending = Some(Pending {
            hash,
            began,
            gas_limits,
        });
    }

    /// Notes that a block became final.
    pub(super) fn note_final(&mut self, hash: B256, now: SystemTime) {
        let Some(own) = self.pending.take_if(|last| last.hash == hash) else {
            return;
        };
        // The time of a block that was not full says nothing about the size.
        if own.gas_limits < self.gas / 2 {
            return;
        }
        let elapsed = now.duration_since(own.began).unwrap_or_default();
        if elapsed > self.target {
            let share = self.target.as_secs_f64() / elapsed.as_secs_f64();
            self.gas = scaled(self.gas, share.max(0.5)).max(GAS_MIN);
        } else if elapsed < self.target / 2 {
            self.gas = self.gas.saturating_mul(2);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a size need not be exact"
)]
fn scaled(gas: u64, share: f64) -> u64 {
    (gas as f64 * share) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const TARGET: Duration = Duration::from_millis(200);

    /// The size after a proposal of `gas_limits` became final after so many milliseconds.
    fn after(size: &mut ProposalSize, gas_limits: u64, milliseconds: u64) -> u64 {
        let hash = B256::repeat_byte(1);
        size.note_proposal(hash, UNIX_EPOCH, gas_limits);
        size.note_final(hash, UNIX_EPOCH + Duration::from_millis(milliseconds));
        size.next(|_| true)
    }

    #[test]
    fn full_blocks_that_are_fast_double_the_size() {
        let mut size = ProposalSize::new(TARGET);
        assert_eq!(after(&mut size, GAS_AT_START, 50), 2 * GAS_AT_START);
        assert_eq!(after(&mut size, 2 * GAS_AT_START, 150), 2 * GAS_AT_START);
        assert_eq!(after(&mut size, 21_000, 10), 2 * GAS_AT_START);
    }

    #[test]
    fn full_blocks_that_are_slow_make_it_smaller() {
        let mut size = ProposalSize::new(TARGET);
        assert_eq!(after(&mut size, GAS_AT_START, 250), GAS_AT_START / 5 * 4);
        assert_eq!(after(&mut size, 21_000, 2_000), GAS_AT_START / 5 * 4);
        for _ in 0..10 {
            after(&mut size, GAS_AT_START, 2_000);
        }
        assert_eq!(size.next(|_| true), GAS_MIN);
    }

    #[test]
    fn a_lost_proposal_halves_what_it_had() {
        let mut size = ProposalSize::new(TARGET);
        size.note_proposal(B256::repeat_byte(1), UNIX_EPOCH, 10_000_000);
        assert_eq!(size.next(|_| true), GAS_AT_START);
        assert_eq!(size.next(|_| false), 5_000_000);
        // It is counted once.
        assert_eq!(size.next(|_| false), 5_000_000);
    }
}
