//! What calls have used: how much of a block a transaction will take is not known before it runs, and
//! its gas limit is often far above it.

use ahash::AHashMap;
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, FixedBytes};
use lockweave_evm_adapter::EvmTransaction;

/// Calls remembered at most; beyond that everybody starts anew.
const CALLS_REMEMBERED_MAX: usize = 65_536;
/// A call that uses less than was thought brings the estimate down by one part in this many of the
/// difference. One that uses more brings it up at once: a block that was thought too small is cut and
/// run again.
const FORGETTING: u64 = 64;

/// A contract and what is called there.
type Call = (Address, FixedBytes<4>);

/// About the most that recent calls of the same kind have used, in gas.
#[derive(Debug, Default)]
pub(super) struct GasHistory {
    used: AHashMap<Call, u64>,
}

impl GasHistory {
    /// What a transaction is thought to use: its limit, where nothing better is known.
    pub(super) fn estimate(&self, transaction: &EvmTransaction) -> u64 {
        let limit = transaction.envelope().gas_limit();
        let used = call_of(transaction).and_then(|call| self.used.get(&call));
        used.map_or(limit, |used| limit.min(*used))
    }

    /// Learns what a transaction used.
    pub(super) fn note(&mut self, transaction: &EvmTransaction, gas_used: u64) {
        // A limit that was used up says nothing better than itself.
        let Some(call) = call_of(transaction) else {
            return;
        };
        if self.used.len() >= CALLS_REMEMBERED_MAX && !self.used.contains_key(&call) {
            self.used.clear();
        }
        let known = self.used.entry(call).or_insert(gas_used);
        *known = if gas_used >= *known {
            gas_used
        } else {
            *known - (*known - gas_used).div_ceil(FORGETTING)
        };
    }
}

/// What is called; nothing for a transaction that creates, or that brings no input: most of those are
/// transfers, which have a limit of just what they use.
fn call_of(transaction: &EvmTransaction) -> Option<Call> {
    let envelope = transaction.envelope();
    let selector = envelope.input().get(..4)?;
    Some((envelope.to()?, FixedBytes::from_slice(selector)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
    use alloy_primitives::{Signature, TxKind, U256};

    fn call(selector: u8, gas_limit: u64) -> EvmTransaction {
        let unsigned = TxEip1559 {
            gas_limit,
            to: TxKind::Call(Address::repeat_byte(7)),
            input: vec![selector; 8].into(),
            ..TxEip1559::default()
        };
        let signature = Signature::new(U256::from(1), U256::from(1), false);
        let envelope = TxEnvelope::from(unsigned.into_signed(signature));
        EvmTransaction::new(envelope, Address::ZERO)
    }

    #[test]
    fn estimates_rise_at_once_and_fall_slowly() {
        let mut history = GasHistory::default();
        assert_eq!(history.estimate(&call(1, 900_000)), 900_000);
        history.note(&call(1, 900_000), 50_000);
        assert_eq!(history.estimate(&call(1, 900_000)), 50_000);
        assert_eq!(history.estimate(&call(1, 40_000)), 40_000);
        assert_eq!(history.estimate(&call(2, 900_000)), 900_000);
        history.note(&call(1, 900_000), 80_000);
        assert_eq!(history.estimate(&call(1, 900_000)), 80_000);
        for _ in 0..2_000 {
            history.note(&call(1, 900_000), 50_000);
        }
        assert_eq!(history.estimate(&call(1, 900_000)), 50_000);
    }
}
