//! Gas that calls have used. How much gas a transaction will use is not known before it runs, and its limit
//! is often far higher.

use ahash::AHashMap;
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, FixedBytes};
use lockweave_evm_adapter::EvmTransaction;

/// Calls remembered at most; beyond that the history starts over.
const CALLS_REMEMBERED_MAX: usize = 65_536;
/// A call that uses less than estimated lowers the estimate by the difference divided by this number. A call
/// that uses more raises it at once: a block whose gas was underestimated is cut and executed again.
const FORGETTING: u64 = 64;

/// A contract and the selector of the called function.
type Call = (Address, FixedBytes<4>);

/// Roughly the most gas that recent calls of the same kind have used.
#[derive(Debug, Default)]
pub(super) struct GasHistory {
    used: AHashMap<Call, u64>,
}

impl GasHistory {
    /// The estimated gas of a transaction: its limit if there is no history.
    pub(super) fn estimate(&self, transaction: &EvmTransaction) -> u64 {
        let limit = transaction.envelope().gas_limit();
        let used = call_of(transaction).and_then(|call| self.used.get(&call));
        used.map_or(limit, |used| limit.min(*used))
    }

    /// Records the gas that a transaction used.
    pub(super) fn note(&mut self, transaction: &EvmTransaction, gas_used: u64) {
        // Calls without a selector are not recorded.
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

/// The call of a transaction; `None` for creations, and for transactions without input, which are mostly
/// transfers whose limit is what they use.
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
