//! Why a transaction that signed its accesses was stopped.
//!
//! Other failures can be looked into with a trace. That a transaction left its declaration shows only
//! where the declaration is enforced, so the node notes it when it makes or checks the block.

use lockweave_evm_adapter::DECLARED_TX_TYPE;
use lockweave_runtime::{Outcome, OutcomeKind, Status};

/// A stopped transaction of type 0x44.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its index in the block.
    pub index: usize,
    /// What stopped it: for an undeclared access the key, and what it needed it for.
    pub reason: String,
}

/// The stopped transactions of type 0x44 among a block's outcomes, in block order.
pub fn failures(outcomes: &[Outcome]) -> Vec<Failure> {
    let transactions = outcomes.iter().filter_map(|outcome| match outcome.kind {
        OutcomeKind::Transaction(transaction_type) => Some((transaction_type, outcome)),
        OutcomeKind::System => None,
    });
    transactions
        .enumerate()
        .filter_map(
            |(index, (transaction_type, outcome))| match &outcome.status {
                Status::Halted(reason) if transaction_type == DECLARED_TX_TYPE => Some(Failure {
                    index,
                    reason: reason.clone(),
                }),
                _ => None,
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(kind: OutcomeKind, status: Status) -> Outcome {
        Outcome {
            kind,
            status,
            gas_used: 1,
            logs: Vec::new(),
            output: alloy_primitives::Bytes::new(),
            created: None,
        }
    }

    #[test]
    fn steps_of_the_protocol_do_not_count_as_places() {
        let declared = OutcomeKind::Transaction(DECLARED_TX_TYPE);
        let outcomes = [
            outcome(OutcomeKind::System, Status::Succeeded),
            outcome(
                OutcomeKind::Transaction(2),
                Status::Halted("gas".to_owned()),
            ),
            outcome(declared, Status::Reverted),
            outcome(declared, Status::Halted("key".to_owned())),
        ];
        let expected = Failure {
            index: 2,
            reason: "key".to_owned(),
        };
        assert_eq!(failures(&outcomes), [expected]);
    }
}
