//! Sends again what the node refused or lost, without becoming a load of its own.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    rpc::{Call, Connection},
    track::Shared,
};

/// The ledger is looked at this often.
const TICK: Duration = Duration::from_millis(50);

/// Transactions asked about in one batch.
const ASKED_AT_ONCE: usize = 100;

/// How repeats are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// A refused transaction is offered again after this time, doubled with each try up to sixteenfold.
    pub refused_after: Duration,
    /// The node is asked whether it knows a sender's oldest transaction when nothing of that sender got into a block
    /// for this time, doubled likewise.
    pub silent_after: Duration,
    /// Most repeats a second while the load runs: a share of its rate.
    pub per_second: f64,
    /// Most repeats a second after the last send, when nothing new competes with them.
    pub per_second_after: f64,
    /// When the last new transaction is due.
    pub send_end: Duration,
    /// Most transactions in one batch.
    pub batch: usize,
}

/// Repeats until it is aborted or the queues are closed.
pub(crate) async fn repeat(
    rules: Rules,
    mut connection: Connection,
    queues: Vec<mpsc::Sender<Vec<usize>>>,
    shared: Arc<Shared>,
) {
    let mut budget = Budget::default();
    loop {
        tokio::time::sleep(TICK).await;
        let now = shared.start.elapsed();
        let per_second = if now < rules.send_end {
            rules.per_second
        } else {
            rules.per_second_after
        };
        let allowed = budget.grow(per_second, now);
        let (mut repeats, stalled) = {
            let mut ledger = shared.ledger();
            (
                ledger.take_refused(now, rules.refused_after, allowed),
                ledger.take_stalled(now, rules.silent_after),
            )
        };
        budget.spend(repeats.len());
        for some in stalled.chunks(ASKED_AT_ONCE) {
            let unknown = unknown_of(&mut connection, some, &shared).await;
            let mut ledger = shared.ledger();
            for index in unknown {
                repeats.extend(ledger.forgotten(index));
            }
        }
        let mut by_connection = vec![Vec::new(); queues.len()];
        for index in repeats {
            by_connection[shared.signed[index].sender % queues.len()].push(index);
        }
        for (queue, indexes) in queues.iter().zip(by_connection) {
            for batch in indexes.chunks(rules.batch) {
                if queue.send(batch.to_vec()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Which of the transactions the node does not know. What it does not answer is asked again later.
async fn unknown_of(connection: &mut Connection, some: &[usize], shared: &Shared) -> Vec<usize> {
    let calls: Vec<Call> = some
        .iter()
        .map(|&index| {
            let hash = shared.signed[index].hash;
            Call::new("eth_getTransactionByHash", json!([hash]))
        })
        .collect();
    match connection.batch(&calls).await {
        Ok(answers) => {
            let mut unknown = Vec::new();
            for (&index, answer) in some.iter().zip(answers) {
                match answer {
                    Ok(transaction) if transaction.is_null() => unknown.push(index),
                    Ok(_) => {}
                    Err(error) => shared.ledger().trouble(&error.to_string()),
                }
            }
            unknown
        }
        Err(error) => {
            shared.ledger().trouble(&error.to_string());
            Vec::new()
        }
    }
}

/// How many repeats may be made: grows with time, and holds at most one second's worth.
#[derive(Debug, Default)]
struct Budget {
    left: f64,
    grown_at: Duration,
}

impl Budget {
    fn grow(&mut self, per_second: f64, now: Duration) -> usize {
        let passed = now.saturating_sub(self.grown_at).as_secs_f64();
        self.grown_at = now;
        self.left = (self.left + per_second * passed).min(per_second.max(1.0));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a rate"
        )]
        let whole = self.left.max(0.0) as usize;
        whole
    }

    fn spend(&mut self, repeats: usize) {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let spent = repeats as f64;
        self.left -= spent;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Budget;

    #[test]
    fn a_budget_grows_with_time_and_not_without_end() {
        let mut budget = Budget::default();
        assert_eq!(budget.grow(100.0, Duration::from_millis(50)), 5);
        budget.spend(5);
        assert_eq!(budget.grow(100.0, Duration::from_millis(59)), 0);
        assert_eq!(budget.grow(100.0, Duration::from_mins(1)), 100);
        // Less than one a second still lets one pass now and then.
        assert_eq!(Budget::default().grow(0.5, Duration::from_mins(1)), 1);
    }
}
