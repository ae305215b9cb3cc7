//! Balance increases of an account cell.

use alloy_primitives::U256;
use std::sync::atomic::{AtomicU64, Ordering};

/// Balance increases that came since the value was last written.
///
/// Four limbs of an ordinary sum, each an atomic: credits commute, so a sum that every carry
/// reaches is exact when no thread adds any more, which is what a read grant means. Overflow of
/// the whole is ruled out by [`StateAccess::may_credit`](crate::StateAccess::may_credit).
#[derive(Debug, Default)]
pub(crate) struct Credits {
    limbs: [AtomicU64; 4],
    /// Credits of nothing: they leave no sum, but they touch the account.
    touches: AtomicU64,
}

impl Credits {
    /// Adds an amount. Takes part in a sum, so it needs no order among other additions.
    pub(crate) fn add(&self, amount: U256) {
        if amount.is_zero() {
            self.touch(1);
            return;
        }
        let mut carry = 0_u64;
        for (limb, part) in self.limbs.iter().zip(amount.as_limbs()) {
            // Two additions, because limb and carry together may exceed 64 bits.
            carry = [*part, carry]
                .into_iter()
                .filter(|part| *part != 0)
                .map(|part| limb.fetch_add(part, Ordering::Relaxed).checked_add(part))
                .filter(Option::is_none)
                .count() as u64;
        }
    }

    /// Adds nothing so many times.
    pub(crate) fn touch(&self, times: u64) {
        if times > 0 {
            self.touches.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// Adds an amount while no other thread does.
    pub(crate) fn add_alone(&mut self, amount: U256) {
        if amount.is_zero() {
            *self.touches.get_mut() += 1;
        } else {
            let sum = self.sum() + amount;
            self.set_sum(sum);
        }
    }

    fn set_sum(&mut self, sum: U256) {
        for (limb, value) in self.limbs.iter_mut().zip(sum.as_limbs()) {
            *limb.get_mut() = *value;
        }
    }

    pub(crate) fn subtract(&mut self, amount: U256) {
        if amount.is_zero() {
            *self.touches.get_mut() -= 1;
            return;
        }
        let sum = self.sum().checked_sub(amount);
        let sum = sum.expect("only what was credited is taken back");
        self.set_sum(sum);
    }

    pub(crate) fn sum(&self) -> U256 {
        U256::from_limbs(std::array::from_fn(|position| {
            self.limbs[position].load(Ordering::Relaxed)
        }))
    }

    pub(crate) fn is_touched(&self) -> bool {
        // Word by word: sixteen bytes at once of what was written in words would have to wait until it has reached
        // the cache, behind all that was written before.
        let words = self.limbs.iter().chain([&self.touches]);
        words.fold(0, |all, word| all | word.load(Ordering::Relaxed)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn amount() -> impl Strategy<Value = U256> {
        prop_oneof![
            any::<u64>().prop_map(U256::from),
            Just(U256::from(u64::MAX)),
            any::<[u64; 3]>().prop_map(|[a, b, c]| U256::from_limbs([a, b, c, 0])),
        ]
    }

    proptest! {
        /// Every carry reaches the sum, on one thread and on several.
        #[test]
        fn credits_add_up(amounts in prop::collection::vec(amount(), 0..60)) {
            let credits = Credits::default();
            std::thread::scope(|scope| {
                let credits = &credits;
                let add = |chunk: &[U256]| chunk.iter().for_each(|amount| credits.add(*amount));
                let threads: Vec<_> = amounts
                    .chunks(15)
                    .map(|chunk| scope.spawn(move || add(chunk)))
                    .collect();
                // The thread sanitizer sees a join, not how a scope waits for its end.
                for thread in threads {
                    thread.join().expect("no panic");
                }
            });
            let expected: U256 = amounts.iter().sum();
            prop_assert_eq!(credits.sum(), expected);
            prop_assert_eq!(credits.is_touched(), !amounts.is_empty());
            let mut credits = credits;
            for amount in &amounts {
                credits.subtract(*amount);
            }
            prop_assert_eq!(credits.sum(), U256::ZERO);
            prop_assert!(!credits.is_touched());
        }
    }
}
